/* mailauth: what proves where mail comes from. Today: DKIM signatures [RFC6376] [RFC8463].
 *
 * Pure machines over bytes: no I/O, no DNS, no private keys. Who signs (the signer process, a test)
 * and where keys are found is the caller's, behind two hooks.
 *
 * A signature covers the whole body and the fields that tell who says what to whom, in relaxed
 * canonicalisation on both sides, so that refolding and white space on the way do no harm. Fields
 * are named once more often than they occur, so that nobody can add another one below the
 * signature's eyes [RFC6376 8.15].
 *
 * The bytes signed are those that are sent: with CRLF at the ends of lines, without dot-stuffing. A
 * body that does not end with CRLF is signed as if it did [RFC6376 3.4.4], which is what arrives.
 */
#ifndef MAILAUTH_MAILAUTH_H
#define MAILAUTH_MAILAUTH_H

#include "base/arena.h"
#include "base/buf.h"
#include "crypto/crypto.h"

enum {
    MAILAUTH_HEADER_MAX = 1 << 20, /* bytes of a header block that can be signed */
    MAILAUTH_FIELDS_MAX = 500,     /* fields in it that a signature covers */
    MAILAUTH_KEYS_MAX = 4,         /* signatures of one message */
    MAILAUTH_FIELD_MAX = 16 << 10, /* bytes of one signature */
    MAILAUTH_RECORD_MAX = 4096     /* bytes of a key record [RFC6376 3.6.2.2] */
};

/* --- signing ---------------------------------------------------------------------------------- */

struct mailauth_key {
    struct str domain, selector; /* where the public key is: SELECTOR._domainkey.DOMAIN */
    enum crypto_algorithm algorithm;
    struct str sealed; /* the private key, as only the signer can open it; for the hook */
};

/* Who signs: gives the signature of a SHA-256 digest by that key. *n is the room, then the length.
 * May block. */
struct mailauth_hand {
    enum rc (*sign)(struct mailauth_hand *hand, const struct mailauth_key *key,
                    const unsigned char digest[CRYPTO_SHA256], unsigned char *out, size_t *n);
};

/* Feed a message in pieces of any size, finish, then make as many signatures as wanted. 300 bytes,
 * and the header block in memory that it owns. */
struct mailauth_sign {
    struct buf header; /* with its empty line's CRLF left out */
    struct crypto_sha256_state body;
    unsigned char body_hash[CRYPTO_SHA256];
    uint64_t crlfs;   /* line ends of the body that count only when something follows */
    bool is_in_body;  /* the empty line has been seen */
    bool has_space;   /* white space that counts only when something follows on its line */
    bool has_cr;      /* the last byte was a CR whose LF may follow */
    bool has_body;    /* something of the body has been hashed */
    bool is_too_long; /* the header */
};
void mailauth_sign_init(struct mailauth_sign *s);
void mailauth_sign_fini(struct mailauth_sign *s);
void mailauth_sign_feed(struct mailauth_sign *s, struct str bytes);
/* The end of the message. RC_LIMIT: its header is too long to be signed. */
enum rc mailauth_sign_finish(struct mailauth_sign *s);
/* After that: the domain of the first address of From, as it stands; in `out`, which is cleared
 * first. RC_SYNTAX: there is none, or nobody can say which. */
enum rc mailauth_sign_domain(const struct mailauth_sign *s, struct buf *out);
/* After that: appends one DKIM-Signature field with its CRLF. now: seconds since 1970. What the
 * hook answers; RC_LIMIT: too many fields, or it does not fit; out is as it was then. */
enum rc mailauth_sign_field(const struct mailauth_sign *s, const struct mailauth_key *key,
                            uint64_t now, struct mailauth_hand *hand, struct buf *out);

/* The same for who has a message in pieces and a place to look for keys: all in one call, which
 * blocks as its hooks do. */
struct mailauth_source {
    /* The next piece, valid until the next call; RC_EOF: there are no more. */
    enum rc (*next)(struct mailauth_source *source, struct str *out_piece);
};
struct mailauth_keys {
    /* The keys that sign for a domain of From (a key's domain may be one above it), at most
     * MAILAUTH_KEYS_MAX, in the arena; none: mail from there is not signed. */
    enum rc (*find)(struct mailauth_keys *keys, struct str domain, struct arena *arena,
                    struct mailauth_key *out, size_t *out_n);
};
struct mailauth_signing {
    struct mailauth_source *source;
    struct mailauth_keys *keys;
    struct mailauth_hand *hand;
    uint64_t now; /* seconds since 1970 */
};
/* Appends the DKIM-Signature fields that go in front of the message; perhaps none. RC_OK also when
 * there is nothing to sign with; a key that is RC_DENIED is left out. RC_SYNTAX, RC_LIMIT: this
 * message cannot be signed, now or later; send it as it is. What the hooks answer otherwise; out is
 * as it was then. */
enum rc mailauth_sign(const struct mailauth_signing *signing, struct buf *out);

/* --- key records ------------------------------------------------------------------------------ */

/* Appends the value of the TXT record for a public key: of RSA the DER of its
 * SubjectPublicKeyInfo, of Ed25519 the 32 bytes [RFC8463 4]. */
enum rc mailauth_record_write(enum crypto_algorithm algorithm, struct str public_key,
                              struct buf *out);

/* What a key record says. */
struct mailauth_record {
    enum crypto_algorithm algorithm;
    struct buf public_key; /* as above; empty: the key has been revoked */
    bool is_testing;       /* t=y */
    bool is_strict;        /* t=s: not for subdomains */
};
/* RC_SYNTAX: not a key record for mail that can be used [RFC6376 3.6.1]. RC_LIMIT: too long. End
 * it with mailauth_record_fini in every case. */
enum rc mailauth_record_read(struct str text, struct mailauth_record *out);
void mailauth_record_fini(struct mailauth_record *record);

#endif
