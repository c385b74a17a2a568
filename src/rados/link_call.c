/* A call of the link while it is built: its parts, as copies in its arena. Knows nothing of
 * librados. */
#include "rados/link_int.h"

#include "base/mem.h"

#include <string.h>

struct link_call *link_call_new(struct link *link, enum link_pool pool, const char *object)
{
    struct link_call *call = mem_zero(sizeof *call);
    list_init(&call->link);
    call->to = link;
    call->pool = pool;
    call->object = mem_dup(object, strlen(object));
    atomic_init(&call->refs, 1);
    return call;
}

size_t link_call_bytes(const struct link_call *call)
{
    return call->bytes;
}

static struct part *add(struct link_call *call, enum part_kind kind, struct str key,
                        struct str value)
{
    struct parts *parts = &call->parts[kind];
    parts->part = mem_array(parts->part, &parts->capacity, parts->n + 1, sizeof *parts->part);
    struct part *part = &parts->part[parts->n++];
    *part = (struct part){arena_dup(&call->arena, key), arena_dup(&call->arena, value), 0, 0};
    call->bytes += key.n + value.n;
    return part;
}

void link_guard_row(struct link_call *call, struct str key, struct str value)
{
    add(call, PART_GUARD_ROW, key, value);
}

void link_guard_row_below(struct link_call *call, struct str key, struct str value)
{
    add(call, PART_GUARD_ROW_BELOW, key, value);
}

void link_guard_attr(struct link_call *call, const char *name, struct str value)
{
    add(call, PART_GUARD_ATTR, str_of(name), value);
}

void link_write_create(struct link_call *call)
{
    add(call, PART_CREATE, (struct str){0}, (struct str){0});
}

void link_write_assert_exists(struct link_call *call)
{
    add(call, PART_ASSERT_EXISTS, (struct str){0}, (struct str){0});
}

void link_write_range_remove(struct link_call *call, struct str from, struct str to)
{
    add(call, PART_RANGE_REMOVE, from, to);
}

void link_write_row_remove(struct link_call *call, struct str key)
{
    add(call, PART_ROW_REMOVE, key, (struct str){0});
}

void link_write_row(struct link_call *call, struct str key, struct str value)
{
    add(call, PART_ROW, key, value);
}

void link_write_attr_remove(struct link_call *call, const char *name)
{
    add(call, PART_ATTR_REMOVE, str_of(name), (struct str){0});
}

void link_write_attr(struct link_call *call, const char *name, struct str value)
{
    add(call, PART_ATTR, str_of(name), value);
}

void link_write_bytes(struct link_call *call, struct str bytes)
{
    add(call, PART_BYTES, (struct str){0}, bytes);
}

void link_write_piece(struct link_call *call, uint64_t offset, struct str bytes)
{
    add(call, PART_PIECE, (struct str){0}, bytes)->at = offset;
}

void link_write_remove(struct link_call *call)
{
    add(call, PART_REMOVE, (struct str){0}, (struct str){0});
}

void link_read_rows(struct link_call *call, struct str after, uint64_t max)
{
    add(call, PART_READ_ROWS, after, (struct str){0})->n = max;
}

void link_read_row(struct link_call *call, struct str key)
{
    add(call, PART_READ_ROW, key, (struct str){0});
}

void link_read_attrs(struct link_call *call)
{
    add(call, PART_READ_ATTRS, (struct str){0}, (struct str){0});
}

void link_read_bytes(struct link_call *call, uint64_t offset, size_t n)
{
    struct part *part = add(call, PART_READ_BYTES, (struct str){0}, (struct str){0});
    part->at = offset;
    part->n = n;
    call->bytes += n;
}
