/* The tree: what it is ended with, and how its slices become bytes. */
#include "mime/mime.h"

#include <stdlib.h>

void mime_tree_fini(struct mime_tree *t)
{
    free(t->parts);
    buf_fini(&t->kept);
    *t = (struct mime_tree){0};
}

struct str mime_view(struct str bytes, uint64_t at, struct mime_slice s)
{
    if (s.begin < at || s.begin - at > bytes.n || s.n > bytes.n - (s.begin - at))
        return (struct str){0};
    return str_sub(bytes, s.begin - at, s.n);
}

void mime_parse(struct str message, const struct mime_limits *limits, struct mime_tree *out)
{
    struct mime_parser p;
    mime_init(&p, limits);
    mime_feed(&p, message);
    mime_finish(&p, out);
    mime_fini(&p);
}
