/* One mbox file: message after message.
 *
 * Each message is gone over twice: once to find its end, what its fields say and what identifies
 * it, and, unless it is in already, once more to hand it over. In memory are a page of the file,
 * the header, and 64 bytes for each message.
 *
 * Where a message ends: at Content-Length, when what stands there is the end of the file or a line
 * that parts messages (mboxcl, mboxcl2: nothing is quoted then); otherwise before the next such
 * line behind an empty one (mboxo, mboxrd: one '>' is taken from each ">From "). The empty line
 * before it belongs to neither.
 *
 * A message is identified by its folder and its bytes, but for what mail readers write into the
 * header; equal ones are counted. */
#include "transfer/mbox_source_int.h"

#include "base/map.h"
#include "base/mem.h"
#include "crypto/crypto.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAGE = 64 << 10, HEADER_MAX = 1 << 20, FIELD_MAX = 64 << 10 };

/* A line, or PAGE bytes of a longer one. */
struct piece {
    struct str text; /* with its LF, when it has one */
    uint64_t at;
    bool is_start; /* of a line */
};

struct equal { /* messages of one digest */
    struct map_node node;
    unsigned char digest[TRANSFER_ORIGIN];
    uint32_t count;
};

struct reading {
    struct mbox_source *s;
    struct str folder, label; /* of error lines */
    unsigned n;               /* of the folder in the sink */
    int fd;
    const struct stat *st;
    char page[PAGE];
    uint64_t at;    /* of the page in the file */
    size_t n_page;  /* bytes in it */
    bool is_middle; /* the next piece goes on with a line */
    uint64_t number;
    struct map equals;

    /* The message under way. */
    struct arena arena;
    struct buf header, field;
    struct mbox_fields fields;
    uint64_t time, body, end;
    bool is_length_true;
    unsigned char digest[TRANSFER_ORIGIN];
    struct buf out;
};

/* --- pieces ----------------------------------------------------------------------------------- */

static void seek(struct reading *r, uint64_t at)
{
    r->at = at;
    r->n_page = 0;
    r->is_middle = false;
}

static enum rc fill(struct reading *r)
{
    while (r->n_page < PAGE) {
        ssize_t n = pread(r->fd, r->page + r->n_page, PAGE - r->n_page, (off_t)(r->at + r->n_page));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return RC_TEMP;
        if (n == 0)
            break;
        r->n_page += (size_t)n;
    }
    return RC_OK;
}

/* The piece at an offset; RC_EOF. It stays until the next call. */
static enum rc piece_at(struct reading *r, uint64_t at, struct piece *out)
{
    bool has = at >= r->at && at < r->at + r->n_page;
    struct str rest = {0};
    if (has)
        rest = str_from(r->page + (at - r->at), (size_t)(r->at + r->n_page - at));
    if (!has || (str_find_byte(rest, '\n') < 0 && rest.n < PAGE)) {
        r->at = at;
        r->n_page = 0;
        TRY(fill(r));
        rest = str_from(r->page, r->n_page);
    }
    if (!rest.n)
        return RC_EOF;
    ptrdiff_t lf = str_find_byte(rest, '\n');
    out->text = str_head(rest, lf < 0 ? rest.n : (size_t)lf + 1);
    out->at = at;
    out->is_start = !r->is_middle;
    r->is_middle = lf < 0;
    return RC_OK;
}

static struct str line_of(const struct piece *p)
{
    struct str s = p->text;
    s.n -= s.n && s.p[s.n - 1] == '\n';
    s.n -= s.n && s.p[s.n - 1] == '\r';
    return s;
}

static bool is_empty_line(const struct piece *p)
{
    return p->is_start && !line_of(p).n && p->text.n;
}

static bool parts(const struct piece *p, uint64_t *out_time)
{
    struct str sender;
    return p->is_start && mbox_from_line(line_of(p), &sender, out_time);
}

/* --- the first time: where it ends, and what it is ---------------------------------------------
 */

/* A field is complete: it is the mail reader's, or the message's. */
static void end_field(struct reading *r)
{
    struct str field = buf_str(&r->field);
    if (field.n && !mbox_field_take(&r->fields, field, &r->arena))
        buf_put(&r->header, field);
    buf_clear(&r->field);
}

/* Up to the empty line, which is kept; a header that is too long goes on as body. */
static enum rc read_header(struct reading *r, uint64_t at)
{
    struct piece p;
    enum rc rc;
    bool is_over = false;
    while (!is_over && (rc = piece_at(r, at, &p)) == RC_OK) {
        bool is_more = !p.is_start || p.text.p[0] == ' ' || p.text.p[0] == '\t';
        uint64_t time;
        if (!is_more && parts(&p, &time)) /* a message without a body, and without an empty line */
            break;
        if (!is_more)
            end_field(r);
        is_over = is_empty_line(&p);
        if (buf_len(&r->header) + buf_len(&r->field) + p.text.n > HEADER_MAX ||
            buf_add(&r->field, p.text) != RC_OK)
            break;
        at += p.text.n;
        if (is_over) {
            buf_put(&r->header, p.text);
            buf_clear(&r->field);
        }
    }
    end_field(r);
    r->body = at;
    return is_over || rc == RC_OK || rc == RC_EOF ? RC_OK : rc;
}

static bool is_behind_a_line(struct reading *r, uint64_t at)
{
    struct piece p;
    seek(r, at - 1);
    return piece_at(r, at - 1, &p) == RC_OK && str_eq(p.text, STR("\n"));
}

/* Whether a message may end at an offset in its body. */
static bool ends_at(struct reading *r, uint64_t at)
{
    struct piece p;
    uint64_t time;
    bool is_line = is_behind_a_line(r, at);
    seek(r, at);
    enum rc rc = piece_at(r, at, &p);
    if (rc == RC_OK && is_empty_line(&p)) { /* or the end of a line that the message does not end */
        at += p.text.n;
        is_line = true;
        rc = piece_at(r, at, &p);
    }
    return rc == RC_EOF || (rc == RC_OK && is_line && parts(&p, &time));
}

static enum rc find_end(struct reading *r)
{
    struct piece p, last = {0};
    uint64_t at = r->body, time;
    bool was_empty = true; /* the one that ends the header */
    enum rc rc;
    r->is_length_true = r->fields.length <= (uint64_t)r->st->st_size &&
                        r->body + r->fields.length <= (uint64_t)r->st->st_size &&
                        ends_at(r, r->body + r->fields.length);
    seek(r, at);
    if (r->is_length_true) {
        r->end = r->body + r->fields.length;
        return RC_OK;
    }
    r->end = at;
    while ((rc = piece_at(r, at, &p)) == RC_OK) {
        if (was_empty && parts(&p, &time))
            break;
        was_empty = is_empty_line(&p);
        last = p;
        at += p.text.n;
        r->end = was_empty ? last.at : at;
    }
    return rc == RC_EOF ? RC_OK : rc;
}

static enum rc digest(struct reading *r)
{
    struct crypto_sha256_state state;
    unsigned char sum[CRYPTO_SHA256];
    struct piece p;
    enum rc rc = RC_OK;
    crypto_sha256_init(&state);
    crypto_sha256_add(&state, buf_str(&r->header));
    seek(r, r->body);
    for (uint64_t at = r->body; rc == RC_OK && at < r->end; at += p.text.n) {
        rc = piece_at(r, at, &p);
        if (rc == RC_OK)
            crypto_sha256_add(&state, str_head(p.text, (size_t)(r->end - at)));
    }
    crypto_sha256_end(&state, sum);
    memcpy(r->digest, sum, sizeof r->digest);
    return rc == RC_EOF ? RC_TEMP : rc; /* it became shorter meanwhile */
}

static uint32_t count_equal(struct reading *r)
{
    uint64_t hash;
    memcpy(&hash, r->digest, sizeof hash);
    for (struct map_node *n = map_find(&r->equals, hash); n; n = map_next(n)) {
        struct equal *e = CONTAINER(n, struct equal, node);
        if (memcmp(e->digest, r->digest, sizeof r->digest) == 0)
            return ++e->count;
    }
    struct equal *e = mem_zero(sizeof *e);
    memcpy(e->digest, r->digest, sizeof r->digest);
    map_add(&r->equals, &e->node, hash);
    return 0;
}

/* --- the second time -------------------------------------------------------------------------- */

static enum rc hand_over_body(struct reading *r)
{
    struct crlf crlf = {0};
    struct piece p;
    seek(r, r->body);
    buf_clear(&r->out);
    crlf_put(&crlf, buf_str(&r->header), &r->out);
    for (uint64_t at = r->body; at < r->end; at += p.text.n) {
        enum rc rc = piece_at(r, at, &p);
        if (rc != RC_OK)
            return transfer_give_up(r->s->sink, STR("the file became shorter, or cannot be read"));
        struct str text = str_head(p.text, (size_t)(r->end - at));
        if (p.is_start && !r->is_length_true)
            text = mbox_unquote(text);
        crlf_put(&crlf, text, &r->out);
        if (buf_len(&r->out) < PAGE)
            continue;
        TRY(transfer_bytes(r->s->sink, buf_str(&r->out)));
        buf_clear(&r->out);
    }
    TRY(transfer_bytes(r->s->sink, buf_str(&r->out)));
    return transfer_end(r->s->sink);
}

static enum rc hand_over(struct reading *r)
{
    unsigned char origin[TRANSFER_ORIGIN];
    uint32_t count = count_equal(r);
    const struct str parts_[] = {STR("mbox"), r->folder, str_from(r->digest, sizeof r->digest),
                                 str_from((const char *)&count, sizeof count)};
    struct buf label = {.cap = 2 * TRANSFER_LABEL};
    transfer_origin(parts_, 4, origin);
    buf_putf(&label, "%.*s, message %llu", STR_ARG(r->label), (unsigned long long)r->number);
    uint64_t time = r->time ? r->time : (uint64_t)r->st->st_mtim.tv_sec;
    const struct transfer_message m = {.label = buf_str(&label),
                                       .origin = str_from(origin, sizeof origin),
                                       .received = time * NS_PER_SEC,
                                       .size = buf_len(&r->header) + (r->end - r->body),
                                       .flags = r->fields.flags,
                                       .keywords = r->fields.keywords,
                                       .n_keywords = r->fields.n_keywords,
                                       .uidl = r->fields.uidl};
    enum rc rc = RC_OK;
    if (transfer_has(r->s->sink, m.origin)) {
        r->s->mbox->known++;
    } else {
        rc = transfer_begin(r->s->sink, r->n, &m);
        if (rc == RC_OK)
            rc = hand_over_body(r);
    }
    buf_fini(&label);
    return rc;
}

static enum rc read_message(struct reading *r, uint64_t at)
{
    arena_reset(&r->arena);
    buf_clear(&r->header);
    buf_clear(&r->field);
    mbox_fields_init(&r->fields);
    r->number++;
    TRY(read_header(r, at));
    TRY(find_end(r));
    TRY(digest(r));
    if (r->fields.is_internal && r->number == 1)
        return RC_OK;
    return hand_over(r);
}

/* Passes over what is no message: at the beginning, and empty lines between messages. */
static enum rc read_all(struct reading *r)
{
    struct piece p;
    uint64_t at = 0;
    bool is_told = false;
    enum rc rc;
    while ((rc = piece_at(r, at, &p)) == RC_OK) {
        at += p.text.n;
        if (parts(&p, &r->time)) {
            TRY(read_message(r, at));
            at = r->end;
            seek(r, at);
        } else if (!is_told && !is_empty_line(&p)) {
            TRY(transfer_tell(
                r->s->sink, r->label, true,
                STR("something in it is no message: it begins with no \"From \" line, or "
                    "one without a date")));
            is_told = true;
        }
    }
    return rc == RC_EOF ? RC_OK : rc;
}

bool mbox_is(int fd)
{
    char head[256];
    uint64_t time;
    struct str sender;
    ssize_t n = pread(fd, head, sizeof head, 0);
    struct str rest = str_from(head, n > 0 ? (size_t)n : 0), line;
    return n == 0 || (str_cut(&rest, '\n', &line) && mbox_from_line(line, &sender, &time));
}

enum rc mbox_pour_file(struct mbox_source *s, int fd, const struct stat *st, struct str folder,
                       unsigned n, struct str label)
{
    struct reading *r = mem_zero(sizeof *r);
    r->s = s;
    r->folder = folder;
    r->label = label;
    r->n = n;
    r->fd = fd;
    r->st = st;
    buf_init(&r->header, HEADER_MAX + PAGE);
    buf_init(&r->field, FIELD_MAX + PAGE);
    buf_init(&r->out, 2 * (HEADER_MAX + 2 * PAGE));
    map_init(&r->equals);
    enum rc rc = read_all(r);
    if (rc == RC_TEMP)
        rc = transfer_tell(s->sink, label, true, STR("it cannot be read to its end"));
    size_t slot = 0;
    for (struct map_node *node; (node = map_each(&r->equals, &slot, NULL));) {
        struct equal *e = CONTAINER(node, struct equal, node);
        map_remove(&r->equals, node);
        free(e);
    }
    map_fini(&r->equals);
    arena_fini(&r->arena);
    buf_fini(&r->header);
    buf_fini(&r->field);
    buf_fini(&r->out);
    free(r);
    return rc;
}
