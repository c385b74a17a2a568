/* remote: accounts elsewhere that mail is collected from, as they are stored.
 *
 * Settings of all of them are in one partition, what became of the last try in another: so who
 * collects reads them in one go, watches the first, and writes the second without touching
 * anybody's mail (docs/decisions/0207). What has come in is noted in the account itself, with each
 * message.
 *
 * Passwords are sealed with the store's seal, together with the host that they are for, and opened
 * by the signer process alone (docs/decisions/0208).
 *
 * Any thread. All calls block.
 */
#ifndef REMOTE_REMOTE_H
#define REMOTE_REMOTE_H

#include "crypto/crypto.h"
#include "store/store.h"

enum {
    REMOTE_HOST_MAX = 253,
    REMOTE_LOGIN_MAX = 255,
    REMOTE_PASSWORD_MAX = 500,
    REMOTE_MAP_MAX = 2000, /* bytes of a folder map */
    REMOTE_TEXT_MAX = 250  /* bytes of a cause */
};

extern const struct kv_part remote_settings_part, remote_states_part;
/* For copies of a store: its partitions with n from 0 on. Their rows refer to no blobs. */
bool remote_partition(size_t n, struct kv_part *out);

/* Stored: the numbers stay. Those of protocol and TLS are fetch's. */
enum remote_after { REMOTE_KEEP, REMOTE_DELETE, REMOTE_DAYS };

struct remote {
    uint64_t account;
    uint32_t id;      /* of the store, never given twice */
    struct str owner; /* the account's address when it was made */
    uint8_t protocol, tls;
    struct str host;
    uint16_t port;
    struct str login;
    struct str sealed; /* see remote_seal */
    enum remote_after after;
    uint32_t days;        /* with REMOTE_DAYS */
    uint64_t interval_s;  /* 0: the configuration's */
    struct str folders;   /* IMAP: which go where; empty: INBOX alone */
    uint64_t created;     /* ns since 1970 */
    uint64_t credentials; /* grows with each new password */
    uint64_t asked;       /* when it was asked to be tried at once; 0: never */
    struct str raw;       /* the row; absent in one that is to be added */
};

enum remote_condition { REMOTE_NEW, REMOTE_WELL, REMOTE_FAILING, REMOTE_STOPPED };
struct remote_state {
    enum remote_condition condition;
    uint64_t tried, succeeded; /* ns since 1970; 0: never */
    uint64_t due;              /* of the next try */
    uint64_t failing_since;    /* 0: it does not */
    uint32_t failures;         /* in a row */
    uint64_t messages;         /* that have come in */
    uint64_t left;             /* at the last try: too large, or come round in a loop */
    uint64_t credentials;      /* that were tried */
    uint64_t asked;            /* that was done */
    struct str text;           /* the cause; printable */
};

/* RC_LIMIT: the account has `most` already, or a text is too long. *out_id is its number. */
enum rc remote_add(struct kv *kv, const struct remote *remote, size_t most, uint32_t *out_id);
/* In order of account and number; account 0: all. In the arena. */
enum rc remote_list(struct kv *kv, uint64_t account, struct arena *arena, struct remote **out,
                    size_t *out_n);
enum rc remote_get(struct kv *kv, uint64_t account, uint32_t id, struct arena *arena,
                   struct remote *out); /* RC_NOTFOUND */
/* A new password. RC_NOTFOUND. */
enum rc remote_reseal(struct kv *kv, uint64_t account, uint32_t id, struct str sealed);
/* All of an account, which has another address now. */
enum rc remote_rename(struct kv *kv, uint64_t account, struct str owner);
enum rc remote_ask(struct kv *kv, uint64_t account, uint32_t id, uint64_t now); /* RC_NOTFOUND */
/* Settings and state; then what was noted of it in the account, which may be gone (store NULL: that
 * stays). Again after a crash. RC_NOTFOUND. */
enum rc remote_remove(struct kv *kv, struct store *store, uint64_t account, uint32_t id);

enum rc remote_state_get(struct kv *kv, uint64_t account, uint32_t id, struct arena *arena,
                         struct remote_state *out); /* zeroes when there is none */
enum rc remote_state_put(struct kv *kv, uint64_t account, uint32_t id,
                         const struct remote_state *state);

/* Appends a password, sealed for this host, port and login. RC_LIMIT. */
enum rc remote_seal(const struct remote *remote, struct str password,
                    const unsigned char seal[CRYPTO_SEAL_KEY], struct buf *out);
/* The password; *n is the room, then the length. RC_DENIED: it was sealed for another host, or for
 * another store. RC_TEMP: the signer does not answer. */
enum rc remote_unseal(struct crypto_signer_client *signer, const struct remote *remote,
                      char *password, size_t *n);

/* --- notes: what an account remembers of it --------------------------------------------------- */

enum { REMOTE_NOTE = 'r', REMOTE_NOTE_KEY = 1 + 4 + 1 + 16 };
/* The key of a note of this kind: the digest's first 16 bytes. */
struct str remote_note_key(uint32_t id, char kind, struct str what,
                           unsigned char out[REMOTE_NOTE_KEY]);
/* How all of a kind begin; kind 0: all. */
struct str remote_note_prefix(uint32_t id, char kind, unsigned char out[REMOTE_NOTE_KEY]);

#endif
