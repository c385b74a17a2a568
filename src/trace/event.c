/* An event as bytes: a format, what and when, then fields of a tag, a length and bytes. A reader
 * passes over tags that it does not know. Texts come from everywhere, so they are made harmless
 * before they are stored: control characters and what is not UTF-8 become '?'. */
#include "trace/trace_int.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1, HEAD = 10 };

enum tag {
    TAG_ID = 1,
    TAG_MESSAGE_ID,
    TAG_SENDER,
    TAG_TO,
    TAG_PEER,
    TAG_SESSION,
    TAG_LOGIN,
    TAG_TLS,
    TAG_CHECKS,
    TAG_SIZE,
    TAG_HOST,
    TAG_REPLY,
    TAG_MAILBOX,
    TAG_DUE,
    TAG_OTHER
};

static const struct text_field {
    enum tag tag;
    size_t offset;
} texts[] = {
    {TAG_ID, offsetof(struct trace_event, id)},
    {TAG_MESSAGE_ID, offsetof(struct trace_event, message_id)},
    {TAG_PEER, offsetof(struct trace_event, peer)},
    {TAG_SESSION, offsetof(struct trace_event, session)},
    {TAG_LOGIN, offsetof(struct trace_event, login)},
    {TAG_TLS, offsetof(struct trace_event, tls)},
    {TAG_CHECKS, offsetof(struct trace_event, checks)},
    {TAG_HOST, offsetof(struct trace_event, host)},
    {TAG_REPLY, offsetof(struct trace_event, reply)},
    {TAG_MAILBOX, offsetof(struct trace_event, mailbox)},
    {TAG_OTHER, offsetof(struct trace_event, other)},
};

static const struct number_field {
    enum tag tag;
    size_t offset;
} numbers[] = {
    {TAG_SIZE, offsetof(struct trace_event, size)},
    {TAG_DUE, offsetof(struct trace_event, due)},
};

const char *trace_what_text(enum trace_what what)
{
    static const char *const names[TRACE_WHATS] = {
        [TRACE_ACCEPTED] = "accepted",
        [TRACE_REFUSED] = "refused",
        [TRACE_DELIVERED] = "delivered",
        [TRACE_RELAYED] = "relayed",
        [TRACE_DEFERRED] = "deferred",
        [TRACE_FAILED] = "failed",
        [TRACE_REPORTED] = "reported",
        [TRACE_CHANGED] = "changed",
        [TRACE_HELD] = "held",
        [TRACE_LOGIN] = "login",
        [TRACE_LOGIN_FAILED] = "login-failed",
        [TRACE_LOGIN_REFUSED] = "login-refused",
        [TRACE_LOGIN_BLOCKED] = "login-blocked",
        [TRACE_NEW_PLACE] = "new-place",
        [TRACE_SESSION_ENDED] = "session-ended",
    };
    return (unsigned)what < TRACE_WHATS && names[what] ? names[what] : "unknown";
}

/* --- writing ---------------------------------------------------------------------------------- */

/* C1 control characters are two bytes of UTF-8, 0xc2 and 0x80 to 0x9f. */
static void make_harmless(unsigned char *p, size_t n)
{
    bool is_utf8 = utf8_is_valid(str_from(p, n));
    for (size_t i = 0; i < n; i++) {
        if (p[i] < ' ' || p[i] == 0x7f || (p[i] >= 0x80 && !is_utf8))
            p[i] = '?';
        else if (p[i] == 0xc2 && i + 1 < n && p[i + 1] < 0xa0)
            p[i] = p[i + 1] = '?';
    }
}

/* Up to a length, and not in the middle of a character. */
static struct str cut(struct str s)
{
    size_t n = TRACE_TEXT_MAX;
    if (s.n <= n)
        return s;
    while (n > TRACE_TEXT_MAX - 4 && ((unsigned char)s.p[n] & 0xc0) == 0x80)
        n--;
    return str_head(s, n);
}

/* Left out where it does not fit. */
static void put_text(struct packer *w, enum tag tag, struct str text)
{
    text = cut(text);
    if (text.n + 3 > w->size - w->n)
        return;
    pack_u8(w, (uint8_t)tag);
    pack_u16(w, (uint16_t)text.n);
    if (text.n)
        pack_bytes(w, text);
    make_harmless(w->p + w->n - text.n, text.n);
}

static void put_number(struct packer *w, enum tag tag, uint64_t number)
{
    pack_u8(w, (uint8_t)tag);
    pack_u16(w, sizeof number);
    pack_u64(w, number);
}

struct str trace_event_pack(const struct trace_event *event, unsigned char mem[TRACE_EVENT_MAX])
{
    struct packer w;
    pack_init(&w, mem, TRACE_EVENT_MAX);
    pack_u8(&w, FORMAT);
    pack_u8(&w, (uint8_t)event->what);
    pack_u64(&w, event->time);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        uint64_t number;
        memcpy(&number, (const char *)event + numbers[i].offset, sizeof number);
        if (number)
            put_number(&w, numbers[i].tag, number);
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct str text;
        memcpy(&text, (const char *)event + texts[i].offset, sizeof text);
        if (text.n)
            put_text(&w, texts[i].tag, text);
    }
    if (event->sender)
        put_text(&w, TAG_SENDER, *event->sender);
    for (size_t i = 0; i < event->n_to; i++)
        put_text(&w, TAG_TO, event->to[i]);
    return pack_done(&w);
}

/* --- reading ---------------------------------------------------------------------------------- */

static void take_field(struct trace_event *e, unsigned tag, struct str value)
{
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i].tag == tag)
            memcpy((char *)e + texts[i].offset, &value, sizeof value);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        uint64_t number = value.n == sizeof number ? get_u64(value.p) : 0;
        if (numbers[i].tag == tag)
            memcpy((char *)e + numbers[i].offset, &number, sizeof number);
    }
}

static unsigned next_field(struct unpacker *r, struct str *out)
{
    unsigned tag = unpack_u8(r);
    *out = unpack_str16(r);
    return tag;
}

static size_t count(struct unpacker r, enum tag tag)
{
    struct str value;
    size_t n = 0;
    while (r.n && !r.failed)
        n += next_field(&r, &value) == tag;
    return n;
}

enum rc trace_event_unpack(struct str bytes, struct arena *arena, struct trace_event *out)
{
    struct unpacker r;
    struct str value;
    unpack_init(&r, bytes);
    *out = (struct trace_event){0};
    if (unpack_u8(&r) != FORMAT)
        return RC_CORRUPT;
    out->what = (enum trace_what)unpack_u8(&r);
    out->time = unpack_u64(&r);
    struct str *to = arena_alloc(arena, (count(r, TAG_TO) + 1) * sizeof *to);
    struct str *sender = arena_alloc(arena, sizeof *sender);
    if (!to || !sender)
        return RC_LIMIT;
    out->to = to;
    while (r.n && !r.failed) {
        unsigned tag = next_field(&r, &value);
        if (r.failed)
            break;
        if (tag == TAG_TO)
            to[out->n_to++] = value;
        else if (tag == TAG_SENDER)
            *sender = value, out->sender = sender;
        else
            take_field(out, tag, value);
    }
    return unpack_done(&r);
}

/* --- what it is found by ---------------------------------------------------------------------- */

uint64_t trace_event_hash(enum event_key key, struct str text)
{
    /* No secret: who finds texts that meet makes a search read more rows, no more. */
    const uint64_t seed[2] = {UINT64_C(0x7472616365207631), (uint64_t)key};
    char lower[TRACE_TEXT_MAX];
    text = cut(text);
    for (size_t i = 0; i < text.n; i++)
        lower[i] = key == EVENT_BY_ADDRESS ? ascii_lower(text.p[i]) : text.p[i];
    return str_hash(str_from(lower, text.n), seed);
}

bool trace_event_matches(const struct trace_event *event, enum event_key key, struct str text)
{
    text = cut(text);
    if (key == EVENT_BY_ID)
        return str_eq(event->id, text) ||
               (event->what == TRACE_REPORTED && str_eq(event->other, text));
    if (key == EVENT_BY_MESSAGE_ID)
        return str_eq(event->message_id, text);
    bool is_its = event->sender && str_ieq(*event->sender, text);
    for (size_t i = 0; i < event->n_to; i++)
        is_its |= str_ieq(event->to[i], text);
    return is_its;
}

static bool key_of(enum trace_what what, unsigned tag, enum event_key *out)
{
    static const struct {
        enum tag tag;
        enum event_key key;
    } keys[] = {{TAG_ID, EVENT_BY_ID},
                {TAG_MESSAGE_ID, EVENT_BY_MESSAGE_ID},
                {TAG_SENDER, EVENT_BY_ADDRESS},
                {TAG_TO, EVENT_BY_ADDRESS},
                {TAG_OTHER, EVENT_BY_ID}};
    if (tag == TAG_OTHER && what != TRACE_REPORTED)
        return false;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (keys[i].tag == tag) {
            *out = keys[i].key;
            return true;
        }
    }
    return false;
}

size_t trace_event_hashes(struct str bytes, uint64_t out[EVENT_HASHES])
{
    struct unpacker r;
    size_t n = 0;
    unpack_init(&r, bytes);
    unpack_u8(&r);
    enum trace_what what = (enum trace_what)unpack_u8(&r);
    unpack_u64(&r);
    while (r.n && !r.failed && n < EVENT_HASHES) {
        struct str value;
        enum event_key key;
        unsigned tag = next_field(&r, &value);
        if (!r.failed && value.n && key_of(what, tag, &key))
            out[n++] = trace_event_hash(key, value);
    }
    return n;
}
