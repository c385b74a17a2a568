/* `penfold migrate OTHER.conf`: carries the store of this configuration into the one that another
 * configuration names.
 *
 * Both are at rest: the locks of both data folders, which a running server holds, are taken here,
 * and the store's own as it is opened. The first store is opened to be read only where it has files
 * here. Run by root, this process becomes the owner of both data folders; when they have different
 * ones it stays root, and gives the second one's files to their owner at the end, whatever that is.
 */
#include "ctl/ctl_int.h"

#include "base/mem.h"
#include "migrate/migrate.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct side {
    const struct conf *conf;
    int folder; /* the data folder, with its lock; -1: not open */
    uid_t uid;
    gid_t gid;
    char data[PATH_MAX], path[32];
    char name[MIGRATE_SOURCE_MAX + 1];
    struct kv *kv;
};

struct moving {
    struct side from, to;
    const char *other;       /* path of the second configuration */
    const struct str *words; /* options */
    size_t n_words;
    bool is_verify;
    uint64_t *accounts;
    size_t n_accounts;
    struct ctx ctx;
    struct counters counters;
    struct log *log;
    struct auth *auth;
    struct migrate_watch watch;
    struct progress progress;
    bool is_begun, is_by_account; /* the progress */
};

static void say(const char *what, const char *why)
{
    fprintf(stderr, "penfold: %s: %s\n", what, why);
}

static enum rc complain(const char *what, const char *why)
{
    say(what, why);
    return RC_PERM;
}

/* --- the command line ------------------------------------------------------------------------- */

static enum rc check_words(struct moving *m)
{
    for (size_t i = 0; i < m->n_words; i++) {
        bool is_account = str_eq(m->words[i], STR("--account"));
        if (is_account && i + 1 < m->n_words)
            i++;
        else if (str_eq(m->words[i], STR("--verify")))
            m->is_verify = true;
        else
            return RC_SYNTAX;
    }
    return RC_OK;
}

/* --- the two stores --------------------------------------------------------------------------- */

/* The folder of a store that is not there yet is made, with the owner of the other one. */
static enum rc find_folder(struct side *s, const struct side *like)
{
    struct stat st;
    bool is_made = like && mkdir(s->conf->data, 0700) == 0;
    if (is_made && geteuid() == 0 && chown(s->conf->data, like->uid, like->gid) != 0)
        return complain(s->conf->data, strerror(errno));
    s->folder = open(s->conf->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->folder < 0 || fstat(s->folder, &st) != 0 || !realpath(s->conf->data, s->data))
        return complain(s->conf->data, strerror(errno));
    s->uid = st.st_uid;
    s->gid = st.st_gid;
    ctl_engine_name(s->conf, s->data, s->name, sizeof s->name);
    return RC_OK;
}

static enum rc lock_folder(const struct side *s)
{
    if (flock(s->folder, LOCK_EX | LOCK_NB) == 0)
        return RC_OK;
    return complain(s->conf->data, "a server is running on it: a store is carried at rest, so stop "
                                   "the server first");
}

/* Both stores may have the same data folder, when one of them is elsewhere. */
static enum rc lock_both(struct moving *m)
{
    TRY(find_folder(&m->from, NULL));
    TRY(find_folder(&m->to, &m->from));
    if (strcmp(m->from.name, m->to.name) == 0)
        return complain(m->other, "it names the same store");
    TRY(lock_folder(&m->from));
    return strcmp(m->from.data, m->to.data) == 0 ? RC_OK : lock_folder(&m->to);
}

static bool is_one_owner(const struct moving *m)
{
    return m->from.uid == m->to.uid;
}

static enum rc become_owner(const struct moving *m)
{
    const struct side *s = &m->to;
    if (geteuid() != 0 || !is_one_owner(m) || s->uid == 0)
        return RC_OK;
    if (setgroups(0, NULL) != 0 || setgid(s->gid) != 0 || setuid(s->uid) != 0)
        return complain(s->conf->data, strerror(errno));
    return RC_OK;
}

/* By its descriptor: the owner of a data folder may not be allowed to look for it. */
static enum rc open_side(struct moving *m, struct side *s, bool read_only)
{
    snprintf(s->path, sizeof s->path, "/proc/self/fd/%d", s->folder);
    enum rc rc = ctl_engine_open_at(&m->ctx, s->conf, s->path, read_only, &s->kv);
    if (rc != RC_OK)
        say(s->name, rc == RC_CONFLICT ? "another process is using the store; try again"
                                       : admin_sentence(rc));
    return rc;
}

static enum rc open_both(struct moving *m)
{
    const struct auth_conf auth = {0};
    TRY(become_owner(m));
    TRY(open_side(m, &m->from, true));
    TRY(open_side(m, &m->to, false));
    return auth_open(&m->ctx, m->from.kv, &auth, &m->auth);
}

static enum rc close_both(struct moving *m)
{
    enum rc rc = RC_OK;
    bool was_open = m->to.kv != NULL;
    auth_close(&m->auth);
    kv_close(&m->from.kv);
    kv_close(&m->to.kv);
    if (was_open && geteuid() == 0 && m->to.uid != 0 && ctl_engine_is_local(m->to.conf))
        rc = tree_give(m->to.folder, m->to.uid, m->to.gid);
    if (m->from.folder >= 0)
        close(m->from.folder);
    if (m->to.folder >= 0)
        close(m->to.folder);
    return rc;
}

/* --- which accounts --------------------------------------------------------------------------- */

static enum rc find_accounts(struct moving *m)
{
    m->accounts = mem_alloc((m->n_words + 1) * sizeof *m->accounts);
    for (size_t i = 0; i < m->n_words; i++) {
        struct arena arena = {0};
        struct auth_account account;
        if (!str_eq(m->words[i], STR("--account")))
            continue;
        enum rc rc = auth_account_show(m->auth, m->words[++i], &arena, &account);
        if (rc == RC_OK)
            m->accounts[m->n_accounts++] = account.id;
        arena_fini(&arena);
        if (rc != RC_OK) {
            say(m->words[i].p, rc == RC_NOTFOUND || rc == RC_SYNTAX ? "there is no such account"
                                                                    : admin_sentence(rc));
            return rc;
        }
    }
    return RC_OK;
}

/* --- what is shown ---------------------------------------------------------------------------- */

static void begin(struct migrate_watch *watch, uint64_t accounts, uint64_t units)
{
    struct moving *m = CONTAINER(watch, struct moving, watch);
    m->is_begun = true;
    m->is_by_account = units == 0;
    progress_begin(&m->progress, m->is_verify ? "compare" : "migrate", "accounts", accounts,
                   units ? units : accounts);
}

static void moved(struct migrate_watch *watch, uint64_t units)
{
    struct moving *m = CONTAINER(watch, struct moving, watch);
    if (!m->is_by_account)
        progress_move(&m->progress, units);
}

static void account(struct migrate_watch *watch, uint64_t id)
{
    struct moving *m = CONTAINER(watch, struct moving, watch);
    progress_add(&m->progress, m->is_by_account);
}

static void differs(struct migrate_watch *watch, struct kv_part part)
{
    const char *what = part.class == KV_ACCOUNT ? "account"
                       : part.class == KV_CACHE ? "the cache of account"
                       : part.class == KV_QUEUE ? "part of the queue"
                                                : "part of the directory";
    printf("%s %llu: not the same in both\n", what, (unsigned long long)part.id);
}

static void tell(const struct moving *m, const struct migrate *r)
{
    if (m->is_verify) {
        printf("%s and %s are the same: %llu rows, %llu bodies, %llu bytes of them\n", m->from.name,
               m->to.name, (unsigned long long)r->rows, (unsigned long long)r->blobs,
               (unsigned long long)r->bytes);
        return;
    }
    printf("carried and compared: %llu rows, %llu bodies, %llu bytes of them, from %s to %s\n",
           (unsigned long long)r->rows, (unsigned long long)r->blobs, (unsigned long long)r->bytes,
           m->from.name, m->to.name);
    if (m->n_accounts)
        printf("these accounts alone are there: run it without --account to carry the rest\n");
    else
        printf("all is there; check it with penfold fsck -c %s, then penfold serve -c %s\n",
               m->other, m->other);
}

/* --- the whole -------------------------------------------------------------------------------- */

static enum rc carry(struct moving *m)
{
    TRY(find_accounts(m));
    m->watch = (struct migrate_watch){begin, moved, account, differs};
    struct migrate r = {.from = m->from.kv,
                        .to = m->to.kv,
                        .auth = m->auth,
                        .source = m->from.name,
                        .only = m->accounts,
                        .n_only = m->n_accounts,
                        .watch = &m->watch};
    enum rc rc = m->is_verify ? migrate_compare(&r) : migrate_run(&r);
    if (m->is_begun)
        progress_end(&m->progress);
    if (rc == RC_OK)
        tell(m, &r);
    else
        say(rc == RC_DENIED || rc == RC_CONFLICT ? m->from.name : m->to.name,
            r.why[0] ? r.why : admin_sentence(rc));
    return rc;
}

static enum rc run(struct moving *m)
{
    m->log = log_new(STDERR_FILENO, LOG_WARNING, &clock_system);
    m->ctx = (struct ctx){m->log, &m->counters, &clock_system};
    umask(077);
    enum rc rc = lock_both(m);
    if (rc == RC_OK)
        rc = open_both(m);
    if (rc == RC_OK)
        rc = carry(m);
    enum rc closed = close_both(m);
    free(m->accounts);
    log_free(&m->log);
    return rc == RC_OK ? closed : rc;
}

int ctl_migrate(const struct conf *conf, const struct str *words, size_t n)
{
    char *path = n ? realpath(words[0].p, NULL) : NULL;
    struct moving m = {.from = {.conf = conf, .folder = -1},
                       .to.folder = -1,
                       .other = n ? words[0].p : "",
                       .words = words + 1,
                       .n_words = n ? n - 1 : 0};
    if (n == 0 || str_starts(words[0], STR("--")) || check_words(&m) != RC_OK) {
        free(path);
        fprintf(stderr, "penfold: usage: penfold migrate OTHER.conf [--account ADDRESS]... "
                        "[--verify]\n");
        return CTL_USAGE;
    }
    struct conf *other = ctl_conf(path ? path : m.other);
    free(path);
    if (!other)
        return CTL_FAILED;
    m.to.conf = other;
    enum rc rc = run(&m);
    conf_free(&other);
    return rc == RC_OK ? CTL_DONE : CTL_FAILED;
}
