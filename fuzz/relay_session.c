/* Fuzz target: a whole session with a host that says whatever the input holds. The first byte says
 * how it is cut, the second which kind of host and message it is. Here net is a few functions
 * without sockets, so that a session is a plain call. Aborts when a session does not end, a job
 * does not come back exactly once, a recipient has no outcome or one without a reason, words hold
 * what must not reach a log, or a message counts as taken that was not sent whole. */
#include "base/mem.h"
#include "base/utf8.h"
#include "fuzz/fuzz.h"
#include "relay/session_int.h"

#include <string.h>

enum { RECIPIENTS = 5, STEPS = 200000, PATIENCE_MS = 300000 };

/* --- a connection without a socket */

struct conn {
    const struct net_proto *proto;
    void *arg;
    struct str in;
    struct buf out;
    struct net_error error;
    struct net_addr peer;
    bool is_secure, is_eof, can_block, is_open;
    unsigned dials;
    struct buf said; /* all of it, for the end of the message */
};

static struct conn the_conn;

void *net_arg(struct conn *c)
{
    return c->arg;
}

struct str net_in(struct conn *c)
{
    return c->in;
}

void net_consume(struct conn *c, size_t n)
{
    c->in = str_skip(c->in, n);
}

struct buf *net_out(struct conn *c)
{
    return &c->out;
}

bool net_out_is_full(struct conn *c)
{
    return buf_len(&c->out) > c->proto->output_high;
}

bool net_is_eof(struct conn *c)
{
    return c->is_eof;
}

bool net_can_block(struct conn *c)
{
    return c->can_block;
}

void net_deadline(struct conn *c, uint64_t ms)
{
    FUZZ_DEMAND(ms > 0 && ms <= 2 * PATIENCE_MS);
}

bool net_is_secure(struct conn *c)
{
    return c->is_secure;
}

const struct net_addr *net_peer(struct conn *c)
{
    return &c->peer;
}

struct str net_tls_text(struct conn *c)
{
    return STR("TLSv1.3 NONE");
}

enum net_tls_proof net_tls_proof(struct conn *c)
{
    return NET_PROOF_NONE;
}

enum rc net_tls_expect(struct conn *c, const struct net_tls_want *want)
{
    FUZZ_DEMAND(!c->is_secure);
    return RC_OK;
}

const struct net_error *net_error(struct conn *c)
{
    return &c->error;
}

struct net_handle net_handle(struct conn *c)
{
    return (struct net_handle){0, 1, 1};
}

void net_wake(struct net *net, struct net_handle h, unsigned events)
{
}

enum rc net_dial(struct net *net, const struct net_dial *d)
{
    struct conn *c = &the_conn;
    FUZZ_DEMAND(++c->dials <= 2);
    c->proto = d->proto;
    c->arg = d->arg;
    c->out.cap = d->proto->output_high * 4;
    buf_clear(&c->out);
    c->is_secure = c->is_eof = false;
    c->is_open = true;
    return RC_OK;
}

/* --- the owner, the job */

struct run {
    struct relay_session_owner owner;
    struct relay_job job;
    struct queue_item item;
    struct queue_recipient recipients[RECIPIENTS];
    const struct queue_recipient *pointers[RECIPIENTS];
    struct relay_outcome outcomes[RECIPIENTS];
    struct arena arena;
    unsigned done, gone, ready;
};

static void on_ready(struct relay_session_owner *owner, struct relay_session *s)
{
    struct run *r = CONTAINER(owner, struct run, owner);
    FUZZ_DEMAND(++r->ready == 1 && !r->done);
}

static void on_gone(struct relay_session_owner *owner, struct relay_session *s)
{
    struct run *r = CONTAINER(owner, struct run, owner);
    FUZZ_DEMAND(++r->gone == 1);
}

static void on_done(struct relay_job *job)
{
    struct run *r = CONTAINER(job, struct run, job);
    FUZZ_DEMAND(++r->done == 1 && !job->is_stale);
    for (size_t i = 0; i < job->n; i++) {
        const struct relay_outcome *o = &job->outcomes[i];
        FUZZ_DEMAND(o->rc == RC_OK || o->rc == RC_TEMP || o->rc == RC_PERM);
        FUZZ_DEMAND(o->status[0] == (o->rc == RC_OK ? '2' : o->rc == RC_TEMP ? '4' : '5'));
        FUZZ_DEMAND(o->text.n <= RELAY_TEXT_MAX && utf8_is_valid(o->text));
        for (size_t k = 0; k < o->text.n; k++)
            FUZZ_DEMAND((unsigned char)o->text.p[k] >= ' ' && o->text.p[k] != 0x7f);
        if (o->rc != RC_OK)
            continue;
        FUZZ_DEMAND(o->stage == RELAY_AT_END && o->code / 100 == 2);
        FUZZ_DEMAND(str_find(buf_str(&the_conn.said), STR("last line\r\n")) >= 0);
    }
}

/* --- running it */

static void take_output(struct conn *c)
{
    FUZZ_DEMAND(!c->out.over);
    buf_put(&c->said, buf_str(&c->out));
    buf_clear(&c->out);
}

/* Obeys what the session says until it waits for input; then what is unread is kept. */
static void step(struct conn *c, unsigned events, unsigned *steps)
{
    while (c->is_open) {
        FUZZ_DEMAND(++*steps < STEPS);
        enum net_step next = c->proto->step(c, events);
        c->can_block = next == NET_SHORT;
        events = 0;
        take_output(c);
        if (next == NET_READ && !c->is_eof)
            return;
        if (next == NET_TLS && c->in.n == 0) {
            c->is_secure = true;
            events = NET_EV_TLS;
        } else if (next != NET_MORE && next != NET_SHORT) {
            c->error.failure = next == NET_TLS ? NET_FAILED_TLS : NET_FAILED_NOT;
            c->is_open = false;
            c->proto->close(c); /* which may dial again */
            events = NET_EV_OPEN;
            c->in = STR("");
        }
    }
}

static void talk(struct conn *c, struct str text, size_t cut)
{
    struct buf pending = {.cap = c->proto->input_max + cut};
    unsigned steps = 0;
    step(c, NET_EV_OPEN, &steps);
    for (size_t i = 0; i < text.n && c->is_open; i += cut) {
        buf_put(&pending, str_sub(text, i, cut));
        c->in = buf_str(&pending);
        step(c, NET_EV_INPUT, &steps);
        FUZZ_DEMAND(c->in.n < c->proto->input_max);
        buf_consume(&pending, buf_len(&pending) - c->in.n);
    }
    for (int i = 0; i < 2 && c->is_open; i++) {
        c->is_eof = true;
        step(c, NET_EV_EOF, &steps);
    }
    FUZZ_DEMAND(!c->is_open);
    buf_fini(&pending);
}

static struct kv_blob_id store(struct kv *kv)
{
    const struct kv_part part = {KV_QUEUE, 1};
    struct kv_blob_out *out = kv_blob_new(kv, part, 0, 0);
    struct kv_blob_id id;
    struct kv_txn *txn = kv_txn_new(part);
    FUZZ_DEMAND(kv_blob_write(out, STR("Subject: \xc3\xa4\r\n\r\n.dot\r\nlast line\r\n")) == RC_OK);
    FUZZ_DEMAND(kv_blob_finish(&out, &id) == RC_OK && kv_txn_ref(txn, id) == RC_OK);
    FUZZ_DEMAND(kv_commit_wait(kv, txn, NULL) == RC_OK);
    return id;
}

static void make(struct run *r, unsigned kind, struct kv_blob_id blob)
{
    static const char *const addresses[RECIPIENTS] = {"a@b.test", "c@d.test", "\xc3\xa4@b.test",
                                                      "bad\r\n@b.test", "e@b.test"};
    *r = (struct run){.owner = {on_ready, on_gone}};
    r->item = (struct queue_item){.sender = STR("me@us.test"), .blob = blob, .size = 40};
    r->item.flags = kind & 4 ? QUEUE_8BIT : kind & 8 ? QUEUE_UTF8 : kind & 16 ? QUEUE_BINARY : 0;
    for (size_t i = 0; i < RECIPIENTS; i++) {
        r->recipients[i] = (struct queue_recipient){.address = str_of(addresses[i]),
                                                    .domain = STR("b.test"),
                                                    .wish.notify = SMTP_NOTIFY_FAILURE};
        r->pointers[i] = &r->recipients[i];
    }
    r->job = (struct relay_job){.done = on_done,
                                .item = &r->item,
                                .prefix = STR("X: y\r\n"),
                                .recipients = r->pointers,
                                .outcomes = r->outcomes,
                                .n = kind & 32 ? 1 : RECIPIENTS,
                                .arena = &r->arena};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct kv *kv;
    static struct kv_blob_id blob;
    static struct clock_fixed clock;
    static struct ctx ctx;
    if (size < 2 || size > 16 << 10)
        return 0;
    if (!kv) {
        clock_fixed_init(&clock, 1, 1);
        ctx.clock = &clock.clock;
        kv = kv_mem_new(&ctx);
        blob = store(kv);
    }
    unsigned kind = data[1];
    struct run r;
    struct net_tls_client *any = (void *)&the_conn; /* never looked into */
    struct relay_house house = {.ctx = &ctx, .kv = kv, .tls = any};
    struct relay_settings settings = {.hostname = STR("us.test"), .command_ms = PATIENCE_MS};
    struct relay_target target = {.host = STR("mx.test"), .addr.sa.sin6_family = AF_INET6};
    struct relay_session *s;
    target.protocol = kind & 1 ? RELAY_LMTP : RELAY_SMTP;
    target.tls = kind & 64 ? RELAY_TLS_VERIFY : RELAY_TLS_OPPORTUNISTIC;
    if (kind & 2)
        target.login = target.password = STR("secret");
    make(&r, kind, blob);
    the_conn = (struct conn){.said.cap = 1 << 22};
    FUZZ_DEMAND(relay_session_open(&house, &settings, &target, &r.owner, &s) == RC_OK);
    relay_session_send(s, &r.job);
    relay_session_close(s); /* when it is through */
    talk(&the_conn, str_from(data + 2, size - 2), data[0] % 128 + 1);
    FUZZ_DEMAND(r.done == 1 && r.gone == 1);
    arena_fini(&r.arena);
    buf_fini(&the_conn.out);
    buf_fini(&the_conn.said);
    return 0;
}
