/* Reads a delivery status notification of anybody's: the fields of its message/delivery-status or
 * message/global-delivery-status part [RFC3464 2] [RFC6533 4.1]. What is not understood is passed
 * over, as other programs' reports are not always what the RFC says. */
#include "deliver/report.h"

#include "mime/decode.h"
#include "mime/mime.h"

static bool is_type(struct str message, const struct mime_part *part, const char *subtype)
{
    return str_ieq(mime_view(message, 0, part->type), STR("message")) &&
           str_ieq(mime_view(message, 0, part->subtype), str_of(subtype));
}

/* The part with the fields, of a report of deliveries; MIME_NONE: there is none. */
static uint32_t find_part(struct str message, const struct mime_tree *tree)
{
    const struct mime_part *top = &tree->parts[0];
    bool is_report = str_ieq(mime_view(message, 0, top->type), STR("multipart")) &&
                     str_ieq(mime_view(message, 0, top->subtype), STR("report"));
    uint32_t part = is_report ? top->first_child : MIME_NONE;
    for (; part != MIME_NONE; part = tree->parts[part].next)
        if (is_type(message, &tree->parts[part], "delivery-status") ||
            is_type(message, &tree->parts[part], "global-delivery-status"))
            break;
    return part;
}

/* Its body without the transfer encoding, in the arena. */
static enum rc decode_part(struct str message, const struct mime_part *part, struct arena *arena,
                           struct str *out)
{
    struct str body = str_sub(message, part->body_begin, part->body_end - part->body_begin);
    enum mime_encoding encoding;
    struct mime_decoder decoder;
    struct buf text;
    if (mime_encoding_read(mime_view(message, 0, part->encoding), &encoding) != RC_OK)
        return RC_NOTFOUND;
    buf_init(&text, body.n + 2 * (MIME_HELD + 3));
    mime_decode_begin(&decoder, encoding);
    enum rc rc = mime_decode(&decoder, &body, &text);
    if (rc == RC_OK)
        rc = mime_decode_end(&decoder, &text);
    *out = arena_dup(arena, buf_str(&text));
    buf_fini(&text);
    return rc == RC_OK && !str_is_null(*out) ? RC_OK : RC_LIMIT;
}

/* "rfc822; a@b": what stands behind the type. */
static struct str without_type(struct str value)
{
    struct str rest = value, type;
    return str_cut(&rest, ';', &type) && !str_is_null(rest) ? str_trim(rest) : value;
}

static enum rc unfold(struct str value, struct arena *arena, struct str *out)
{
    struct buf text;
    buf_init(&text, value.n + 1);
    enum rc rc = mime_unfold(value, &text);
    *out = arena_dup(arena, buf_str(&text));
    buf_fini(&text);
    return rc == RC_OK && !str_is_null(*out) ? RC_OK : RC_LIMIT;
}

static void take_message_field(struct report_facts *f, struct str name, struct str value)
{
    if (str_ieq(name, STR("Reporting-MTA")))
        f->reporter = without_type(value);
    else if (str_ieq(name, STR("Original-Envelope-Id")))
        f->envid = value;
}

static void take_recipient_field(struct report_status *r, struct str name, struct str value)
{
    const struct {
        struct str name;
        struct str *to;
        bool is_typed;
    } fields[] = {
        {STR("Action"), &r->action, false},        {STR("Status"), &r->status, false},
        {STR("Final-Recipient"), &r->final, true}, {STR("Original-Recipient"), &r->original, true},
        {STR("Remote-MTA"), &r->remote, true},     {STR("Diagnostic-Code"), &r->diagnostic, true},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (str_ieq(name, fields[i].name))
            *fields[i].to = fields[i].is_typed ? without_type(value) : value;
}

/* One group of fields; false: it had none. */
static enum rc read_group(struct str *rest, struct arena *arena, struct report_facts *facts,
                          struct report_status *recipient, bool *out_is_any)
{
    struct mime_field field;
    struct str value;
    *out_is_any = false;
    while (mime_header_next(rest, &field)) {
        TRY(unfold(field.value, arena, &value));
        if (recipient)
            take_recipient_field(recipient, field.name, value);
        else
            take_message_field(facts, field.name, value);
        *out_is_any = true;
    }
    return RC_OK;
}

/* Moves over what is no field: empty lines between groups, or nonsense. */
static void skip_line(struct str *rest)
{
    ptrdiff_t end = str_find_byte(*rest, '\n');
    *rest = end < 0 ? (struct str){0} : str_skip(*rest, (size_t)end + 1);
}

static enum rc read_fields(struct str rest, struct arena *arena, struct report_facts *out)
{
    struct report_status *all = arena_zero(arena, REPORT_READ_MAX * sizeof *all);
    bool is_any, had_first = false;
    if (!all)
        return RC_LIMIT;
    while (rest.n > 0 && out->n_recipients < REPORT_READ_MAX) {
        struct report_status *at = had_first ? &all[out->n_recipients] : NULL;
        TRY(read_group(&rest, arena, out, at, &is_any));
        out->n_recipients += is_any && had_first;
        had_first |= is_any;
        if (rest.n > 0)
            skip_line(&rest);
    }
    out->recipients = all;
    return out->n_recipients > 0 ? RC_OK : RC_NOTFOUND;
}

enum rc report_read(struct str message, struct arena *arena, struct report_facts *out)
{
    struct mime_tree tree;
    struct str fields;
    *out = (struct report_facts){0};
    mime_parse(message, NULL, &tree);
    uint32_t part = find_part(message, &tree);
    enum rc rc = RC_NOTFOUND;
    if (part != MIME_NONE)
        rc = decode_part(message, &tree.parts[part], arena, &fields);
    mime_tree_fini(&tree);
    return rc == RC_OK ? read_fields(fields, arena, out) : rc;
}
