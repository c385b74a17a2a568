/* What a header says of threads: its own id and those it answers [RFC5322 3.6.4]. Of each field the
 * first one counts. However many ids there are, memory is
 * taken for a bounded number of them. */
#include "mime/mime_int.h"

enum { ID_MAX = 998, WANTED_IDS = 1000 };

bool mime_thread_take(struct mime_thread *t, const struct mime_field *field)
{
    struct str *to = NULL;
    if (str_ieq(field->name, STR("Message-ID")))
        to = &t->message_id;
    else if (str_ieq(field->name, STR("In-Reply-To")))
        to = &t->in_reply_to;
    else if (str_ieq(field->name, STR("References")))
        to = &t->references;
    if (to && to->n == 0)
        *to = field->value;
    return to;
}

struct str mime_thread_id(const struct mime_thread *t, struct arena *arena)
{
    struct str first = {0}, value = t->message_id;
    struct buf id;
    buf_init(&id, ID_MAX);
    if (mime_msgid_next(&value, &id))
        first = arena_dup(arena, buf_str(&id));
    buf_fini(&id);
    return first;
}

/* The last MIME_THREAD_IDS that were seen, in their order. */
struct recent_ids {
    struct str ids[MIME_THREAD_IDS];
    size_t count; /* of all that were seen */
};

/* Adds the ids of a field; the arena gets WANTED_IDS of them at most, over all fields. */
static void read_ids(struct str value, struct arena *arena, struct recent_ids *recent)
{
    struct buf id;
    buf_init(&id, ID_MAX);
    while (recent->count < WANTED_IDS && mime_msgid_next(&value, &id)) {
        struct str last =
            recent->count ? recent->ids[(recent->count - 1) % MIME_THREAD_IDS] : STR("");
        if (!str_eq(last,
                    buf_str(&id))) /* In-Reply-To repeats the last of References [RFC5322 3.6.4] */
            recent->ids[recent->count++ % MIME_THREAD_IDS] = arena_dup(arena, buf_str(&id));
    }
    buf_fini(&id);
}

size_t mime_thread_references(const struct mime_thread *t, struct arena *arena,
                              struct str out[MIME_THREAD_IDS])
{
    struct recent_ids recent = {0};
    read_ids(t->references, arena, &recent);
    read_ids(t->in_reply_to, arena, &recent);
    size_t n = recent.count < MIME_THREAD_IDS ? recent.count : MIME_THREAD_IDS;
    for (size_t i = 0; i < n; i++)
        out[i] = recent.ids[(recent.count - n + i) % MIME_THREAD_IDS];
    return n;
}
