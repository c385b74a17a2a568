/* What every tree must be, for the unit tests and the fuzz target. Not part of the library. */
#ifndef MIME_TEST_TREE_H
#define MIME_TEST_TREE_H

#include "mime/mime.h"

static inline bool slice_is_same(struct mime_slice a, struct mime_slice b)
{
    return a.begin == b.begin && a.n == b.n;
}

static inline bool part_is_same(const struct mime_part *a, const struct mime_part *b)
{
    return a->header_begin == b->header_begin && a->body_begin == b->body_begin &&
           a->body_end == b->body_end && a->header_lines == b->header_lines &&
           a->body_lines == b->body_lines && a->parent == b->parent &&
           a->first_child == b->first_child && a->next == b->next && a->n_fields == b->n_fields &&
           a->depth == b->depth && a->kind == b->kind && a->is_opaque == b->is_opaque &&
           slice_is_same(a->type, b->type) && slice_is_same(a->subtype, b->subtype) &&
           slice_is_same(a->boundary, b->boundary) && slice_is_same(a->encoding, b->encoding);
}

static inline bool tree_is_same(const struct mime_tree *a, const struct mime_tree *b)
{
    if (a->n_parts != b->n_parts || a->flags != b->flags || a->n_received != b->n_received ||
        a->size != b->size || a->lines != b->lines || a->bare_lf != b->bare_lf)
        return false;
    for (uint32_t i = 0; i < a->n_parts; i++)
        if (!part_is_same(&a->parts[i], &b->parts[i]))
            return false;
    return true;
}

/* The tree of the message fed in pieces of n bytes, the first of them `first` bytes long. */
static inline void parse_cut(struct str m, const struct mime_limits *limits, size_t first, size_t n,
                             struct mime_tree *out)
{
    struct mime_parser p;
    mime_init(&p, limits);
    mime_feed(&p, str_head(m, first));
    for (m = str_skip(m, first); m.n; m = str_skip(m, n))
        mime_feed(&p, str_head(m, n));
    mime_finish(&p, out);
    mime_fini(&p);
}

static inline uint64_t count_lines(struct str m, uint64_t from, uint64_t to)
{
    uint64_t n = 0;
    for (uint64_t i = from; i < to; i++)
        n += m.p[i] == '\n';
    return n;
}

static inline bool slice_is_in_header(const struct mime_part *p, struct mime_slice s)
{
    return s.n == 0 || (s.begin >= p->header_begin && s.begin + s.n <= p->body_begin);
}

/* The rule that the part, taken alone, breaks; NULL: none. */
static inline const char *part_fault(const struct mime_part *p, struct str m,
                                     const struct mime_limits *limits)
{
    if (p->header_begin > p->body_begin || p->body_begin > p->body_end || p->body_end > m.n)
        return "offsets are in order and within the message";
    if (p->depth > limits->depth || p->n_fields > limits->header_fields ||
        p->body_begin - p->header_begin > limits->header_size)
        return "limits are obeyed";
    if (!slice_is_in_header(p, p->type) || !slice_is_in_header(p, p->subtype) ||
        !slice_is_in_header(p, p->boundary) || !slice_is_in_header(p, p->encoding))
        return "slices lie in the header";
    if (p->header_lines != count_lines(m, p->header_begin, p->body_begin) ||
        p->body_lines != count_lines(m, p->body_begin, p->body_end))
        return "lines are counted right";
    struct str rest = str_sub(m, p->header_begin, p->body_begin - p->header_begin);
    struct mime_field field;
    uint32_t n = 0;
    while (mime_header_next(&rest, &field))
        n++;
    if (n != p->n_fields)
        return "the fields are those that mime_header_next gives";
    return NULL;
}

/* The rule that the part breaks with its children. */
static inline const char *family_fault(const struct mime_tree *t, uint32_t i)
{
    const struct mime_part *p = &t->parts[i];
    uint64_t at = p->body_begin;
    uint32_t n = 0;
    for (uint32_t c = p->first_child; c != MIME_NONE; c = t->parts[c].next, n++) {
        const struct mime_part *child = &t->parts[c];
        if (c <= i || c >= t->n_parts || child->next <= c)
            return "children come in order, behind their parent";
        if (child->parent != i || child->depth != p->depth + 1)
            return "children know their parent";
        if (child->header_begin < at || child->body_end > p->body_end)
            return "children lie in their parent, one behind the other";
        at = child->body_end;
    }
    if (p->kind == MIME_LEAF ? n != 0 : p->is_opaque)
        return "only leaves are opaque, and have no children";
    if (p->kind == MIME_MESSAGE &&
        (n != 1 || t->parts[p->first_child].header_begin != p->body_begin))
        return "a message has one part, its body";
    return NULL;
}

static inline const char *tree_fault(const struct mime_tree *t, struct str m,
                                     const struct mime_limits *limits)
{
    if (t->n_parts < 1 || t->n_parts > limits->parts)
        return "the number of parts is limited";
    if (t->size != m.n || t->lines != count_lines(m, 0, m.n) || t->bare_lf > t->lines)
        return "the message is counted right";
    if (t->parts[0].header_begin != 0 || t->parts[0].body_end != m.n ||
        t->parts[0].parent != MIME_NONE)
        return "the first part is the message";
    uint32_t n_children = 0;
    for (uint32_t i = 0; i < t->n_parts; i++) {
        const char *fault = part_fault(&t->parts[i], m, limits);
        if (!fault)
            fault = family_fault(t, i);
        if (fault)
            return fault;
        n_children += t->parts[i].first_child != MIME_NONE;
        n_children += t->parts[i].next != MIME_NONE;
    }
    return n_children == t->n_parts - 1 ? NULL : "every part is somebody's child";
}

#endif
