/* Folders of an account elsewhere: which are collected, and into which mailbox here.
 *
 * The map is a list of THERE or THERE=HERE with commas between, names with '/' between levels; "*"
 * are all that have no entry of their own. Without HERE, INBOX goes to INBOX, a folder for a
 * special use to the mailbox here that is for it [RFC6154], another one to the mailbox of its name,
 * which is made.
 *
 * A note of each folder, `f` and its name: format 1, UIDVALIDITY, the UID up to which all that will
 * ever come in is in (that need not be listed again), whether UIDVALIDITY was another one before.
 * Then the host has given its messages new UIDs, and those that are in are told by their bytes
 * [RFC3501 2.3.1.1]. */
#include "collect/collect_int.h"

#include "base/bytes.h"

#include <stdio.h>
#include <string.h>

enum { NOTE_FOLDER = 10 };

struct folder_note {
    uint32_t uidvalidity, done;
    bool is_anew;
};

/* --- the map ---------------------------------------------------------------------------------- */

/* *out_here: absent: by itself. */
static bool find_entry(struct str map, struct str name, struct str *out_here)
{
    struct str part, there, rest = map.n ? map : STR("INBOX");
    bool is_found = false;
    while (str_cut(&rest, ',', &part)) {
        struct str here = str_trim(part);
        str_cut(&here, '=', &there);
        bool is_inbox = str_ieq(name, STR("INBOX")) && str_ieq(there, name);
        if (str_eq(there, name) || is_inbox) {
            *out_here = here;
            return true;
        }
        if (str_eq(there, STR("*")) && !is_found) {
            *out_here = (struct str){0};
            is_found = true;
        }
    }
    return is_found;
}

enum rc collect_folders_choose(struct job *job, const struct fetch_folder *folders, size_t n,
                               bool *wants)
{
    struct str here;
    for (size_t i = 0; i < n; i++)
        wants[i] = find_entry(job->remote.folders, folders[i].name, &here);
    return RC_OK;
}

static enum store_role role_of(struct str use)
{
    static const struct {
        const char *use;
        enum store_role role;
    } roles[] = {{"\\Sent", STORE_SENT},
                 {"\\Drafts", STORE_DRAFTS},
                 {"\\Trash", STORE_TRASH},
                 {"\\Junk", STORE_JUNK},
                 {"\\Archive", STORE_ARCHIVE}};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (str_eq(use, str_of(roles[i].use)))
            return roles[i].role;
    return STORE_NONE;
}

struct making {
    struct store_op op;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_done;
};

static void made(struct store_op *op)
{
    struct making *m = CONTAINER(op, struct making, op);
    pthread_mutex_lock(&m->mutex);
    m->is_done = true;
    pthread_cond_signal(&m->cond);
    pthread_mutex_unlock(&m->mutex);
}

static enum rc make_mailbox(struct job *job, struct store_path path, uint32_t *out)
{
    struct making m = {
        .op.done = made, .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    enum rc rc = store_mailbox_create(job->account, path, STORE_NONE, 0, &m.op);
    if (rc == RC_EXISTS)
        return store_mailbox_find(job->account, path, out);
    TRY(rc);
    pthread_mutex_lock(&m.mutex);
    while (!m.is_done)
        pthread_cond_wait(&m.cond, &m.mutex);
    pthread_mutex_unlock(&m.mutex);
    *out = m.op.mailbox;
    return m.op.rc;
}

static enum rc find_mailbox(struct job *job, struct str name, uint32_t *out)
{
    struct str levels[STORE_LEVELS], rest = name;
    struct store_path path = {.levels = levels};
    struct arena arena = {0};
    struct store_mailbox found;
    while (path.n < STORE_LEVELS && str_cut(&rest, '/', &levels[path.n]))
        path.n++;
    enum rc rc = store_mailbox_find(job->account, path, out);
    if (rc == RC_OK)
        rc = store_mailbox_get(job->account, *out, &arena, &found);
    if (rc == RC_NOTFOUND || (rc == RC_OK && found.is_placeholder))
        rc = make_mailbox(job, path, out);
    arena_fini(&arena);
    return rc;
}

static enum rc choose_mailbox(struct job *job, const struct fetch_folder *folder, uint32_t *out)
{
    struct str here = {0};
    enum store_role role = role_of(folder->use);
    (void)find_entry(job->remote.folders, folder->name, &here);
    *out = 0;
    if (str_is_null(here) && str_eq(folder->name, STR("INBOX")))
        return RC_OK;
    if (str_is_null(here) && role != STORE_NONE &&
        store_mailbox_by_role(job->account, role, out) == RC_OK)
        return RC_OK;
    return find_mailbox(job, str_is_null(here) ? folder->name : here, out);
}

/* --- notes ------------------------------------------------------------------------------------ */

static enum rc read_note(struct job *job, struct folder_note *out)
{
    unsigned char key[REMOTE_NOTE_KEY];
    struct arena arena = {0};
    struct unpacker r;
    struct str value, text = remote_note_key(job->remote.id, 'f', str_of(job->folder.name), key);
    *out = (struct folder_note){0};
    enum rc rc = store_notes_get(job->account, &text, 1, &arena, &value);
    if (rc == RC_OK && value.n) {
        unpack_init(&r, value);
        rc = unpack_u8(&r) == 1 ? RC_OK : RC_CORRUPT;
        out->uidvalidity = unpack_u32(&r);
        out->done = unpack_u32(&r);
        out->is_anew = unpack_u8(&r);
        rc = rc == RC_OK ? unpack_done(&r) : rc;
    }
    arena_fini(&arena);
    return rc;
}

static enum rc write_note(struct job *job, const struct folder_note *n)
{
    unsigned char key[REMOTE_NOTE_KEY], mem[NOTE_FOLDER];
    struct packer w;
    pack_init(&w, mem, sizeof mem);
    pack_u8(&w, 1);
    pack_u32(&w, n->uidvalidity);
    pack_u32(&w, n->done);
    pack_u8(&w, n->is_anew);
    const struct store_note note = {
        .key = remote_note_key(job->remote.id, 'f', str_of(job->folder.name), key),
        .value = pack_done(&w)};
    return collect_notes_put(job, &note, 1);
}

/* --- one folder ------------------------------------------------------------------------------- */

enum rc collect_folders_finish(struct job *job)
{
    struct folder *f = &job->folder;
    uint32_t done = f->first_left ? f->first_left - 1 : f->highest;
    bool is_whole = f->is_open && f->n_wanted == f->n_ended && done >= f->from;
    f->is_open = false;
    if (!is_whole)
        return RC_OK;
    const struct folder_note note = {f->uidvalidity, done, f->is_anew};
    return write_note(job, &note);
}

enum rc collect_folders_open(struct job *job, const struct fetch_folder *folder, uint32_t *out_from)
{
    struct folder_note note;
    struct folder *f = &job->folder;
    TRY(collect_folders_finish(job)); /* the one before */
    *f = (struct folder){.uidvalidity = folder->uidvalidity, .from = 1, .is_open = true};
    snprintf(f->name, sizeof f->name, "%.*s", STR_ARG(folder->name));
    TRY(choose_mailbox(job, folder, &job->mailbox));
    TRY(read_note(job, &note));
    if (note.uidvalidity && note.uidvalidity != f->uidvalidity) {
        note = (struct folder_note){f->uidvalidity, 0, true};
        TRY(write_note(job, &note));
    }
    f->is_anew = note.is_anew;
    /* Where nothing is deleted, what was done is done. */
    if (job->remote.after == REMOTE_KEEP && note.done < UINT32_MAX)
        f->from = note.done + 1;
    *out_from = f->from;
    return RC_OK;
}

struct str collect_folders_uidl(const struct job *job, const struct fetch_item *item,
                                char mem[FOLDERS_UIDL])
{
    if (job->remote.protocol == FETCH_POP3)
        return item->uidl;
    int n = snprintf(mem, FOLDERS_UIDL, "%u/%u/%s", job->folder.uidvalidity, item->number,
                     job->folder.name);
    return str_from(mem, (size_t)n);
}
