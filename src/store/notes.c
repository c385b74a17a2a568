/* Notes: rows of those above the store that are written with a change of an account, so that a
 * crash leaves both or none. `x` and the owner's key; the value is the owner's, format byte and
 * all. */
#include "store/store_int.h"

enum rc notes_check(struct attempt *t, const struct store_note *notes, size_t n)
{
    enum rc result = RC_OK;
    struct str value;
    for (size_t i = 0; i < n; i++) {
        const struct store_note *note = &notes[i];
        if (note->key.n == 0 || note->key.n > STORE_NOTE_KEY || note->value.n > STORE_NOTE_VALUE ||
            (!str_is_null(note->value) && note->value.n == 0))
            return RC_PERM;
        if (!note->is_checked)
            continue;
        enum rc rc = head_get(t, key_note(note->key), &value);
        if (rc == RC_OK &&
            (str_is_null(value) != str_is_null(note->before) || !str_eq(value, note->before)))
            rc = RC_EXISTS;
        if (rc != RC_OK && (result == RC_OK || result == RC_AGAIN))
            result = rc; /* look on, to find all that must be read */
    }
    return result;
}

void notes_put(struct change *c, const struct store_note *notes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (str_is_null(notes[i].value))
            change_delete(c, key_note(notes[i].key));
        else
            change_put(c, key_note(notes[i].key), notes[i].value);
    }
}

/* --- without a message ------------------------------------------------------------------------ */

struct noting {
    struct attempt attempt;
    struct store_op *op;
    const struct store_note *notes;
    size_t n;
};

static enum rc run(struct attempt *attempt)
{
    struct noting *p = CONTAINER(attempt, struct noting, attempt);
    TRY(notes_check(attempt, p->notes, p->n));
    struct change *c = change_quiet(attempt->account, p->op);
    notes_put(c, p->notes, p->n);
    return change_commit(c);
}

enum rc store_notes_put(struct store_account *account, const struct store_note *notes, size_t n,
                        unsigned flags, struct store_op *op)
{
    struct noting p = {.attempt = {.run = run, .account = account, .flags = flags},
                       .op = op,
                       .notes = notes,
                       .n = n};
    return n > STORE_NOTES ? RC_LIMIT : attempt_run(&p.attempt);
}

/* --- reading ---------------------------------------------------------------------------------- */

enum rc store_notes_get(struct store_account *account, const struct str *keys, size_t n,
                        struct arena *arena, struct str *out_values)
{
    struct key *own = arena_alloc(arena, n * sizeof *own);
    struct str *texts = arena_alloc(arena, n * sizeof *texts);
    if (n > KV_GET_KEYS || !own || !texts)
        return RC_LIMIT;
    for (size_t i = 0; i < n; i++) {
        if (keys[i].n == 0 || keys[i].n > STORE_NOTE_KEY)
            return RC_PERM;
        own[i] = key_note(keys[i]);
        texts[i] = key_str(&own[i]);
    }
    return kv_get(account->store->kv, account_part(account->id), texts, n, 0, arena, out_values,
                  NULL);
}

enum rc store_notes_list(struct store_account *account, struct str prefix, struct str after,
                         struct arena *arena, struct kv_page *out)
{
    struct key from = key_note(prefix), to = key_after(key_str(&from), from.n);
    struct key behind = key_note(after);
    struct kv_range range = {.from = key_str(&from),
                             .to = key_str(&to),
                             .after = str_is_null(after) ? after : key_str(&behind)};
    TRY(kv_scan(account->store->kv, account_part(account->id), range, 0, 0, arena, out));
    for (size_t i = 0; i < out->n; i++)
        out->rows[i].key = str_skip(out->rows[i].key, 1);
    return RC_OK;
}
