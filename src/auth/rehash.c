/* Passwords whose hash came from elsewhere get one of ours at the first login that is right, when
 * the password is at hand, and those without keys for SCRAM get them: a job of its own on the hash
 * lane, behind the answer.
 *
 * Invariants: the new hash takes the place of the one that the password was found right for, and of
 * no other; the time of the password stays, so that no session ends for it. What is cut short
 * leaves the old hash, and the next login does it again. Never keeps a password beyond its job: it
 * waits in auth->secrets.
 */
#include "auth/auth_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct rehash {
    struct task_job task;
    struct auth *auth;
    struct edit edit;
    struct auth_place place;
    char *password; /* a slot of auth->secrets */
    size_t n_password;
    char before[CRYPTO_FOREIGN_MAX], after[CRYPTO_PASSWORD_MAX];
    bool is_foreign; /* otherwise it keeps its hash */
    struct scram_record scram;
};

/* RC_EXISTS: the account has another hash by now. */
static enum rc read_secret(struct rehash *r, struct key *key, struct secret_record *out)
{
    struct address_record address;
    struct str value;
    TRY(auth_edit_account(&r->edit, &r->place.address_key, &address));
    auth_key_secret(key, address.account, 0);
    TRY(auth_edit_get(&r->edit, key, 1, &value));
    if (str_is_null(value))
        return RC_NOTFOUND;
    TRY(auth_secret_unpack(value, out));
    return str_eq(out->hash, str_of(r->before)) ? RC_OK : RC_EXISTS;
}

static enum rc make_rehashed(struct edit *e, struct kv_txn *txn)
{
    struct rehash *r = CONTAINER(e, struct rehash, edit);
    struct secret_record secret;
    struct record record;
    struct key key;
    TRY(read_secret(r, &key, &secret));
    if (r->is_foreign) {
        secret.hash = str_of(r->after);
        secret.is_prepared = true;
    }
    secret.scram = r->scram;
    auth_secret_pack(&secret, &record);
    return kv_txn_put(txn, auth_key_str(&key), auth_record_str(&record));
}

/* Many logins may have come at once: only the first one hashes. */
static enum rc is_wanted(struct rehash *r)
{
    struct secret_record secret;
    struct key key;
    enum rc rc = read_secret(r, &key, &secret);
    if (rc == RC_OK && !r->is_foreign && !auth_scram_wants(r->auth, &secret.scram))
        rc = RC_EXISTS;
    arena_fini(&r->edit.arena);
    return rc;
}

static enum rc rehash(struct rehash *r)
{
    struct str password = str_from(r->password, r->n_password);
    TRY(is_wanted(r));
    if (r->is_foreign)
        TRY(auth_password_hash(r->auth, password, r->after));
    TRY(auth_scram_make(r->auth, r->place.address.whole, password, &r->scram));
    return auth_edit_run(&r->edit);
}

static void tell_operator(const struct rehash *r, enum rc rc)
{
    const char *event = rc != RC_OK     ? "password-not-rehashed"
                        : r->is_foreign ? "password-rehashed"
                                        : "scram-keys-made";
    struct log_line l;
    log_begin(&l, r->auth->ctx->log, rc == RC_OK ? LOG_INFO : LOG_WARNING, event);
    log_str(&l, "address", r->place.address.whole);
    if (rc != RC_OK)
        log_text(&l, "cause", rc_name(rc));
    log_end(&l);
}

static void end(struct rehash *r)
{
    struct auth *auth = r->auth;
    auth_secrets_give(&auth->secrets, r->password);
    crypto_wipe(r, sizeof *r);
    free(r);
    auth_note_end(auth);
}

static void run(struct task_job *task)
{
    struct rehash *r = CONTAINER(task, struct rehash, task);
    enum rc rc = rehash(r);
    if (rc != RC_EXISTS)
        tell_operator(r, rc);
    end(r);
}

void auth_rehash(struct auth *auth, struct str name, struct str hash, struct str password)
{
    char *slot = auth_secrets_take(&auth->secrets);
    if (!slot)
        return; /* the next login will do */
    struct rehash *r = mem_zero(sizeof *r);
    r->auth = auth;
    r->password = slot;
    r->task.run = run;
    r->edit.make = make_rehashed;
    r->edit.auth = auth;
    auth_note_begin(auth);
    enum rc rc = auth_place_of(name, &r->place);
    r->edit.part = r->place.part;
    if (rc == RC_OK && hash.n < sizeof r->before && password.n <= AUTH_PASSWORD_MAX) {
        memcpy(r->before, hash.p, hash.n);
        r->is_foreign = crypto_is_foreign(hash);
        memcpy(slot, password.p, password.n);
        r->n_password = password.n;
        rc = task_lane_post(auth->conf.hash_lane, &r->task);
        if (rc == RC_OK)
            return;
    }
    end(r);
}
