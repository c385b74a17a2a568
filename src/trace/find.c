/* Finding stories: first the latest events that a text stands in, newest file first, which name the
 * messages; then all events of each of these.
 *
 * What is read is bounded by the number of messages that are wanted, and by CANDIDATES places in a
 * file. A damaged or missing block hides the events that it held and no others. */
#include "trace/trace_int.h"

#include "base/mem.h"

#include <stdlib.h>

enum { CANDIDATES = 20000, SCRATCH = 8 << 20, KEYS = 3 };

struct story {
    struct str id; /* in the result's arena */
    struct trace_event *events;
    size_t n, capacity;
    size_t first_file; /* where its first event may be */
    uint32_t first_block;
    bool has_begin;
};

struct search {
    struct kv *kv;
    const struct trace_query *query;
    struct str text;
    enum event_key keys[KEYS];
    size_t n_keys;
    struct file *files;
    size_t n_files;
    struct story *stories;
    size_t n, capacity, max;
    bool has_more;
    struct arena *arena;  /* the result's */
    struct arena scratch; /* of blocks and places */
    struct block_cache cache;
};

/* "<...>" is a Message-ID; anything else may be one too, or an address, or an id. */
static void read_query(struct search *s)
{
    struct str what = str_trim(s->query->what);
    bool is_bracketed = what.n > 2 && what.p[0] == '<' && what.p[what.n - 1] == '>';
    s->text = is_bracketed ? str_sub(what, 1, what.n - 2) : what;
    s->keys[s->n_keys++] = EVENT_BY_MESSAGE_ID;
    if (is_bracketed)
        return;
    s->keys[s->n_keys++] = str_find_byte(what, '@') >= 0 ? EVENT_BY_ADDRESS : EVENT_BY_ID;
}

/* RC_NOTFOUND: it is not there, or is not an event. */
static enum rc load(struct search *s, const struct file *file, struct place at,
                    struct trace_event *out)
{
    struct str bytes;
    if (s->scratch.used > SCRATCH) {
        arena_fini(&s->scratch);
        s->cache = (struct block_cache){0};
    }
    enum rc rc =
        trace_index_event(s->kv, trace_file_part(file), at, &s->cache, &s->scratch, &bytes);
    if (rc == RC_NOTFOUND || rc == RC_CORRUPT)
        return RC_NOTFOUND;
    TRY(rc);
    struct str copy = arena_dup(s->arena, bytes);
    if (str_is_null(copy))
        return RC_LIMIT;
    rc = trace_event_unpack(copy, s->arena, out);
    return rc == RC_CORRUPT ? RC_NOTFOUND : rc;
}

/* --- which messages --------------------------------------------------------------------------- */

static struct story *find_story(struct search *s, struct str id)
{
    for (size_t i = 0; id.n && i < s->n; i++)
        if (str_eq(s->stories[i].id, id))
            return &s->stories[i];
    return NULL;
}

static void add_event(struct story *story, const struct trace_event *event)
{
    if (story->n == TRACE_STORY_EVENTS)
        return;
    story->events = mem_array(story->events, &story->capacity, story->n + 1, sizeof *story->events);
    story->events[story->n++] = *event;
}

static void note(struct search *s, size_t file, struct place at, const struct trace_event *event)
{
    bool is_begin = event->what == TRACE_ACCEPTED || event->what == TRACE_REFUSED;
    struct story *story = find_story(s, event->id);
    if (!story && s->n == s->max) {
        s->has_more = true;
        return;
    }
    if (!story) {
        s->stories = mem_array(s->stories, &s->capacity, s->n + 1, sizeof *s->stories);
        story = &s->stories[s->n++];
        *story = (struct story){.id = event->id};
    }
    if (!event->id.n)
        add_event(story, event); /* it is all that there is of it */
    if (is_begin) {
        bool is_earlier = story->first_file > file || !story->has_begin ||
                          (story->first_file == file && story->first_block > at.block);
        story->has_begin = true;
        story->first_block = is_earlier ? at.block : story->first_block;
        story->first_file = is_earlier ? file : story->first_file;
    }
}

static enum rc look_for(struct search *s, size_t file, enum event_key key)
{
    const struct file *f = &s->files[file];
    struct arena arena = {0};
    struct place *places;
    size_t n;
    const struct wanted wanted = {.hash = trace_event_hash(key, s->text), .max = CANDIDATES};
    enum rc rc = trace_index_find(s->kv, trace_file_part(f), &wanted, &arena, &places, &n);
    while (rc == RC_OK && n-- > 0 && !s->has_more) {
        struct trace_event event;
        rc = load(s, f, places[n], &event);
        if (rc == RC_OK && event.time >= s->query->since &&
            trace_event_matches(&event, key, s->text))
            note(s, file, places[n], &event);
        rc = rc == RC_NOTFOUND ? RC_OK : rc;
    }
    arena_fini(&arena);
    return rc;
}

static enum rc look_everywhere(struct search *s)
{
    for (size_t i = s->n_files; i-- > 0 && !s->has_more;) {
        uint64_t end = i + 1 < s->n_files ? s->files[i + 1].start : UINT32_MAX;
        if ((end + 1) * NS_PER_SEC < s->query->since &&
            s->files[i].writer == s->files[i + 1].writer)
            continue;
        for (size_t k = 0; k < s->n_keys; k++)
            TRY(look_for(s, i, s->keys[k]));
    }
    return RC_OK;
}

/* --- all that is known of them ---------------------------------------------------------------- */

static enum rc gather_from(struct search *s, struct story *story, const struct file *file,
                           uint32_t from)
{
    struct arena arena = {0};
    struct place *places;
    size_t n;
    const struct wanted wanted = {
        .hash = trace_event_hash(EVENT_BY_ID, story->id), .from = from, .max = TRACE_STORY_EVENTS};
    enum rc rc = trace_index_find(s->kv, trace_file_part(file), &wanted, &arena, &places, &n);
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        struct trace_event event;
        rc = load(s, file, places[i], &event);
        if (rc == RC_OK && trace_event_matches(&event, EVENT_BY_ID, story->id))
            add_event(story, &event);
        rc = rc == RC_NOTFOUND ? RC_OK : rc;
    }
    arena_fini(&arena);
    return rc;
}

static int by_time(const void *a, const void *b)
{
    const struct trace_event *x = a, *y = b;
    if (x->time != y->time)
        return x->time < y->time ? -1 : 1;
    return (int)x->what - (int)y->what; /* accepted before it is delivered */
}

static enum rc gather(struct search *s, struct story *story)
{
    for (size_t i = story->first_file; story->id.n && i < s->n_files; i++)
        TRY(gather_from(s, story, &s->files[i], i == story->first_file ? story->first_block : 0));
    if (story->n)
        qsort(story->events, story->n, sizeof *story->events, by_time);
    return RC_OK;
}

static int by_begin(const void *a, const void *b)
{
    const struct trace_story *x = a, *y = b;
    uint64_t at_x = x->n ? x->events[0].time : 0, at_y = y->n ? y->events[0].time : 0;
    return at_x < at_y ? -1 : at_x > at_y;
}

static enum rc hand_out(struct search *s, struct trace_found *out)
{
    out->stories = arena_alloc(s->arena, s->n * sizeof *out->stories + 1);
    if (!out->stories)
        return RC_LIMIT;
    for (size_t i = 0; i < s->n; i++) {
        const struct story *from = &s->stories[i];
        struct trace_event *events = arena_alloc(s->arena, from->n * sizeof *events + 1);
        if (!events)
            return RC_LIMIT;
        for (size_t k = 0; k < from->n; k++)
            events[k] = from->events[k];
        out->stories[out->n++] = (struct trace_story){from->id, events, from->n};
    }
    if (out->n)
        qsort(out->stories, out->n, sizeof *out->stories, by_begin);
    out->has_more = s->has_more;
    return RC_OK;
}

enum rc find_stories(struct kv *kv, const struct trace_query *query, struct arena *arena,
                     struct trace_found *out)
{
    struct search s = {.kv = kv, .query = query, .arena = arena};
    *out = (struct trace_found){0};
    s.max = query->max_messages && query->max_messages < TRACE_MESSAGES ? query->max_messages
                                                                        : TRACE_MESSAGES;
    read_query(&s);
    enum rc rc = trace_files_list(kv, FILES_OF_MAIL, &s.files, &s.n_files);
    if (rc == RC_OK)
        rc = look_everywhere(&s);
    for (size_t i = 0; rc == RC_OK && i < s.n; i++)
        rc = gather(&s, &s.stories[i]);
    if (rc == RC_OK)
        rc = hand_out(&s, out);
    for (size_t i = 0; i < s.n; i++)
        free(s.stories[i].events);
    free(s.stories);
    free(s.files);
    arena_fini(&s.scratch);
    return rc;
}

/* --- logins ----------------------------------------------------------------------------------- */

static enum rc logins_in(struct search *s, const struct file *f, struct story *story)
{
    struct arena arena = {0};
    struct place *places;
    size_t n;
    const struct wanted wanted = {.hash = trace_event_hash(EVENT_BY_ADDRESS, s->text),
                                  .max = s->max};
    enum rc rc = trace_index_find(s->kv, trace_file_part(f), &wanted, &arena, &places, &n);
    while (rc == RC_OK && n-- > 0 && story->n < s->max) {
        struct trace_event event;
        rc = load(s, f, places[n], &event);
        if (rc == RC_OK && event.time >= s->query->since &&
            trace_event_matches(&event, EVENT_BY_ADDRESS, s->text))
            add_event(story, &event);
        rc = rc == RC_NOTFOUND ? RC_OK : rc;
    }
    arena_fini(&arena);
    return rc;
}

static enum rc add_story(struct search *s, const struct story *story, struct trace_found *out)
{
    struct trace_story *all = arena_alloc(s->arena, (out->n + 1) * sizeof *all);
    struct trace_event *events = arena_alloc(s->arena, story->n * sizeof *events);
    if (!all || !events)
        return RC_LIMIT;
    for (size_t i = 0; i < out->n; i++)
        all[i] = out->stories[i];
    for (size_t i = 0; i < story->n; i++)
        events[i] = story->events[i];
    qsort(events, story->n, sizeof *events, by_time);
    all[out->n++] = (struct trace_story){story->id, events, story->n};
    out->stories = all;
    return RC_OK;
}

/* The latest ones, as many as stories of messages are wanted; newest file first. */
enum rc find_logins(struct kv *kv, const struct trace_query *query, struct arena *arena,
                    struct trace_found *out)
{
    struct search s = {.kv = kv, .query = query, .arena = arena};
    struct story story = {.id = STR(TRACE_LOGINS)};
    s.max = query->max_messages && query->max_messages < TRACE_MESSAGES ? query->max_messages
                                                                        : TRACE_MESSAGES;
    read_query(&s);
    if (s.keys[s.n_keys - 1] != EVENT_BY_ADDRESS)
        return RC_OK;
    enum rc rc = trace_files_list(kv, FILES_OF_LOGINS, &s.files, &s.n_files);
    for (size_t i = s.n_files; rc == RC_OK && i-- > 0 && story.n < s.max;)
        rc = logins_in(&s, &s.files[i], &story);
    if (rc == RC_OK && story.n)
        rc = add_story(&s, &story, out);
    free(story.events);
    free(s.files);
    arena_fini(&s.scratch);
    return rc;
}
