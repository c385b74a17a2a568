/* Makes DKIM signatures [RFC6376 5] [RFC8463 3].
 *
 * The header block is kept, the body hashed as it comes; then each signature is a hash over the
 * chosen fields and over the signature's own field with an empty b=. Which fields: `chosen` below.
 * Nothing here sees a private key. */
#include "mailauth/mailauth_int.h"

#include "base/base64.h"
#include "mime/mime.h"

#include <string.h>

enum { LINE_BYTES = 76, SIGNATURE_MAX = CRYPTO_SIGNATURE_MAX, ADDRESS_BYTES = 1024 };

/* How a field is signed [RFC6376 5.4.1]. */
enum how {
    ALWAYS,     /* and once more than it occurs, also when it does not: nobody may add one */
    IF_PRESENT, /* and once more than it occurs, when it does */
    AS_IT_IS    /* as often as it occurs: others may come on the way */
};

/* A list that adds its own List-Id to a message without one does not break the signature; what it
 * puts beside one that is there does. */
static const struct {
    const char *name;
    enum how how;
} chosen[] = {
    {"From", ALWAYS},
    {"To", ALWAYS},
    {"Cc", ALWAYS},
    {"Subject", ALWAYS},
    {"Date", ALWAYS},
    {"Message-ID", ALWAYS},
    {"Reply-To", ALWAYS},
    {"MIME-Version", ALWAYS},
    {"Content-Type", ALWAYS},
    {"Content-Transfer-Encoding", ALWAYS},
    {"Sender", IF_PRESENT},
    {"In-Reply-To", IF_PRESENT},
    {"References", IF_PRESENT},
    {"Content-ID", IF_PRESENT},
    {"Content-Description", IF_PRESENT},
    {"Content-Disposition", IF_PRESENT},
    {"Content-Language", IF_PRESENT},
    {"List-Id", IF_PRESENT},
    {"List-Help", IF_PRESENT},
    {"List-Subscribe", IF_PRESENT},
    {"List-Unsubscribe", IF_PRESENT},
    {"List-Unsubscribe-Post", IF_PRESENT},
    {"List-Post", IF_PRESENT},
    {"List-Owner", IF_PRESENT},
    {"List-Archive", IF_PRESENT},
    {"Auto-Submitted", IF_PRESENT},
    {"Resent-Date", AS_IT_IS},
    {"Resent-From", AS_IT_IS},
    {"Resent-To", AS_IT_IS},
    {"Resent-Cc", AS_IT_IS},
    {"Resent-Message-ID", AS_IT_IS},
};
enum { N_CHOSEN = sizeof chosen / sizeof *chosen };

/* --- the message ------------------------------------------------------------------------------ */

void mailauth_sign_init(struct mailauth_sign *s)
{
    *s = (struct mailauth_sign){0};
    buf_init(&s->header, MAILAUTH_HEADER_MAX);
    crypto_sha256_init(&s->body);
}

void mailauth_sign_fini(struct mailauth_sign *s)
{
    buf_fini(&s->header);
}

/* The block ends with an empty line, which may be its first one. Gives how many bytes of the piece
 * are the header's, that line included; 0: it goes on. */
static size_t find_end(const struct mailauth_sign *s, size_t old)
{
    struct str all = buf_str(&s->header);
    if (str_starts(all, STR("\r\n")))
        return 2 - old;
    size_t from = old < 3 ? 0 : old - 3;
    ptrdiff_t at = str_find(str_skip(all, from), STR("\r\n\r\n"));
    return at < 0 ? 0 : from + (size_t)at + 4 - old;
}

static size_t feed_header(struct mailauth_sign *s, struct str bytes)
{
    size_t old = buf_len(&s->header);
    struct str piece = str_head(bytes, MAILAUTH_HEADER_MAX - old);
    if (piece.n == 0 || buf_add(&s->header, piece) != RC_OK) {
        s->is_too_long = true;
        return bytes.n;
    }
    size_t n = find_end(s, old);
    if (n == 0)
        return piece.n;
    buf_truncate(&s->header, old + n - 2);
    s->is_in_body = true;
    return n;
}

void mailauth_sign_feed(struct mailauth_sign *s, struct str bytes)
{
    while (bytes.n && !s->is_in_body && !s->is_too_long)
        bytes = str_skip(bytes, feed_header(s, bytes));
    if (s->is_in_body)
        mailauth_canon_body(s, bytes);
}

enum rc mailauth_sign_finish(struct mailauth_sign *s)
{
    mailauth_canon_end(s);
    return s->is_too_long ? RC_LIMIT : RC_OK;
}

enum rc mailauth_sign_domain(const struct mailauth_sign *s, struct buf *out)
{
    struct str value;
    struct buf address;
    buf_clear(out);
    if (!mime_header_find(buf_str(&s->header), STR("From"), &value))
        return RC_SYNTAX;
    buf_init(&address, ADDRESS_BYTES);
    enum rc rc = mime_address_next(&value, &address);
    struct str domain = str_domain(buf_str(&address));
    rc = rc != RC_OK || domain.n == 0 ? RC_SYNTAX : buf_add(out, domain);
    buf_fini(&address);
    return rc == RC_OK ? RC_OK : RC_SYNTAX;
}

/* --- which fields ----------------------------------------------------------------------------- */

struct fields {
    struct str name[MAILAUTH_FIELDS_MAX], value[MAILAUTH_FIELDS_MAX];
    unsigned char which[MAILAUTH_FIELDS_MAX]; /* of chosen */
    size_t n;
};

static size_t find_chosen(struct str name)
{
    size_t i = 0;
    while (i < N_CHOSEN && !str_ieq(name, str_of(chosen[i].name)))
        i++;
    return i;
}

static enum rc read_fields(struct str header, struct fields *out)
{
    struct mime_field field;
    out->n = 0;
    while (mime_header_next(&header, &field)) {
        size_t which = find_chosen(field.name);
        if (which == N_CHOSEN)
            continue;
        if (out->n == MAILAUTH_FIELDS_MAX)
            return RC_LIMIT;
        out->which[out->n] = (unsigned char)which;
        out->name[out->n] = field.name;
        out->value[out->n++] = field.value;
    }
    return RC_OK;
}

/* --- one signature ---------------------------------------------------------------------------- */

struct field_writer {
    struct buf *out;
    size_t column;
};

/* Begins a new line where a part would not fit on this one. */
static void put(struct field_writer *w, struct str part)
{
    if (w->column + part.n > LINE_BYTES && w->column > 1) {
        buf_put(w->out, STR("\r\n\t"));
        w->column = 1;
    }
    buf_put(w->out, part);
    w->column += part.n;
}

/* A tag with the semicolon before it. */
static void put_tag(struct field_writer *w, const char *name, struct str value)
{
    char text[400];
    struct buf tag = {.cap = sizeof text};
    buf_put(w->out, STR(";"));
    w->column++;
    buf_putf(&tag, "%s=%.*s", name, STR_ARG(value));
    if (w->column + 1 + buf_len(&tag) > LINE_BYTES) {
        buf_put(w->out, STR("\r\n\t"));
        w->column = 1;
    } else {
        buf_put(w->out, STR(" "));
        w->column++;
    }
    buf_put(w->out, buf_str(&tag));
    w->column += buf_len(&tag);
    buf_fini(&tag);
}

/* Base 64, cut wherever a line is full. */
static void put_base64(struct field_writer *w, struct str bytes)
{
    struct buf text;
    buf_init(&text, 4 * SIGNATURE_MAX);
    (void)(base64_encode(&text, bytes) == RC_OK); /* it fits */
    for (struct str rest = buf_str(&text); rest.n;) {
        size_t room = w->column < LINE_BYTES ? LINE_BYTES - w->column : 0;
        if (room == 0)
            room = LINE_BYTES - 1;
        put(w, str_head(rest, room));
        rest = str_skip(rest, room);
    }
    buf_fini(&text);
}

/* h=, and the fields into the hash in the same order: of each name from the last one up, as the
 * verifier takes them [RFC6376 5.4.2]; one that is not there is the null string. */
static void put_fields(struct field_writer *w, const struct fields *f,
                       struct crypto_sha256_state *hash)
{
    bool is_first = true;
    buf_put(w->out, STR(";\r\n\th="));
    w->column = 3;
    for (size_t i = 0; i < N_CHOSEN; i++) {
        size_t n = 0;
        for (size_t k = f->n; k-- > 0;) {
            if (f->which[k] != i)
                continue;
            mailauth_canon_field(hash, f->name[k], f->value[k], false);
            n++;
        }
        if (chosen[i].how == ALWAYS || (chosen[i].how == IF_PRESENT && n))
            n++;
        for (; n; n--, is_first = false) {
            char text[40];
            struct str name = str_of(chosen[i].name);
            text[0] = ':';
            memcpy(text + 1, name.p, name.n);
            put(w, is_first ? name : str_from(text, name.n + 1));
        }
    }
}

/* Everything but the signature itself. */
static void put_head(struct field_writer *w, const struct mailauth_sign *s,
                     const struct mailauth_key *key, uint64_t now)
{
    char bh[64], time[24];
    struct buf text = {.cap = sizeof bh};
    struct buf number = {.cap = sizeof time};
    (void)(base64_encode(&text, str_from(s->body_hash, sizeof s->body_hash)) == RC_OK);
    (void)(buf_add_u64(&number, now) == RC_OK);
    struct str first = STR("DKIM-Signature: v=1");
    buf_put(w->out, first);
    w->column = first.n;
    put_tag(w, "a", key->algorithm == CRYPTO_ED25519 ? STR("ed25519-sha256") : STR("rsa-sha256"));
    put_tag(w, "c", STR("relaxed/relaxed"));
    put_tag(w, "d", key->domain);
    put_tag(w, "s", key->selector);
    put_tag(w, "t", buf_str(&number));
    put_tag(w, "bh", buf_str(&text));
    buf_fini(&text);
    buf_fini(&number);
}

static enum rc write_field(const struct mailauth_sign *s, const struct mailauth_key *key,
                           uint64_t now, struct mailauth_hand *hand, struct buf *out)
{
    struct fields fields;
    struct crypto_sha256_state hash;
    unsigned char digest[CRYPTO_SHA256], signature[SIGNATURE_MAX];
    size_t begin = buf_len(out), n = sizeof signature, name = sizeof "DKIM-Signature" - 1;
    struct field_writer w = {.out = out};
    TRY(read_fields(buf_str(&s->header), &fields));
    crypto_sha256_init(&hash);
    put_head(&w, s, key, now);
    put_fields(&w, &fields, &hash);
    buf_put(out, STR(";\r\n\tb="));
    w.column = 3;
    if (out->over)
        return RC_LIMIT;
    struct str text = str_skip(buf_str(out), begin);
    mailauth_canon_field(&hash, str_head(text, name), str_skip(text, name + 1), true);
    crypto_sha256_end(&hash, digest);
    TRY(hand->sign(hand, key, digest, signature, &n));
    put_base64(&w, str_from(signature, n));
    buf_put(out, STR("\r\n"));
    return out->over || buf_len(out) - begin > MAILAUTH_FIELD_MAX ? RC_LIMIT : RC_OK;
}

enum rc mailauth_sign_field(const struct mailauth_sign *s, const struct mailauth_key *key,
                            uint64_t now, struct mailauth_hand *hand, struct buf *out)
{
    size_t before = buf_len(out);
    bool was_over = out->over;
    enum rc rc = write_field(s, key, now, hand, out);
    if (rc != RC_OK) {
        buf_truncate(out, before);
        out->over = was_over;
    }
    return rc;
}

/* --- all at once ------------------------------------------------------------------------------ */

static enum rc feed_all(struct mailauth_sign *s, struct mailauth_source *source)
{
    struct str piece;
    enum rc rc;
    while ((rc = source->next(source, &piece)) == RC_OK)
        mailauth_sign_feed(s, piece);
    return rc == RC_EOF ? mailauth_sign_finish(s) : rc;
}

static enum rc sign_all(const struct mailauth_signing *signing, struct mailauth_sign *s,
                        struct arena *arena, struct buf *out)
{
    struct mailauth_key keys[MAILAUTH_KEYS_MAX];
    size_t n = 0;
    struct buf domain;
    buf_init(&domain, ADDRESS_BYTES);
    enum rc rc = feed_all(s, signing->source);
    if (rc == RC_OK)
        rc = mailauth_sign_domain(s, &domain);
    if (rc == RC_OK)
        rc = signing->keys->find(signing->keys, buf_str(&domain), arena, keys, &n);
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        rc = mailauth_sign_field(s, &keys[i], signing->now, signing->hand, out);
        if (rc == RC_DENIED)
            rc = RC_OK; /* a key that nobody can use keeps no other one from signing */
    }
    buf_fini(&domain);
    return rc;
}

enum rc mailauth_sign(const struct mailauth_signing *signing, struct buf *out)
{
    struct mailauth_sign s;
    struct arena arena = {0};
    size_t before = buf_len(out);
    mailauth_sign_init(&s);
    enum rc rc = sign_all(signing, &s, &arena, out);
    if (rc != RC_OK)
        buf_truncate(out, before);
    mailauth_sign_fini(&s);
    arena_fini(&arena);
    return rc;
}
