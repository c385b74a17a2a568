/* Random changes against a simple model: what a mailbox is must be what the model says, at every
 * look, after every reopening, packed or not; and fsck must agree. */
#include "store/fixture.h"

#include "base/mem.h"

#include <stdlib.h>

enum { UIDS = 4000, STEPS = 1200 };

struct model_row {
    bool is_there;
    uint32_t flags;
    uint64_t keywords, email;
    char text[16];
};

struct model {
    struct model_row rows[UIDS];
    uint32_t uidnext;
};

struct world {
    struct fixture *f;
    struct store_account *a;
    struct model boxes[2]; /* mailboxes 1 and 2 */
    uint64_t seed;
    uint64_t messages, bytes;
};

static const struct str keywords[3] = {{"alpha", 5}, {"beta", 4}, {"gamma", 5}};

static uint32_t pick(struct world *w, uint32_t n)
{
    w->seed = w->seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(w->seed >> 33) % n;
}

static void do_append(struct world *w, uint32_t mailbox)
{
    struct model *m = &w->boxes[mailbox - 1];
    struct store_op op;
    if (m->uidnext == UIDS)
        return;
    struct model_row *row = &m->rows[m->uidnext];
    size_t n = 1 + pick(w, sizeof row->text - 1), k = pick(w, 4);
    for (size_t i = 0; i < n; i++)
        row->text[i] = (char)('a' + pick(w, 26));
    row->text[n] = 0;
    struct store_append how = {
        .mailbox = mailbox, .flags = pick(w, 32), .keywords = keywords, .n_keywords = k};
    assert_rc(fixture_append(w->f, w->a, str_of(row->text), &how, &op), RC_OK);
    assert_int_equal(op.uid, m->uidnext);
    row->is_there = true;
    row->flags = how.flags;
    row->keywords = (1u << k) - 1;
    row->email = op.email;
    m->uidnext++;
    w->messages++;
    w->bytes += n;
}

/* Some UIDs, there or not, ascending. */
static size_t pick_uids(struct world *w, const struct model *m, uint32_t *uids)
{
    size_t n = 0;
    uint32_t every = 1 + pick(w, 60);
    for (uint32_t uid = 1; uid <= m->uidnext && n < STORE_BATCH; uid++)
        if (pick(w, every) == 0)
            uids[n++] = uid;
    return n;
}

static void do_flags(struct world *w, uint32_t mailbox)
{
    struct model *m = &w->boxes[mailbox - 1];
    uint32_t uids[STORE_BATCH];
    struct store_flag_change change = {.mailbox = mailbox,
                                       .uids = uids,
                                       .n_uids = pick_uids(w, m, uids),
                                       .how = (enum store_flag_how)pick(w, 3),
                                       .flags = pick(w, 32),
                                       .keywords = keywords,
                                       .n_keywords = pick(w, 4),
                                       .unchanged_since = UINT64_MAX};
    struct store_op op;
    uint64_t bits = (1u << change.n_keywords) - 1;
    uint32_t changed = 0;
    for (size_t i = 0; i < change.n_uids; i++) {
        struct model_row *row = &m->rows[uids[i]];
        struct model_row before = *row;
        switch (change.how) {
        case STORE_FLAGS_SET:
            row->flags = change.flags;
            row->keywords = bits;
            break;
        case STORE_FLAGS_ADD:
            row->flags |= change.flags;
            row->keywords |= bits;
            break;
        case STORE_FLAGS_REMOVE:
            row->flags &= ~change.flags;
            row->keywords &= ~bits;
            break;
        }
        changed +=
            row->is_there && (before.flags != row->flags || before.keywords != row->keywords);
    }
    assert_rc(fixture_flags(w->a, &change, &op), RC_OK);
    assert_int_equal(op.changed, changed);
}

static void do_expunge(struct world *w, uint32_t mailbox)
{
    struct model *m = &w->boxes[mailbox - 1];
    uint32_t uids[STORE_BATCH], gone = 0;
    struct store_op op;
    size_t n = pick_uids(w, m, uids) / 8;
    for (size_t i = 0; i < n; i++) {
        struct model_row *row = &m->rows[uids[i]];
        gone += row->is_there;
        w->messages -= row->is_there;
        w->bytes -= row->is_there ? strlen(row->text) : 0;
        row->is_there = false;
    }
    assert_rc(fixture_expunge(w->a, mailbox, uids, n, &op), RC_OK);
    assert_int_equal(op.changed, gone);
}

static void look(struct world *w, uint32_t mailbox)
{
    const struct model *m = &w->boxes[mailbox - 1];
    struct store_root *root;
    size_t at = 0, unseen = 0;
    assert_rc(store_mailbox_open(w->a, mailbox, 0, &root), RC_OK);
    for (uint32_t uid = 1; uid < m->uidnext; uid++) {
        if (!m->rows[uid].is_there)
            continue;
        const struct store_row *row = store_root_at(root, at++);
        assert_non_null(row);
        assert_int_equal(row->uid, uid);
        assert_int_equal(row->flags, m->rows[uid].flags);
        assert_int_equal(row->keywords, m->rows[uid].keywords);
        assert_int_equal(row->email, m->rows[uid].email);
        assert_int_equal(row->size, strlen(m->rows[uid].text));
        unseen += !(row->flags & STORE_SEEN);
        if (pick(w, 50) == 0)
            fixture_assert_body(w->a, row->email, str_of(m->rows[uid].text));
    }
    assert_int_equal(store_root_count(root), at);
    const struct store_mailbox *info = store_root_mailbox(root);
    assert_int_equal(info->exists, at);
    assert_int_equal(info->unseen, unseen);
    assert_int_equal(info->uidnext, m->uidnext);
    store_root_release(&root);
    struct store_usage usage;
    store_account_usage(w->a, &usage);
    assert_int_equal(usage.messages, w->messages);
    assert_int_equal(usage.bytes, w->bytes);
}

static void step(struct world *w)
{
    uint32_t mailbox = 1 + pick(w, 2), what = pick(w, 100);
    if (what < 60)
        for (uint32_t n = 1 + pick(w, w->f->backend->is_mem ? 8 : 2); n; n--)
            do_append(w, mailbox);
    else if (what < 80)
        do_flags(w, mailbox);
    else if (what < 86)
        do_expunge(w, mailbox);
    else if (what < 92)
        look(w, mailbox);
    else if (what < 95)
        fixture_maintain(w->a);
    else if (what < 96)
        w->f->clock.wall += 86400 * NS_PER_SEC;
    else if (what < 98) {
        fixture_close(w->f, &w->a);
        w->a = fixture_open(w->f, 1);
    } else {
        fixture_close(w->f, &w->a);
        fixture_reopen(w->f);
        w->a = fixture_open(w->f, 1);
    }
}

static void changes_are_what_the_model_says(void **state)
{
    struct fixture *f = *state;
    struct world *w = mem_zero(sizeof *w);
    w->f = f;
    w->seed = 4711;
    w->a = fixture_account(f, 1);
    w->boxes[0].uidnext = w->boxes[1].uidnext = 1;
    int steps = f->backend->is_mem ? STEPS : STEPS / 8;
    for (int i = 0; i < steps; i++) {
        step(w);
        if (i % 200 == 199) {
            fixture_assert_sound(f, 1);
            look(w, 1);
            look(w, 2);
        }
    }
    fixture_close(f, &w->a);
    fixture_assert_sound(f, 1);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {ON_BOTH(changes_are_what_the_model_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
