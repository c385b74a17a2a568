/* Every administrative command on a store in memory: what it does, what it says, what it leaves. */
#include "admin/admin_int.h"

#include "base/test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct home {
    struct counters counters;
    struct admin admin;
    struct admin_answer answer;
};

static int set_up(void **state)
{
    static struct home h; /* one test at a time */
    h = (struct home){0};
    admin_init(&h.admin);
    struct admin *a = &h.admin;
    a->ctx = (struct ctx){.counters = &h.counters, .clock = &clock_system};
    a->kv = kv_mem_new(&a->ctx);
    const struct auth_conf auth = {.hash_ops = 1, .hash_memory = 8192};
    assert_rc(store_open(&a->ctx, a->kv, &(struct store_conf){0}, &a->store), RC_OK);
    assert_rc(auth_open(&a->ctx, a->kv, &auth, &a->auth), RC_OK);
    assert_rc(queue_open(&a->ctx, a->kv, &a->queue), RC_OK);
    *state = &h;
    return 0;
}

static int tear_down(void **state)
{
    struct home *h = *state;
    struct admin *a = &h->admin;
    admin_answer_fini(&h->answer);
    queue_close(&a->queue);
    auth_close(&a->auth);
    store_close(&a->store);
    kv_close(&a->kv);
    admin_fini(a);
    return 0;
}

/* Runs a line of words with a password that the commands may take or leave. */
static enum rc run_with(struct home *h, const char *line, const char *password)
{
    struct str words[ADMIN_WORDS], rest = str_of(line);
    size_t n = 0;
    while (n < ADMIN_WORDS && str_cut(&rest, ' ', &words[n]))
        n++;
    struct admin_request r = {.words = words, .n_words = n};
    if (password)
        r.password = str_of(password);
    admin_answer_fini(&h->answer);
    admin_run(&h->admin, &r, &h->answer);
    return h->answer.rc;
}

static enum rc run(struct home *h, const char *line)
{
    return run_with(h, line, "long enough 1");
}

static void expect(struct home *h, const char *line, enum rc rc, const char *error)
{
    print_message("%s\n", line);
    assert_rc(run(h, line), rc);
    if (error)
        assert_non_null(strstr(h->answer.error.p, error));
}

/* The cell of row `row` below the column's name. */
static const char *cell(struct home *h, size_t row, const char *column)
{
    const struct admin_answer *a = &h->answer;
    for (size_t c = 0; c < a->n_columns; c++)
        if (str_eq(a->columns[c], str_of(column)) && row * a->n_columns + c < a->n_cells)
            return a->cells[row * a->n_columns + c].p;
    return "(none)";
}

static size_t rows(struct home *h)
{
    return h->answer.n_columns ? h->answer.n_cells / h->answer.n_columns : 0;
}

static size_t count_ids(struct home *h)
{
    uint64_t ids[64];
    size_t n;
    assert_rc(auth_account_ids(h->admin.auth, 0, ids, 64, &n), RC_OK);
    return n;
}

static uint64_t id_of(struct home *h, const char *address)
{
    struct arena arena = {0};
    struct auth_account account;
    assert_rc(auth_account_show(h->admin.auth, str_of(address), &arena, &account), RC_OK);
    arena_fini(&arena);
    return account.id;
}

static void domains_come_and_go(void **state)
{
    struct home *h = *state;
    expect(h, "domain add Example.Test", RC_OK, NULL);
    expect(h, "domain add example.test", RC_EXISTS, "example.test: there is one already");
    expect(h, "domain add under_score.test", RC_PERM, "not a valid name");
    expect(h, "domain add b.test", RC_OK, NULL);
    expect(h, "domain list", RC_OK, NULL);
    assert_int_equal(rows(h), 2);
    assert_string_equal(cell(h, 0, "domain"), "b.test");
    assert_string_equal(cell(h, 1, "domain"), "example.test");
    assert_string_equal(cell(h, 1, "accounts"), "0");
    expect(h, "account add alice@example.test", RC_OK, NULL);
    expect(h, "domain remove example.test", RC_CONFLICT, "remove them first");
    expect(h, "domain remove b.test", RC_OK, NULL);
    expect(h, "domain remove b.test", RC_NOTFOUND, "b.test: there is no such");
    expect(h, "account remove alice@example.test", RC_OK, NULL);
    expect(h, "domain remove example.test", RC_CONFLICT, "can still be restored");
    expect(h, "account remove alice@example.test --now", RC_OK, NULL);
    expect(h, "domain remove example.test", RC_OK, NULL);
    expect(h, "domain list", RC_OK, NULL);
    assert_int_equal(rows(h), 0);
}

static void wrong_usage_is_told_before_anything_happens(void **state)
{
    static const struct {
        const char *line, *error;
    } cases[] = {
        {"nonsense", "nonsense: no such command"},
        {"account", "account: no such command"},
        {"account frobnicate x", "no such command"},
        {"domain add", "usage: penfold domain add NAME"},
        {"domain add a.test b.test", "usage: penfold domain add NAME"},
        {"domain list x", "usage: penfold domain list"},
        {"domain remove", "usage:"},
        {"domain add a.test --quota 1G", "--quota: unknown option"},
        {"account add", "usage: penfold account add ADDRESS"},
        {"account add --quota 1G", "usage:"},
        {"account add alice@example.test --quota", "--quota: needs a value"},
        {"account add alice@example.test --quota big", "--quota big: expected a size"},
        {"account add alice@example.test --quota 99999999999999G", "expected a size"},
        {"account add alice@example.test --colour blue", "--colour: unknown option"},
        {"account add alice@example.test bob@example.test", "usage:"},
        {"account list a.test b.test", "usage:"},
        {"account show", "usage:"},
        {"account set alice@example.test", "nothing to set"},
        {"account set alice@example.test --enabled perhaps", "expected yes or no"},
        {"account passwd", "usage:"},
        {"account remove a@example.test b@example.test", "usage:"},
        {"stat now", "usage: penfold stat"},
        {"fsck all", "usage: penfold fsck"},
    };
    struct home *h = *state;
    expect(h, "domain add example.test", RC_OK, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(h, cases[i].line, RC_SYNTAX, cases[i].error);
    assert_int_equal(count_ids(h), 0);
}

static void check_says_what_run_would(void **state)
{
    const struct str good[] = {STR("account"), STR("add"), STR("a@b.test")};
    const struct admin_request fine = {.words = good, .n_words = 3},
                               bad = {.words = good, .n_words = 2};
    struct admin_answer answer;
    assert_rc(admin_check(&fine, &answer), RC_OK);
    assert_rc(admin_check(&bad, &answer), RC_SYNTAX);
    assert_true(str_starts(answer.error, STR("usage:")));
    admin_answer_fini(&answer);
}

static enum rc resolve(struct home *h, const char *address)
{
    struct arena arena = {0};
    struct auth_targets targets;
    enum rc rc = auth_resolve(h->admin.auth, str_of(address), 0, &arena, &targets);
    arena_fini(&arena);
    return rc;
}

static void accounts_are_made_with_what_was_asked(void **state)
{
    struct home *h = *state;
    expect(h, "account add alice@example.test", RC_NOTFOUND, "add it with penfold domain add");
    assert_int_equal(count_ids(h), 0);
    expect(h, "domain add example.test", RC_OK, NULL);
    expect(h, "account add --quota 2G Alice@Example.Test", RC_OK, NULL);
    expect(h, "account add alice@example.test", RC_EXISTS, "there is one already");
    expect(h, "account add not-an-address", RC_PERM, "not a valid");
    assert_rc(run_with(h, "account add bob@example.test", NULL), RC_SYNTAX);
    assert_rc(run_with(h, "account add bob@example.test", ""), RC_SYNTAX);
    char far_too_long[AUTH_PASSWORD_MAX + 2];
    memset(far_too_long, 'x', sizeof far_too_long - 1);
    far_too_long[sizeof far_too_long - 1] = '\0';
    assert_rc(run_with(h, "account add bob@example.test", far_too_long), RC_LIMIT);
    assert_int_equal(count_ids(h), 1);
    assert_rc(resolve(h, "alice@example.test"), RC_OK);
    expect(h, "account show alice@example.test", RC_OK, NULL);
    assert_int_equal(rows(h), 1);
    assert_string_equal(cell(h, 0, "address"), "alice@example.test");
    assert_string_equal(cell(h, 0, "enabled"), "yes");
    assert_string_equal(cell(h, 0, "messages"), "0");
    assert_string_equal(cell(h, 0, "quota"), "2147483648");
    expect(h, "account show bob@example.test", RC_NOTFOUND, "bob@example.test: there is no such");
}

static void settings_change_alone(void **state)
{
    struct home *h = *state;
    expect(h, "domain add example.test", RC_OK, NULL);
    expect(h, "account add alice@example.test --quota 10k", RC_OK, NULL);
    expect(h, "account set alice@example.test --enabled no", RC_OK, NULL);
    assert_rc(resolve(h, "alice@example.test"), RC_PERM);
    expect(h, "account set alice@example.test --quota 0", RC_OK, NULL);
    expect(h, "account show alice@example.test", RC_OK, NULL);
    assert_string_equal(cell(h, 0, "enabled"), "no");
    assert_string_equal(cell(h, 0, "quota"), "0");
    expect(h, "account set alice@example.test --enabled yes --quota 3T", RC_OK, NULL);
    expect(h, "account show alice@example.test", RC_OK, NULL);
    assert_string_equal(cell(h, 0, "enabled"), "yes");
    assert_string_equal(cell(h, 0, "quota"), "3298534883328");
    expect(h, "account set nobody@example.test --enabled no", RC_NOTFOUND, "no such");
    expect(h, "account passwd alice@example.test", RC_OK, NULL);
    expect(h, "account passwd nobody@example.test", RC_NOTFOUND, "no such");
    assert_rc(run_with(h, "account passwd alice@example.test", NULL), RC_SYNTAX);
}

static void lists_go_over_their_pages(void **state)
{
    enum { MANY = AUTH_LIST_MAX + 5 };
    struct home *h = *state;
    char text[64];
    expect(h, "domain add a.test", RC_OK, NULL);
    expect(h, "domain add b.test", RC_OK, NULL);
    for (unsigned i = 0; i < MANY; i++) {
        uint64_t id;
        snprintf(text, sizeof text, "user%04u@a.test", i);
        assert_rc(auth_account_reserve(h->admin.auth, &id), RC_OK);
        assert_rc(auth_account_add(h->admin.auth, id, str_of(text), STR("pass word")), RC_OK);
    }
    expect(h, "account add zoe@b.test", RC_OK, NULL);
    expect(h, "account list", RC_OK, NULL);
    assert_int_equal(rows(h), MANY + 1);
    assert_string_equal(cell(h, MANY - 1, "address"), "user1004@a.test");
    assert_string_equal(cell(h, MANY, "address"), "zoe@b.test");
    expect(h, "account list b.test", RC_OK, NULL);
    assert_int_equal(rows(h), 1);
    expect(h, "account list c.test", RC_NOTFOUND, "c.test: there is no such");
    uint64_t *ids;
    size_t n;
    assert_rc(addressed_accounts(&h->admin, &ids, &n), RC_OK);
    assert_int_equal(n, MANY + 1);
    for (size_t i = 0; i < n; i++)
        assert_true(is_addressed(ids, n, ids[i]));
    assert_false(is_addressed(ids, n, ids[n - 1] + 1));
    free(ids);
}

static void removal_can_be_undone(void **state)
{
    struct home *h = *state;
    const _Atomic bool stop = false;
    expect(h, "domain add example.test", RC_OK, NULL);
    expect(h, "account add alice@example.test --quota-messages 7", RC_OK, NULL);
    uint64_t id = id_of(h, "alice@example.test");
    expect(h, "account restore alice@example.test", RC_NOTFOUND, "no removed account to restore");
    expect(h, "account remove alice@example.test", RC_OK, NULL);
    admin_maintain(&h->admin, &stop); /* its time is not over */
    expect(h, "account list --removed", RC_OK, NULL);
    assert_int_equal(rows(h), 1);
    assert_string_equal(cell(h, 0, "address"), "alice@example.test");
    expect(h, "account list", RC_OK, NULL);
    assert_int_equal(rows(h), 0);
    expect(h, "account restore Alice@example.test", RC_OK, NULL);
    assert_int_equal(id_of(h, "alice@example.test"), id);
    expect(h, "account show alice@example.test", RC_OK, NULL);
    assert_string_equal(cell(h, 0, "quota_messages"), "7");
    /* Somebody else has had the address meanwhile. */
    expect(h, "account remove alice@example.test", RC_OK, NULL);
    expect(h, "account add alice@example.test", RC_OK, NULL);
    uint64_t second = id_of(h, "alice@example.test");
    expect(h, "account restore alice@example.test", RC_EXISTS, "rename or remove who has it now");
    expect(h, "account remove alice@example.test", RC_OK, NULL);
    expect(h, "account restore alice@example.test", RC_OK, NULL); /* the last one */
    assert_int_equal(id_of(h, "alice@example.test"), second);
    expect(h, "account rename alice@example.test alice2@example.test --no-alias", RC_OK, NULL);
    expect(h, "account restore alice@example.test --id 0", RC_SYNTAX, "the id of an account");
    expect(h, "account restore alice@example.test", RC_OK, NULL);
    assert_int_equal(id_of(h, "alice@example.test"), id);
    expect(h, "fsck", RC_OK, NULL);
    expect(h, "account remove alice@example.test", RC_OK, NULL);
    h->admin.keep_removed_ns = 0;
    admin_maintain(&h->admin, &stop);
    expect(h, "account restore alice@example.test", RC_NOTFOUND, "no removed account");
    assert_int_equal(count_ids(h), 1);
    expect(h, "fsck", RC_OK, NULL);
}

static void renaming_keeps_the_account(void **state)
{
    struct home *h = *state;
    expect(h, "domain add a.test", RC_OK, NULL);
    expect(h, "domain add b.test", RC_OK, NULL);
    expect(h, "account add x@a.test", RC_OK, NULL);
    expect(h, "account add y@a.test", RC_OK, NULL);
    uint64_t id = id_of(h, "x@a.test");
    expect(h, "account rename x@a.test y@a.test", RC_EXISTS, "y@a.test: there is one already");
    expect(h, "alias add other@a.test y@a.test", RC_OK, NULL); /* somebody else's */
    expect(h, "account rename x@a.test other@a.test", RC_EXISTS, "other@a.test: there is one");
    expect(h, "alias remove other@a.test", RC_OK, NULL);
    expect(h, "account rename q@a.test r@a.test", RC_NOTFOUND, "q@a.test: there is no such");
    expect(h, "account rename x@a.test x@c.test", RC_NOTFOUND, "x@c.test: its domain is none");
    expect(h, "account rename x@a.test bad", RC_PERM, "bad: not a valid");
    expect(h, "account rename bad y@a.test", RC_PERM, "bad: not a valid");
    expect(h, "account rename x@a.test z@a.test", RC_OK, NULL);
    assert_int_equal(id_of(h, "z@a.test"), id);
    assert_rc(resolve(h, "x@a.test"), RC_OK);                   /* by the alias that was left */
    expect(h, "account rename z@a.test x@a.test", RC_OK, NULL); /* and back */
    expect(h, "account rename x@a.test x@b.test", RC_OK, NULL);
    assert_int_equal(id_of(h, "x@b.test"), id);
    expect(h, "domain set b.test --quota 5k", RC_OK, NULL);
    expect(h, "account show x@b.test", RC_OK, NULL);
    assert_string_equal(cell(h, 0, "quota"), "5120");
    expect(h, "alias list", RC_OK, NULL);
    assert_int_equal(rows(h), 2);
    assert_string_equal(cell(h, 0, "alias"), "x@a.test");
    assert_string_equal(cell(h, 0, "target"), "x@b.test");
    expect(h, "account rename x@b.test x2@a.test --no-alias", RC_OK, NULL);
    assert_rc(resolve(h, "x@b.test"), RC_NOTFOUND);
    expect(h, "domain remove b.test", RC_OK, NULL);
    expect(h, "fsck", RC_OK, NULL);
}

static void aliases_are_kept(void **state)
{
    struct home *h = *state;
    expect(h, "domain add a.test", RC_OK, NULL);
    expect(h, "account add x@a.test", RC_OK, NULL);
    expect(h, "account add y@a.test", RC_OK, NULL);
    expect(h, "alias add l@a.test x@a.test y@a.test", RC_OK, NULL);
    expect(h, "alias add l@a.test q@a.test", RC_PERM, "q@a.test: there is no such account");
    expect(h, "alias add x@a.test y@a.test", RC_EXISTS, "there is an account of that name");
    expect(h, "alias add l@a.test l@a.test", RC_CONFLICT, "leads back to l@a.test");
    expect(h, "alias add l@c.test x@a.test", RC_NOTFOUND, "add it with penfold domain add");
    expect(h, "alias add l@a.test", RC_SYNTAX, "usage:");
    expect(h, "alias list l@a.test", RC_OK, NULL);
    assert_int_equal(rows(h), 2);
    expect(h, "alias list a.test", RC_OK, NULL);
    assert_int_equal(rows(h), 2);
    expect(h, "alias list m@a.test", RC_NOTFOUND, NULL);
    expect(h, "alias remove l@a.test q@a.test", RC_NOTFOUND, "not a target of l@a.test");
    expect(h, "alias remove l@a.test x@a.test", RC_OK, NULL);
    expect(h, "domain remove a.test", RC_CONFLICT, "it has accounts");
    expect(h, "alias remove l@a.test", RC_OK, NULL);
    expect(h, "alias remove l@a.test", RC_NOTFOUND, "no such alias");
    expect(h, "fsck", RC_OK, NULL);
}

static void domains_have_defaults(void **state)
{
    struct home *h = *state;
    expect(h, "domain add a.test", RC_OK, NULL);
    expect(h, "domain set a.test", RC_SYNTAX, "nothing to set");
    expect(h, "domain set a.test --catch-all x@a.test", RC_PERM, "add it first");
    expect(h, "account add x@a.test", RC_OK, NULL);
    expect(h, "account add y@a.test --quota none", RC_OK, NULL);
    expect(h,
           "domain set a.test --quota 1M --quota-messages 9 --pop3-delete 30 --catch-all x@a.test "
           "--delimiter -",
           RC_OK, NULL);
    expect(h, "domain show a.test", RC_OK, NULL);
    assert_string_equal(cell(h, 0, "quota"), "1048576");
    assert_string_equal(cell(h, 0, "pop3_delete"), "30");
    assert_string_equal(cell(h, 0, "catch_all"), "x@a.test");
    assert_string_equal(cell(h, 0, "delimiter"), "-");
    assert_rc(resolve(h, "anybody@a.test"), RC_OK);
    expect(h, "account show x@a.test", RC_OK, NULL);
    assert_string_equal(cell(h, 0, "quota"), "1048576");
    assert_string_equal(cell(h, 0, "quota_own"), "no");
    assert_string_equal(cell(h, 0, "pop3_delete"), "default");
    expect(h, "account show y@a.test", RC_OK, NULL);
    assert_string_equal(cell(h, 0, "quota"), "0");
    assert_string_equal(cell(h, 0, "quota_messages"), "9");
    expect(h, "account set y@a.test --quota default --pop3-delete once-collected", RC_OK, NULL);
    expect(h, "account show y@a.test", RC_OK, NULL);
    assert_string_equal(cell(h, 0, "quota"), "1048576");
    assert_string_equal(cell(h, 0, "pop3_delete"), "once-collected");
    expect(h, "domain set a.test --delimiter @", RC_PERM, "expected one of");
    expect(h, "domain set a.test --pop3-delete never", RC_SYNTAX, "a number of days");
    expect(h, "domain set a.test --catch-all none --quota none", RC_OK, NULL);
    assert_rc(resolve(h, "anybody@a.test"), RC_NOTFOUND);
    expect(h, "account show x@a.test", RC_OK, NULL);
    assert_string_equal(cell(h, 0, "quota"), "0");
    expect(h, "account set x@a.test --suspended yes --reason unpaid", RC_OK, NULL);
    assert_rc(resolve(h, "x@a.test"), RC_CONFLICT);
    expect(h, "account show x@a.test", RC_OK, NULL);
    assert_string_equal(cell(h, 0, "suspended"), "yes");
    assert_string_equal(cell(h, 0, "reason"), "unpaid");
    expect(h, "domain show b.test", RC_NOTFOUND, NULL);
    expect(h, "fsck", RC_OK, NULL);
}

static void removal_leaves_nothing(void **state)
{
    struct home *h = *state;
    struct store_account *account;
    expect(h, "domain add example.test", RC_OK, NULL);
    expect(h, "account add alice@example.test", RC_OK, NULL);
    uint64_t id = id_of(h, "alice@example.test");
    expect(h, "account remove alice@example.test", RC_OK, NULL);
    expect(h, "account remove alice@example.test", RC_NOTFOUND, "no such");
    assert_int_equal(count_ids(h), 1);
    expect(h, "account remove --now alice@example.test", RC_OK, NULL);
    expect(h, "account remove --now alice@example.test", RC_NOTFOUND, "no such");
    assert_rc(store_account_open(h->admin.store, id, 0, &account), RC_NOTFOUND);
    assert_int_equal(count_ids(h), 0);
    expect(h, "account add alice@example.test", RC_OK, NULL);
    assert_int_not_equal(id_of(h, "alice@example.test"), id);
}

static void mail_in_use_goes_with_the_next_maintenance(void **state)
{
    struct home *h = *state;
    struct store_account *held;
    const _Atomic bool stop = false;
    expect(h, "domain add example.test", RC_OK, NULL);
    expect(h, "account add alice@example.test", RC_OK, NULL);
    expect(h, "account add bob@example.test", RC_OK, NULL);
    uint64_t id = id_of(h, "alice@example.test");
    assert_rc(store_account_open(h->admin.store, id, 0, &held), RC_OK);
    expect(h, "account remove alice@example.test", RC_OK, NULL);
    expect(h, "account show alice@example.test", RC_NOTFOUND, NULL);
    assert_int_equal(count_ids(h), 2);
    h->admin.keep_removed_ns = 0;
    admin_maintain(&h->admin, &stop); /* still in use */
    assert_int_equal(count_ids(h), 2);
    store_account_close(&held);
    admin_maintain(&h->admin, &stop);
    assert_int_equal(count_ids(h), 1);
    assert_rc(store_account_open(h->admin.store, id, 0, &held), RC_NOTFOUND);
    expect(h, "account show bob@example.test", RC_OK, NULL);
}

static void a_removal_cut_short_is_swept(void **state)
{
    struct home *h = *state;
    struct store_account *account;
    const _Atomic bool stop = false;
    uint64_t never_made, half_removed;
    expect(h, "domain add example.test", RC_OK, NULL);
    assert_rc(auth_account_reserve(h->admin.auth, &never_made), RC_OK);
    assert_rc(auth_account_reserve(h->admin.auth, &half_removed), RC_OK);
    assert_rc(store_account_create(h->admin.store, half_removed, (struct store_quota){0}), RC_OK);
    expect(h, "fsck", RC_OK, NULL); /* nothing is wrong with them */
    admin_maintain(&h->admin, &stop);
    assert_int_equal(count_ids(h), 0);
    assert_rc(store_account_open(h->admin.store, half_removed, 0, &account), RC_NOTFOUND);
}

static const char *figure(struct home *h, const char *what)
{
    for (size_t i = 0; i < rows(h); i++)
        if (strcmp(cell(h, i, "what"), what) == 0)
            return cell(h, i, "value");
    return "(none)";
}

static void fsck_gives_figures_and_names_faults(void **state)
{
    struct home *h = *state;
    uint64_t id;
    expect(h, "domain add example.test", RC_OK, NULL);
    expect(h, "account add alice@example.test", RC_OK, NULL);
    expect(h, "fsck", RC_OK, NULL);
    assert_string_equal(figure(h, "accounts"), "1");
    assert_string_equal(figure(h, "faults"), "0");
    assert_string_equal(figure(h, "fault"), "(none)");
    assert_string_not_equal(figure(h, "rows"), "0");
    expect(h, "fsck --mend", RC_OK, NULL);
    assert_string_equal(figure(h, "queued"), "0");
    assert_string_equal(figure(h, "mended"), "0");
    /* An address whose mailboxes were never made, and one account whose record is damaged. */
    assert_rc(auth_account_reserve(h->admin.auth, &id), RC_OK);
    assert_rc(auth_account_add(h->admin.auth, id, STR("bob@example.test"), STR("pass word")),
              RC_OK);
    expect(h, "fsck", RC_CORRUPT, "fsck: 1 faults found");
    assert_non_null(strstr(figure(h, "fault"), "it has an address and no mailboxes"));
    assert_string_equal(figure(h, "faults"), "1");
    assert_string_equal(figure(h, "accounts"), "2");
}

static void every_counter_is_shown(void **state)
{
    struct home *h = *state;
    counter_add(h->admin.ctx.counters, COUNTER_DELIVERIES, 7);
    expect(h, "stat", RC_OK, NULL);
    assert_int_equal(rows(h), COUNTER_COUNT);
    bool is_there = false;
    for (size_t i = 0; i < rows(h); i++)
        if (strcmp(cell(h, i, "figure"), counter_info(COUNTER_DELIVERIES)->name) == 0)
            is_there = strcmp(cell(h, i, "value"), "7") == 0;
    assert_true(is_there);
}

static void blocks_are_looked_at_and_removed(void **state)
{
    struct home *h = *state;
    expect(h, "blocked list", RC_OK, NULL);
    assert_int_equal(rows(h), 0);
    expect(h, "blocked remove", RC_OK, NULL);
    expect(h, "blocked remove 192.0.2.0/24", RC_NOTFOUND, "nothing is blocked there");
    expect(h, "blocked remove alice@example.test", RC_NOTFOUND, "nothing is blocked there");
    expect(h, "blocked remove nonsense", RC_SYNTAX, "nonsense: not a mail address, an IP address");
}

static void a_store_that_cannot_be_written_says_so(void **state)
{
    struct home *h = *state;
    expect(h, "domain add example.test", RC_OK, NULL);
    expect(h, "account add alice@example.test", RC_OK, NULL);
    kv_mem_fail(h->admin.kv, RC_FULL);
    expect(h, "account passwd alice@example.test", RC_FULL, "no space left");
    expect(h, "account passwd alice@example.test", RC_OK, NULL);
    kv_mem_fail(h->admin.kv, RC_TEMP); /* and nothing can be written from here on */
    expect(h, "account add bob@example.test", RC_TEMP, "cannot be written now");
    expect(h, "account remove alice@example.test", RC_TEMP, "cannot be written now");
    expect(h, "domain add b.test", RC_TEMP, "b.test: the store cannot be written now");
    expect(h, "account show alice@example.test", RC_OK, NULL);
}

static void failures_in_the_middle_are_cleaned_up(void **state)
{
    struct home *h = *state;
    expect(h, "domain add example.test", RC_OK, NULL);
    kv_mem_fail(h->admin.kv, RC_FULL); /* the number */
    expect(h, "account add alice@example.test", RC_FULL, NULL);
    assert_int_equal(count_ids(h), 0);
    expect(h, "account add alice@example.test", RC_OK, NULL);
    assert_int_equal(count_ids(h), 1);
}

struct signal {
    struct store_op op;
    _Atomic bool is_done;
};

static void signal_done(struct store_op *op)
{
    atomic_store(&CONTAINER(op, struct signal, op)->is_done, true);
}

static void signal_wait(struct signal *s)
{
    while (!atomic_load(&s->is_done))
        usleep(1000);
    assert_rc(s->op.rc, RC_OK);
}

/* One message in the INBOX, collected now. */
static void collect_one(struct home *h, uint64_t id)
{
    struct store_account *account;
    struct kv_blob_id blob;
    struct kv_blob_out *out = kv_blob_new(h->admin.kv, (struct kv_part){KV_ACCOUNT, id}, 0, 0);
    struct signal appended = {.op.done = signal_done}, noted = {.op.done = signal_done};
    uint32_t inbox;
    assert_rc(kv_blob_write(out, STR("A: b\r\n")), RC_OK);
    assert_rc(kv_blob_finish(&out, &blob), RC_OK);
    assert_rc(store_account_open(h->admin.store, id, 0, &account), RC_OK);
    assert_rc(store_mailbox_by_role(account, STORE_INBOX, &inbox), RC_OK);
    assert_rc(
        store_append(account, &(struct store_append){.blob = blob, .size = 6}, 0, &appended.op),
        RC_OK);
    signal_wait(&appended);
    assert_rc(store_collected_note(account, inbox, &appended.op.uid, 1, 0, &noted.op), RC_OK);
    signal_wait(&noted);
    store_account_close(&account);
    kv_blob_forget(h->admin.kv, blob);
}

static uint64_t messages_of(struct home *h, uint64_t id)
{
    struct store_account *account;
    struct store_usage usage;
    assert_rc(store_account_open(h->admin.store, id, 0, &account), RC_OK);
    store_account_usage(account, &usage);
    store_account_close(&account);
    return usage.messages;
}

static enum rc room_of(struct home *h, uint64_t id, uint64_t size)
{
    struct store_account *account;
    assert_rc(store_account_open(h->admin.store, id, 0, &account), RC_OK);
    enum rc rc = store_account_has_room(account, size);
    store_account_close(&account);
    return rc;
}

/* Neither what is there nor the difference to it is taken for room. */
static void a_quota_below_what_is_there_refuses_mail(void **state)
{
    struct home *h = *state;
    expect(h, "domain add example.test", RC_OK, NULL);
    expect(h, "account add alice@example.test", RC_OK, NULL);
    uint64_t id = id_of(h, "alice@example.test");
    collect_one(h, id);
    collect_one(h, id); /* 12 bytes now */
    assert_rc(room_of(h, id, 1), RC_OK);
    expect(h, "account set alice@example.test --quota 11", RC_OK, NULL);
    assert_rc(room_of(h, id, 1), RC_LIMIT);
    expect(h, "account set alice@example.test --quota 13", RC_OK, NULL);
    assert_rc(room_of(h, id, 1), RC_OK);
    assert_rc(room_of(h, id, 2), RC_LIMIT);
    expect(h, "account set alice@example.test --quota none --quota-messages 1", RC_OK, NULL);
    assert_rc(room_of(h, id, 1), RC_LIMIT);
    expect(h, "account set alice@example.test --quota-messages none", RC_OK, NULL);
    assert_rc(room_of(h, id, 1), RC_OK);
}

/* Maintenance asks for the policy that holds then: the account's own, else its domain's. */
static void collected_mail_goes_after_its_days(void **state)
{
    struct home *h = *state;
    struct clock_fixed clock;
    const _Atomic bool stop = false;
    uint64_t now = clock_wall(&clock_system);
    expect(h, "domain add a.test", RC_OK, NULL);
    expect(h, "account add x@a.test", RC_OK, NULL);
    uint64_t id = id_of(h, "x@a.test");
    collect_one(h, id);
    expect(h, "domain set a.test --pop3-delete 7", RC_OK, NULL);
    admin_maintain(&h->admin, &stop);
    assert_int_equal(messages_of(h, id), 1);
    clock_fixed_init(&clock, 0, now + 8 * UINT64_C(86400) * NS_PER_SEC);
    h->admin.ctx.clock = &clock.clock;
    expect(h, "account set x@a.test --pop3-delete client", RC_OK, NULL);
    admin_maintain(&h->admin, &stop);
    assert_int_equal(messages_of(h, id), 1);
    expect(h, "account set x@a.test --pop3-delete default", RC_OK, NULL);
    admin_maintain(&h->admin, &stop);
    assert_int_equal(messages_of(h, id), 0);
    h->admin.ctx.clock = &clock_system;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(domains_come_and_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_usage_is_told_before_anything_happens, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(check_says_what_run_would, set_up, tear_down),
        cmocka_unit_test_setup_teardown(accounts_are_made_with_what_was_asked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(settings_change_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_go_over_their_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(removal_can_be_undone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(renaming_keeps_the_account, set_up, tear_down),
        cmocka_unit_test_setup_teardown(aliases_are_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(domains_have_defaults, set_up, tear_down),
        cmocka_unit_test_setup_teardown(removal_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(mail_in_use_goes_with_the_next_maintenance, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_removal_cut_short_is_swept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(fsck_gives_figures_and_names_faults, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_counter_is_shown, set_up, tear_down),
        cmocka_unit_test_setup_teardown(blocks_are_looked_at_and_removed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_store_that_cannot_be_written_says_so, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_quota_below_what_is_there_refuses_mail, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(collected_mail_goes_after_its_days, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failures_in_the_middle_are_cleaned_up, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
