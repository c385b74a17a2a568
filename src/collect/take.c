/* One message on its way from elsewhere into the mailbox: a Received field in front, the bytes into
 * a blob, then one commit of message and note.
 *
 * Return-Path is what the other side's last host has written, or nothing: this is no delivery by
 * SMTP (docs/decisions/0209). A message that bears a Received field of this same collection has
 * gone round (the mailbox here is forwarded there), as one with too many of them has; it is left
 * where it is, and that is noted. */
#include "collect/collect_int.h"

#include "base/bytes.h"
#include "base/random.h"
#include "mime/summary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_MAX = 256 << 10 };

struct carrier {
    struct job *job;
    struct kv_blob_out *out;
    struct kv_blob_id blob;
    bool has_blob;
    struct mime_parser parser;
    bool is_parsing;
    struct buf head; /* the header, with what is before it */
    bool is_head_whole;
    size_t n_trace; /* bytes of our own at its beginning */
    uint64_t size;
    char end[2];
    struct crypto_sha256_state digest; /* IMAP: of the message and its folder */
    char id[40];
    struct deliver_op op;
    struct arena arena;
};

static void carrier_free(struct carrier **carrier)
{
    struct carrier *m = *carrier;
    *carrier = NULL;
    if (!m)
        return;
    if (m->is_parsing)
        mime_fini(&m->parser);
    if (m->out)
        kv_blob_abort(&m->out);
    if (m->has_blob)
        kv_blob_forget(m->job->collect->conf.kv, m->blob);
    buf_fini(&m->head);
    arena_fini(&m->arena);
    free(m);
}

/* --- notes ------------------------------------------------------------------------------------ */

struct str collect_note_pack(const struct uidl_note *note, unsigned char out[NOTE_UIDL])
{
    struct packer w;
    pack_init(&w, out, NOTE_UIDL);
    pack_u8(&w, 1);
    pack_u8(&w, note->what);
    pack_u64(&w, note->time);
    pack_u64(&w, note->missing);
    return pack_done(&w);
}

enum rc collect_note_read(struct str value, struct uidl_note *out)
{
    struct unpacker r;
    unpack_init(&r, value);
    uint8_t format = unpack_u8(&r);
    out->what = unpack_u8(&r);
    out->time = unpack_u64(&r);
    out->missing = unpack_u64(&r);
    return format == 1 ? unpack_done(&r) : RC_CORRUPT;
}

struct waiting {
    struct store_op op;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_done;
};

static void noted(struct store_op *op)
{
    struct waiting *w = CONTAINER(op, struct waiting, op);
    pthread_mutex_lock(&w->mutex);
    w->is_done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

enum rc collect_notes_put(struct job *job, const struct store_note *notes, size_t n)
{
    struct waiting w = {
        .op.done = noted, .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    TRY(store_notes_put(job->account, notes, n, 0, &w.op));
    pthread_mutex_lock(&w.mutex);
    while (!w.is_done)
        pthread_cond_wait(&w.cond, &w.mutex);
    pthread_mutex_unlock(&w.mutex);
    return w.op.rc;
}

/* --- a message comes -------------------------------------------------------------------------- */

static void put_trace(struct carrier *m)
{
    struct job *job = m->job;
    char date[CLOCK_TEXT];
    clock_rfc5322(date, clock_wall(job->collect->ctx->clock));
    buf_putf(&m->head, "Received: from %.*s by %.*s\r\n\twith %s id %s.%s\r\n\tfor <%.*s>; %s\r\n",
             STR_ARG(job->remote.host), STR_ARG(job->collect->conf.hostname),
             job->remote.protocol == FETCH_POP3 ? "POP3" : "IMAP", job->token, m->id,
             STR_ARG(job->remote.owner), date);
    m->n_trace = buf_len(&m->head);
}

enum rc collect_take_begin(struct job *job, const struct fetch_item *item)
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuv";
    struct carrier *m = mem_zero(sizeof *m);
    struct kv_part part = {KV_ACCOUNT, job->remote.account};
    unsigned char random[12];
    m->job = job;
    random_bytes(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        m->id[i] = digits[random[i] & 31];
    buf_init(&m->head, HEAD_MAX);
    put_trace(m);
    m->out = kv_blob_new(job->collect->conf.kv, part, 0, 0);
    mime_init(&m->parser, NULL);
    mime_keep(&m->parser);
    m->is_parsing = true;
    crypto_sha256_init(&m->digest);
    job->carrier = m;
    mime_feed(&m->parser, buf_str(&m->head));
    return kv_blob_write(m->out, buf_str(&m->head));
}

/* Keeps the header, with the empty line that ends it. */
static void keep_head(struct carrier *m, struct str piece)
{
    if (m->is_head_whole)
        return;
    size_t before = buf_len(&m->head), from = before > 3 ? before - 3 : 0;
    buf_put(&m->head, str_head(piece, HEAD_MAX - before));
    ptrdiff_t end = str_find(str_skip(buf_str(&m->head), from), STR("\r\n\r\n"));
    if (end >= 0)
        buf_truncate(&m->head, from + (size_t)end + 4);
    m->is_head_whole = end >= 0 || buf_len(&m->head) == HEAD_MAX;
}

enum rc collect_take_bytes(struct job *job, struct str bytes)
{
    struct carrier *m = job->carrier;
    if (!bytes.n)
        return RC_OK;
    keep_head(m, bytes);
    mime_feed(&m->parser, bytes);
    if (job->remote.protocol == FETCH_IMAP)
        crypto_sha256_add(&m->digest, bytes);
    m->end[0] = bytes.n > 1 ? bytes.p[bytes.n - 2] : m->end[1];
    m->end[1] = bytes.p[bytes.n - 1];
    return kv_blob_write(m->out, bytes);
}

void collect_take_drop(struct job *job)
{
    carrier_free(&job->carrier);
}

/* --- loops ------------------------------------------------------------------------------------ */

static bool is_loop(const struct carrier *m)
{
    struct str rest = str_skip(buf_str(&m->head), m->n_trace);
    struct mime_field field;
    unsigned hops = 0;
    char mark[24];
    snprintf(mark, sizeof mark, "id %s.", m->job->token);
    while (mime_header_next(&rest, &field)) {
        if (!str_ieq(field.name, STR("Received")))
            continue;
        hops++;
        if (str_find(field.value, str_of(mark)) >= 0)
            return true;
    }
    return hops > HOPS_MAX;
}

bool collect_take_was_refused(const struct job *job, uint32_t number)
{
    for (size_t i = 0; i < job->n_refused; i++)
        if (job->refused[i] == number)
            return true;
    return false;
}

/* --- it is whole ------------------------------------------------------------------------------ */

/* On a thread of the store. The last touch of the job is under its lock, or it has the last word.
 */
static void delivered(struct deliver_op *op)
{
    struct carrier *m = CONTAINER(op, struct carrier, op);
    struct job *job = m->job;
    enum rc rc = op->rc;
    uint64_t size = m->size;
    struct fetch_session *wakes = NULL;
    carrier_free(&m);
    pthread_mutex_lock(&job->mutex);
    job->under_way--;
    job->under_way_bytes -= size;
    job->n_taken += rc == RC_OK;
    if (rc != RC_OK && rc != RC_EXISTS && job->rc == RC_OK) /* RC_EXISTS: it is in already */
        job->rc = rc;
    bool has_room = job->under_way <= UNDER_WAY / 2 && job->under_way_bytes <= UNDER_WAY_BYTES / 2;
    if (job->is_waiting && (job->is_flushing ? job->under_way == 0 : has_room)) {
        job->is_waiting = false;
        wakes = job->session;
    }
    bool is_last = job->is_over && job->under_way == 0;
    if (wakes)
        fetch_resume(wakes); /* within the lock: the session may end right behind it */
    pthread_mutex_unlock(&job->mutex);
    if (is_last)
        (void)task_lane_post(job->collect->lane, &job->finish);
}

static struct str summary_of(struct carrier *m)
{
    struct mime_tree tree;
    struct buf text = {.cap = STORE_SUMMARY_MAX};
    struct str summary = {0};
    mime_finish(&m->parser, &tree);
    if (mime_summary(&tree, &text) == RC_OK)
        summary = arena_dup(&m->arena, buf_str(&text));
    mime_tree_fini(&tree);
    buf_fini(&text);
    mime_fini(&m->parser);
    m->is_parsing = false;
    return summary;
}

static void read_thread(struct carrier *m, struct deliver_message *out)
{
    struct mime_thread thread = {0};
    struct mime_field field;
    struct str rest = buf_str(&m->head);
    while (mime_header_next(&rest, &field))
        mime_thread_take(&thread, &field);
    struct str *references = arena_alloc(&m->arena, MIME_THREAD_IDS * sizeof *references);
    out->message_id = mime_thread_id(&thread, &m->arena);
    out->references = references;
    out->n_references = mime_thread_references(&thread, &m->arena, references);
}

static enum rc refuse(struct job *job, const struct fetch_item *item, const struct store_note *note)
{
    struct log_line l;
    log_begin(&l, job->collect->ctx->log, LOG_WARNING, "collect-loop");
    log_u64(&l, "collection", job->remote.id);
    log_str(&l, "owner", job->remote.owner);
    log_str(&l, "host", job->remote.host);
    log_str(&l, "uidl", item->uidl);
    log_end(&l);
    job->refused =
        mem_array(job->refused, &job->size_refused, job->n_refused + 1, sizeof *job->refused);
    job->refused[job->n_refused++] = item->number;
    job->n_left++;
    collect_take_drop(job);
    return collect_notes_put(job, note, 1);
}

/* notes: the message's own, and with IMAP that of its bytes. */
static enum rc hand_over(struct carrier *m, const struct fetch_item *item,
                         const struct store_note *notes, size_t n_notes)
{
    struct job *job = m->job;
    struct queue_recipient to = {.account = job->remote.account, .address = job->remote.owner};
    struct deliver_message message = {
        .received = item->date ? item->date : clock_wall(job->collect->ctx->clock),
        .id = str_of(m->id),
        .recipients = &to,
        .n_recipients = 1,
        .origin = job->remote.host,
        .mailbox = job->mailbox,
        .mailbox_flags = item->flags & (FETCH_SEEN | FETCH_ANSWERED | FETCH_FLAGGED),
        .notes = notes,
        .n_notes = n_notes,
        .flags = memcmp(m->end, "\r\n", 2) != 0 ? QUEUE_UNENDED : 0};
    read_thread(m, &message);
    message.summary = summary_of(m);
    message.size = m->size = kv_blob_size(m->out);
    TRY(kv_blob_finish(&m->out, &m->blob));
    m->has_blob = true;
    message.blob = m->blob;
    m->op.done = delivered;
    pthread_mutex_lock(&job->mutex);
    job->under_way++;
    job->under_way_bytes += m->size;
    pthread_mutex_unlock(&job->mutex);
    enum rc rc = deliver_message(job->collect->conf.deliver, &message, 0, &m->op);
    if (rc == RC_OK) {
        job->carrier = NULL; /* delivered()'s, and perhaps gone */
        return RC_OK;
    }
    pthread_mutex_lock(&job->mutex);
    job->under_way--;
    job->under_way_bytes -= m->size;
    pthread_mutex_unlock(&job->mutex);
    collect_take_drop(job);
    if (rc != RC_EXISTS)
        return rc;
    struct store_note known = notes[0]; /* under another UID, or by somebody else just now */
    known.is_checked = false;
    return collect_notes_put(job, &known, 1);
}

/* No more than may be under way at once. */
static enum rc pause(struct job *job)
{
    pthread_mutex_lock(&job->mutex);
    enum rc rc = job->rc;
    if (rc == RC_OK && (job->under_way >= UNDER_WAY || job->under_way_bytes >= UNDER_WAY_BYTES)) {
        job->is_waiting = true;
        job->is_flushing = false;
        rc = RC_AGAIN;
    }
    pthread_mutex_unlock(&job->mutex);
    return rc;
}

enum rc collect_take_end(struct job *job, const struct fetch_item *item)
{
    struct carrier *m = job->carrier;
    unsigned char key[REMOTE_NOTE_KEY], value[NOTE_UIDL], digest[CRYPTO_SHA256];
    unsigned char digest_key[REMOTE_NOTE_KEY];
    char mem[FOLDERS_UIDL];
    bool is_imap = job->remote.protocol == FETCH_IMAP, is_refused = is_loop(m);
    const struct uidl_note in = {.what = is_refused ? NOTE_REFUSED : NOTE_IN,
                                 .time = collect_now(job->collect)};
    struct store_note notes[2] = {
        {.key = remote_note_key(job->remote.id, 'u', collect_folders_uidl(job, item, mem), key),
         .value = collect_note_pack(&in, value),
         .is_checked = true}};
    if (is_imap) {
        crypto_sha256_add(&m->digest, str_of(job->folder.name));
        crypto_sha256_end(&m->digest, digest);
        notes[1] =
            (struct store_note){.key = remote_note_key(job->remote.id, 'd',
                                                       str_from(digest, sizeof digest), digest_key),
                                .value = STR("\1"),
                                .is_checked = job->folder.is_anew};
    }
    TRY(is_refused ? refuse(job, item, notes) : hand_over(m, item, notes, is_imap ? 2 : 1));
    return pause(job);
}
