/* App passwords as an administrator sees them: making, listing, revoking. Their rows lie beside the
 * account's password in its domain's partition, so that renaming, removing, restoring and purging
 * an account take them along; when one was last used is a row in the account's cache partition.
 *
 * Invariants: labels of an account differ without regard to case; numbers start at 1 and a new one
 * is behind all that are there; a password is told once and stored as a digest alone.
 */
#include "auth/auth_int.h"

#include "base/random.h"

#include <stdio.h>
#include <string.h>

/* --- protocols -------------------------------------------------------------------------------- */

static const struct {
    enum auth_protocol bit;
    const char *name;
} protocols[] = {{AUTH_IMAP, "imap"},
                 {AUTH_POP3, "pop3"},
                 {AUTH_SMTP, "smtp"},
                 {AUTH_SIEVE, "sieve"},
                 {AUTH_WEB, "web"}};
enum { N_PROTOCOLS = sizeof protocols / sizeof *protocols };

unsigned auth_protocol_of(struct str name)
{
    for (size_t i = 0; i < N_PROTOCOLS; i++)
        if (str_ieq(name, str_of(protocols[i].name)))
            return protocols[i].bit;
    return 0;
}

const char *auth_protocol_name(unsigned bit)
{
    for (size_t i = 0; i < N_PROTOCOLS; i++)
        if (bit == protocols[i].bit)
            return protocols[i].name;
    return "";
}

void auth_protocol_names(unsigned wanted, struct buf *out)
{
    const char *before = "";
    for (size_t i = 0; i < N_PROTOCOLS; i++) {
        if (!(wanted & protocols[i].bit))
            continue;
        buf_putf(out, "%s%s", before, protocols[i].name);
        before = ",";
    }
}

/* --- one app password ------------------------------------------------------------------------- */

bool auth_app_label_is(struct str label, struct str text)
{
    return str_ieq(label, text);
}

struct kv_range auth_app_range(struct app_keys *keys, uint64_t account)
{
    auth_key_secret(&keys->from, account, 1);
    auth_key_secret(&keys->to, account + 1, 0);
    return (struct kv_range){.from = auth_key_str(&keys->from), .to = auth_key_str(&keys->to)};
}

void auth_app_digest(uint64_t account, struct str password, unsigned char out[APP_DIGEST])
{
    static const char purpose[] = "penfold app password"; /* stored: it stays */
    unsigned char key[sizeof purpose + 8];
    memcpy(key, purpose, sizeof purpose);
    put_u64(key + sizeof purpose, account);
    crypto_hmac_sha256(str_from(key, sizeof key), password, out);
}

/* Four groups of seven: 140 bits, without letters and digits that look alike. */
static void make_password(char out[AUTH_APP_PASSWORD])
{
    static const char alphabet[] = "abcdefghijkmnpqrstuvwxyz23456789";
    enum { GROUPS = 4, LETTERS = 7 };
    _Static_assert(sizeof alphabet - 1 == 32, "5 bits a letter");
    _Static_assert(GROUPS * (LETTERS + 1) == AUTH_APP_PASSWORD, "with a dash or the NUL behind");
    unsigned char bytes[GROUPS * LETTERS];
    random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        out[i + i / LETTERS] = alphabet[bytes[i] % 32];
    for (size_t i = 1; i <= GROUPS; i++)
        out[i * (LETTERS + 1) - 1] = i < GROUPS ? '-' : '\0';
    crypto_wipe(bytes, sizeof bytes);
}

static enum rc check_label(struct str label)
{
    if (label.n > AUTH_APP_LABEL_MAX)
        return RC_LIMIT;
    for (size_t i = 0; i < label.n; i++) {
        char c = ascii_lower(label.p[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_')
            return RC_PERM;
    }
    return label.n ? RC_OK : RC_PERM;
}

/* --- changes ---------------------------------------------------------------------------------- */

struct app_edit {
    struct edit edit;
    struct auth_place place;
    const struct auth_app *app;
    const char *password;
    bool has_net;
    struct net_cidr net;
    struct str label; /* of those that are revoked; absent: all */
    size_t n;         /* how many were */
};

static enum rc run(struct app_edit *x, struct auth *auth, struct str address,
                   enum rc (*make)(struct edit *e, struct kv_txn *txn))
{
    TRY(auth_place_of(address, &x->place));
    x->edit.auth = auth;
    x->edit.part = x->place.part;
    x->edit.make = make;
    return auth_edit_run(&x->edit);
}

/* Rows of the account whose address is being edited. */
static enum rc scan(struct app_edit *x, uint64_t *out_account, struct kv_page *out_page)
{
    struct address_record address;
    struct app_keys keys;
    TRY(auth_edit_account(&x->edit, &x->place.address_key, &address));
    *out_account = address.account;
    return auth_edit_scan(&x->edit, auth_app_range(&keys, address.account), 0, out_page);
}

static enum rc find_label(const struct kv_page *page, struct str label, bool *out_is_there)
{
    struct app_record r;
    *out_is_there = false;
    for (size_t i = 0; i < page->n; i++) {
        enum rc rc = auth_app_unpack(&page->rows[i], &r);
        if (rc != RC_OK && rc != RC_NOTFOUND)
            return rc;
        *out_is_there = *out_is_there || (rc == RC_OK && auth_app_label_is(r.label, label));
    }
    return RC_OK;
}

/* The label that was asked for, or the first free one of "app1", "app2"... */
static enum rc choose_label(const struct kv_page *page, struct str wanted,
                            char text[AUTH_APP_LABEL_MAX + 1], struct str *out)
{
    bool is_there = true;
    for (unsigned i = 1; is_there; i++) {
        if (str_is_null(wanted))
            snprintf(text, AUTH_APP_LABEL_MAX + 1, "app%u", i);
        for (size_t k = 0; k < wanted.n; k++)
            text[k] = ascii_lower(wanted.p[k]);
        *out = str_from(text, str_is_null(wanted) ? strlen(text) : wanted.n);
        TRY(find_label(page, *out, &is_there));
        if (is_there && !str_is_null(wanted))
            return RC_EXISTS;
    }
    return RC_OK;
}

/* For who logs in by the name that has the label. */
static enum rc make_keys(struct app_edit *x, struct app_record *made)
{
    struct str local = x->place.address.local, domain = x->place.address.domain;
    char name[LOCAL_MAX + 1 + AUTH_APP_LABEL_MAX + 1 + DOMAIN_MAX + 1];
    int n = snprintf(name, sizeof name, "%.*s+%.*s@%.*s", STR_ARG(local), STR_ARG(made->label),
                     STR_ARG(domain));
    return auth_scram_make(x->edit.auth, str_from(name, (size_t)n), str_of(x->password),
                           &made->scram);
}

static enum rc make_added(struct edit *e, struct kv_txn *txn)
{
    struct app_edit *x = CONTAINER(e, struct app_edit, edit);
    struct app_record made = {.created = clock_wall(e->auth->ctx->clock),
                              .expires = x->app->expires,
                              .protocols = x->app->protocols};
    char label[AUTH_APP_LABEL_MAX + 1];
    struct kv_page page;
    struct record r;
    struct key key;
    uint64_t account;
    TRY(scan(x, &account, &page));
    if (page.n >= AUTH_APPS_MAX)
        return RC_DENIED;
    TRY(choose_label(&page, x->app->label, label, &made.label));
    uint32_t last = page.n ? get_u32(page.rows[page.n - 1].key.p + 9) : 0;
    made.has_net = x->has_net;
    made.net = x->net;
    auth_app_digest(account, str_of(x->password), made.digest);
    TRY(make_keys(x, &made));
    auth_app_pack(&made, &r);
    auth_key_secret(&key, account, last + 1);
    return kv_txn_put(txn, auth_key_str(&key), auth_record_str(&r));
}

enum rc auth_app_add(struct auth *auth, struct str address, const struct auth_app *app,
                     char out_password[AUTH_APP_PASSWORD])
{
    struct app_edit x = {.app = app, .password = out_password, .has_net = !str_is_null(app->net)};
    if (!str_is_null(app->label))
        TRY(check_label(app->label));
    if (x.has_net && net_cidr_parse(app->net, &x.net) != RC_OK)
        return RC_CONFLICT;
    if (!app->protocols || app->protocols & ~(unsigned)AUTH_PROTOCOLS)
        return RC_PERM;
    unsigned char secret[AUTH_SECRET];
    TRY(auth_secret(auth, 0, secret)); /* it is there when salts are made, inside the change */
    crypto_wipe(secret, sizeof secret);
    make_password(out_password);
    enum rc rc = run(&x, auth, address, make_added);
    if (rc != RC_OK)
        crypto_wipe(out_password, AUTH_APP_PASSWORD);
    return rc;
}

static enum rc make_revoked(struct edit *e, struct kv_txn *txn)
{
    struct app_edit *x = CONTAINER(e, struct app_edit, edit);
    struct kv_page page;
    uint64_t account;
    x->n = 0;
    TRY(scan(x, &account, &page));
    for (size_t i = 0; i < page.n; i++) {
        struct app_record r;
        enum rc rc = auth_app_unpack(&page.rows[i], &r);
        bool is_meant =
            str_is_null(x->label) || (rc == RC_OK && auth_app_label_is(r.label, x->label));
        if (!is_meant || rc == RC_NOTFOUND)
            continue;
        TRY(kv_txn_delete(txn, page.rows[i].key));
        x->n++;
    }
    return x->n ? RC_OK : RC_EXISTS;
}

enum rc auth_app_revoke(struct auth *auth, struct str address, struct str label, size_t *out_n)
{
    struct app_edit x = {.label = label};
    enum rc rc = run(&x, auth, address, make_revoked);
    *out_n = rc == RC_OK ? x.n : 0;
    return rc;
}

/* --- looking ---------------------------------------------------------------------------------- */

static enum rc describe(struct auth *auth, uint64_t account, const struct app_record *r,
                        struct arena *arena, struct auth_app *out)
{
    *out = (struct auth_app){.label = arena_dup(arena, r->label),
                             .protocols = r->protocols,
                             .created = r->created,
                             .expires = r->expires};
    if (str_is_null(out->label))
        return RC_LIMIT;
    char net[AUTH_NET_TEXT];
    if (r->has_net)
        out->net = arena_dup(arena, auth_net_text(&r->net, net));
    if (r->has_net && str_is_null(out->net))
        return RC_LIMIT;
    return auth_app_used(auth, account, r, arena, out);
}

static enum rc list_all(struct auth *auth, uint64_t account, const struct kv_page *page,
                        struct arena *arena, struct auth_app **out, size_t *out_n)
{
    *out = arena_alloc(arena, (page->n + 1) * sizeof **out);
    if (!*out)
        return RC_LIMIT;
    for (size_t i = 0; i < page->n; i++) {
        struct app_record r;
        enum rc rc = auth_app_unpack(&page->rows[i], &r);
        if (rc == RC_NOTFOUND)
            continue;
        TRY(rc);
        TRY(describe(auth, account, &r, arena, &(*out)[*out_n]));
        ++*out_n;
    }
    return RC_OK;
}

enum rc auth_app_list(struct auth *auth, struct str address, struct arena *arena,
                      struct auth_app **out, size_t *out_n)
{
    struct address a;
    struct lookup found;
    struct app_keys keys;
    struct kv_page page;
    *out_n = 0;
    TRY(auth_address_parse(address, &a));
    enum rc rc = auth_lookup_address(auth, &a, 0, &found);
    if (rc != RC_OK)
        return rc == RC_DENIED ? RC_NOTFOUND : rc;
    uint64_t account = found.address.account;
    struct arena own = {0};
    rc = kv_scan(auth->kv, auth_domain_part(a.domain), auth_app_range(&keys, account), 0, 0, &own,
                 &page);
    if (rc == RC_OK)
        rc = list_all(auth, account, &page, arena, out, out_n);
    arena_fini(&own);
    return rc;
}
