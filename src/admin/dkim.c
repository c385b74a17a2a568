/* The keys that sign a domain's mail [RFC6376]: made with the domain, or later for domains that
 * have none; replaced in two steps, so that a new key is published before it signs and the old one
 * stays published until what it has signed has arrived.
 *
 * A private key exists in clear only while it is made, here; what is stored is sealed for the
 * signer process. */
#include "admin/admin_int.h"

#include "crypto/crypto.h"
#include "mailauth/mailauth.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { BITS = 2048, SELECTOR = 24, KEEP_DAYS = 7, KEEP_DAYS_MAX = 3650, RECORD_BYTES = 4096 };

static const struct {
    enum crypto_algorithm algorithm;
    char letter;
    const char *name;
} kinds[] = {{CRYPTO_RSA_SHA256, 'r', "rsa"}, {CRYPTO_ED25519, 'e', "ed25519"}};
enum { KINDS = sizeof kinds / sizeof *kinds };

enum rc admin_seal_open(struct admin *admin)
{
    enum rc rc = auth_seal(admin->auth, admin->seal);
    admin->has_seal = rc == RC_OK;
    return rc == RC_NOTFOUND ? RC_OK : rc;
}

enum rc admin_seal_adopt(struct admin *admin, const unsigned char seal[AUTH_SEAL])
{
    TRY(auth_seal_set(admin->auth, seal, false));
    memcpy(admin->seal, seal, AUTH_SEAL);
    admin->has_seal = true;
    return RC_OK;
}

/* --- making ----------------------------------------------------------------------------------- */

static bool is_taken(const struct auth_key *keys, size_t n, const char *selector)
{
    for (size_t i = 0; i < n; i++)
        if (str_ieq(keys[i].selector, str_of(selector)))
            return true;
    return false;
}

/* "20261121r", or "20261121r2" when a key of that day has the name already. */
static void choose_selector(uint64_t wall, char letter, const struct auth_key *keys, size_t n,
                            char out[SELECTOR])
{
    time_t seconds = (time_t)(wall / NS_PER_SEC);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t at = strftime(out, SELECTOR, "%Y%m%d", &tm);
    snprintf(out + at, SELECTOR - at, "%c", letter);
    for (unsigned i = 2; is_taken(keys, n, out); i++)
        snprintf(out + at, SELECTOR - at, "%c%u", letter, i);
}

struct making {
    struct admin *admin;
    struct str domain;
    struct arena *arena;
    enum auth_key_state state;
    struct auth_key *old; /* what the domain has */
    size_t n_old;
};

static enum rc make_key(const struct making *m, size_t kind, struct auth_key *out)
{
    char selector[SELECTOR];
    struct buf public_key, sealed;
    uint64_t now = clock_wall(m->admin->ctx.clock);
    buf_init(&public_key, CRYPTO_SEALED_MAX);
    buf_init(&sealed, CRYPTO_SEALED_MAX);
    choose_selector(now, kinds[kind].letter, m->old, m->n_old, selector);
    enum rc rc =
        crypto_sealed_make(kinds[kind].algorithm, BITS, m->admin->seal, &public_key, &sealed);
    if (rc == RC_OK) {
        *out = (struct auth_key){.selector = arena_dup(m->arena, str_of(selector)),
                                 .algorithm = kinds[kind].algorithm,
                                 .state = m->state,
                                 .created = now,
                                 .public_key = arena_dup(m->arena, buf_str(&public_key)),
                                 .sealed = arena_dup(m->arena, buf_str(&sealed))};
        memcpy(out->seal, m->admin->seal, AUTH_SEAL_ID);
    }
    buf_fini(&public_key);
    buf_fini(&sealed);
    return rc;
}

/* Keys of the kinds whose bits are set, of which it gives how many. */
static enum rc make_keys(struct making *m, unsigned which, size_t *out_n)
{
    struct auth_key made[KINDS];
    *out_n = 0;
    TRY(auth_keys_list(m->admin->auth, m->domain, m->arena, &m->old, &m->n_old));
    for (size_t i = 0; i < KINDS; i++)
        if (which & 1U << kinds[i].algorithm)
            TRY(make_key(m, i, &made[(*out_n)++]));
    return *out_n ? auth_keys_add(m->admin->auth, m->domain, made, *out_n) : RC_OK;
}

/* The kinds of which a domain should have a key that this store's signer can open, and has none. */
static unsigned missing_kinds(const struct admin *admin, const struct auth_domain *d,
                              const struct auth_key *keys, size_t n)
{
    unsigned missing = d->signing;
    for (size_t i = 0; i < n; i++)
        if (keys[i].state != AUTH_KEY_RETIRED &&
            memcmp(keys[i].seal, admin->seal, AUTH_SEAL_ID) == 0)
            missing &= ~(1U << keys[i].algorithm);
    return missing;
}

/* Nobody has seen a domain's first keys yet: they sign at once. */
static enum rc complete(struct admin *admin, struct str domain, struct arena *arena)
{
    struct auth_domain d;
    struct auth_key *keys;
    size_t n, made;
    TRY(auth_domain_show(admin->auth, domain, arena, &d));
    TRY(auth_keys_list(admin->auth, domain, arena, &keys, &n));
    struct making m = {admin, domain, arena, AUTH_KEY_SIGNING, NULL, 0};
    return make_keys(&m, missing_kinds(admin, &d, keys, n), &made);
}

enum rc admin_keys_make(struct admin *admin, struct str domain)
{
    struct arena arena = {0};
    enum rc rc = admin->has_seal ? complete(admin, domain, &arena) : RC_OK;
    arena_fini(&arena);
    return rc;
}

void admin_keys_tend(struct admin *admin, const _Atomic bool *stop)
{
    struct arena arena = {0};
    struct auth_domain *domains;
    size_t n = 0;
    enum rc rc = auth_domain_list(admin->auth, &arena, &domains, &n);
    for (size_t i = 0; rc == RC_OK && i < n && !*stop; i++) {
        enum rc one = admin_keys_make(admin, domains[i].name);
        if (one == RC_OK)
            one = auth_keys_sweep(admin->auth, domains[i].name, clock_wall(admin->ctx.clock));
        if (one != RC_OK && one != RC_NOTFOUND)
            log_event(admin->ctx.log, LOG_ERROR, "keys-not-made", "domain", domains[i].name.p,
                      "cause", rc_name(one), NULL);
    }
    if (rc != RC_OK)
        log_event(admin->ctx.log, LOG_ERROR, "keys-not-made", "cause", rc_name(rc), NULL);
    arena_fini(&arena);
}

/* --- answers ---------------------------------------------------------------------------------- */

static const char *kind_name(unsigned algorithm)
{
    for (size_t i = 0; i < KINDS; i++)
        if (kinds[i].algorithm == algorithm)
            return kinds[i].name;
    return "unknown";
}

static void answer_key(struct admin_answer *a, struct str domain, const struct auth_key *key)
{
    static const char *const states[] = {[AUTH_KEY_WAITING] = "waiting",
                                         [AUTH_KEY_SIGNING] = "signing",
                                         [AUTH_KEY_RETIRED] = "retired"};
    struct buf text;
    answer_cell(a, domain);
    answer_cell(a, key->selector);
    answer_text(a, kind_name(key->algorithm));
    answer_text(a, states[key->state]);
    if (key->until)
        answer_time(a, key->until);
    else
        answer_text(a, "-");
    buf_init(&text, RECORD_BYTES);
    if (mailauth_record_write((enum crypto_algorithm)key->algorithm, key->public_key, &text) !=
        RC_OK)
        answer_fail(a, RC_LIMIT, "%.*s: its key is too long", STR_ARG(key->selector));
    answer_cell(a, buf_str(&text));
    buf_fini(&text);
}

/* Those that were made since; 0: all. */
void answer_keys(struct admin *admin, struct str domain, uint64_t since, struct admin_answer *a)
{
    static const char *const columns[] = {"domain", "selector", "algorithm",
                                          "state",  "until",    "record"};
    struct auth_key *keys;
    size_t n;
    if (!a->n_columns)
        answer_columns(a, columns, 6);
    enum rc rc = auth_keys_list(admin->auth, domain, &a->arena, &keys, &n);
    answer_rc(a, rc, domain);
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        if (keys[i].created >= since)
            answer_key(a, domain, &keys[i]);
}

/* --- commands --------------------------------------------------------------------------------- */

void admin_dkim_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    struct auth_domain *domains;
    size_t n;
    if (c->n_args) {
        answer_keys(admin, c->args[0], 0, a);
        return;
    }
    enum rc rc = auth_domain_list(admin->auth, &a->arena, &domains, &n);
    answer_rc(a, rc, STR("domains"));
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        answer_keys(admin, domains[i].name, 0, a);
}

static void say_no_seal(struct admin_answer *a)
{
    answer_fail(a, RC_PERM,
                "keys: there is no file to seal them with: run penfold dkim setup as root, then "
                "start the server again");
}

/* The kinds that a domain's mail is signed with, less those of which a key waits already: another
 * one beside it could sign before anybody has published it. */
static enum rc kinds_to_rotate(struct admin *admin, struct str domain, struct arena *arena,
                               unsigned *out, bool *out_is_waiting)
{
    struct auth_domain d;
    struct auth_key *keys;
    size_t n;
    TRY(auth_domain_show(admin->auth, domain, arena, &d));
    TRY(auth_keys_list(admin->auth, domain, arena, &keys, &n));
    *out = d.signing;
    for (size_t i = 0; i < n; i++)
        if (keys[i].state == AUTH_KEY_WAITING)
            *out &= ~(1U << keys[i].algorithm);
    *out_is_waiting = *out != d.signing;
    return RC_OK;
}

void admin_dkim_rotate(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    struct making m = {admin, c->args[0], &a->arena, AUTH_KEY_WAITING, NULL, 0};
    uint64_t now = clock_wall(admin->ctx.clock);
    unsigned which;
    bool is_waiting;
    size_t n = 0;
    if (!admin->has_seal) {
        say_no_seal(a);
        return;
    }
    enum rc rc = kinds_to_rotate(admin, c->args[0], &a->arena, &which, &is_waiting);
    if (rc == RC_OK && !which && is_waiting) {
        answer_fail(a, RC_PERM,
                    "%.*s: new keys wait already: publish what penfold dns prints and run penfold "
                    "dkim activate, or give them up with penfold dkim remove",
                    STR_ARG(c->args[0]));
        return;
    }
    if (rc == RC_OK)
        rc = make_keys(&m, which, &n);
    if (rc == RC_DENIED)
        answer_fail(a, rc, "%.*s: it has %d keys already: remove some", STR_ARG(c->args[0]),
                    AUTH_KEYS_MAX);
    answer_rc(a, rc, c->args[0]);
    if (rc == RC_OK && n == 0)
        answer_fail(a, RC_PERM, "%.*s: its mail is not signed; see penfold domain set --dkim",
                    STR_ARG(c->args[0]));
    if (rc == RC_OK && n)
        answer_keys(admin, c->args[0], now, a);
}

void admin_dkim_activate(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    uint64_t days = KEEP_DAYS;
    if (!str_is_null(c->options[0]) &&
        (str_to_u64(c->options[0], &days) != RC_OK || days > KEEP_DAYS_MAX)) {
        answer_fail(a, RC_SYNTAX, "--keep %.*s: expected a number of days up to %d",
                    STR_ARG(c->options[0]), KEEP_DAYS_MAX);
        return;
    }
    uint64_t until = clock_wall(admin->ctx.clock) + days * 86400 * NS_PER_SEC;
    enum rc rc = auth_keys_turn(admin->auth, c->args[0], until);
    if (rc == RC_EXISTS)
        answer_fail(a, RC_PERM, "%.*s: no key waits to be used: make one with penfold dkim rotate",
                    STR_ARG(c->args[0]));
    answer_rc(a, rc, c->args[0]);
    if (rc == RC_OK)
        answer_keys(admin, c->args[0], 0, a);
}

void admin_dkim_remove(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    enum rc rc = auth_keys_drop(admin->auth, c->args[0], c->args[1]);
    if (rc == RC_EXISTS)
        answer_fail(a, RC_NOTFOUND, "%.*s: there is no such key", STR_ARG(c->args[1]));
    answer_rc(a, rc, c->args[0]);
}

/* From `init` and `dkim setup`: the public half of the file that they have made. */
void admin_dkim_seal(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    unsigned char seal[AUTH_SEAL];
    struct str hex = c->args[0];
    bool is_good = hex.n == 2 * sizeof seal;
    for (size_t i = 0; is_good && i < sizeof seal; i++) {
        int high = ascii_hex(hex.p[2 * i]), low = ascii_hex(hex.p[2 * i + 1]);
        is_good = high >= 0 && low >= 0;
        seal[i] = (unsigned char)(high << 4 | low);
    }
    if (!is_good) {
        answer_fail(a, RC_SYNTAX, "dkim-seal: expected 64 hexadecimal digits");
        return;
    }
    enum rc rc = auth_seal_set(admin->auth, seal, c->flags[0]);
    if (rc == RC_DENIED)
        answer_fail(a, rc,
                    "keys: those in the store are sealed for another file: bring that one back, or "
                    "give them up with penfold dkim setup --new");
    answer_rc(a, rc, STR("keys"));
    if (rc != RC_OK)
        return;
    memcpy(admin->seal, seal, sizeof seal);
    admin->has_seal = true;
}
