/* BODYSTRUCTURE out of a tree and the fields kept with it [RFC3501 7.4.2] [RFC9051 7.5.2].
 *
 * A part is shown as what its numbers make it: only what the parser has looked into is shown with
 * parts of its own. Recursion is as deep as the tree, whose depth is limited. */
#include "mime/mime_int.h"

/* How a part is shown. */
struct shown {
    struct str type, subtype, params;
};

static const struct shown plain_text = {STR_INIT("text"), STR_INIT("plain"), {0}};
static const struct shown octets = {STR_INIT("application"), STR_INIT("octet-stream"), {0}};
static const struct shown message = {STR_INIT("message"), STR_INIT("rfc822"), {0}};
static const struct shown mixed = {STR_INIT("multipart"), STR_INIT("mixed"), {0}};

static struct shown shown_of(const struct mime_part *part, struct str value, bool is_rev2)
{
    struct mime_type type;
    bool is_known = mime_type_read(value, &type) == RC_OK;
    bool is_global = is_known && is_rev2 && str_ieq(type.subtype, STR("global"));
    bool is_message = is_known && str_ieq(type.type, STR("message")) &&
                      (is_global || str_ieq(type.subtype, STR("rfc822")));
    if (!is_known && part->kind == MIME_MULTIPART)
        return mixed; /* more fields than could be kept */
    if (!is_known && part->kind == MIME_MESSAGE)
        return message; /* [RFC2046 5.1.5] */
    if (!is_known)
        return part->type.n || part->is_opaque ? octets : plain_text; /* [RFC2045 5.2] */
    if (part->kind == MIME_LEAF && str_ieq(type.type, STR("multipart")))
        return part->boundary.n == 0 ? plain_text : octets;
    if (part->kind == MIME_LEAF && is_message)
        return octets;
    if (is_message) /* in one form, as clients look for it */
        return (struct shown){message.type, is_global ? STR("global") : message.subtype,
                              type.params};
    return (struct shown){type.type, type.subtype, type.params};
}

static void put_disposition(struct mime_writer *w, struct str value)
{
    struct str word, params;
    if (mime_word_read(value, &word, &params) != RC_OK) {
        buf_put(w->out, STR("NIL"));
        return;
    }
    buf_put(w->out, STR("("));
    mime_put_string(w->out, word);
    buf_put(w->out, STR(" "));
    mime_put_params(w, params, MIME_PARAMS_OTHER);
    buf_put(w->out, STR(")"));
}

static void put_languages(struct mime_writer *w, struct str value)
{
    struct str part, word, rest;
    size_t n = 0;
    while (str_cut(&value, ',', &part)) { /* [RFC3282 2] */
        if (mime_word_read(part, &word, &rest) != RC_OK)
            continue;
        buf_put(w->out, n++ == 0 ? STR("(") : STR(" "));
        mime_put_string(w->out, word);
    }
    buf_put(w->out, n > 0 ? STR(")") : STR("NIL"));
}

static void put_encoding(struct mime_writer *w, struct str value)
{
    struct str word, params;
    mime_put_string(w->out, mime_word_read(value, &word, &params) == RC_OK ? word : STR("7bit"));
}

/* Disposition, language and location end every kind of part. */
static void put_end(struct mime_writer *w, const struct mime_facts *f)
{
    put_disposition(w, f->values[MIME_FIELD_CONTENT_DISPOSITION]);
    buf_put(w->out, STR(" "));
    put_languages(w, f->values[MIME_FIELD_CONTENT_LANGUAGE]);
    buf_put(w->out, STR(" "));
    mime_put_value(w, f->values[MIME_FIELD_CONTENT_LOCATION]);
    buf_put(w->out, STR(")"));
}

static void put_number(struct mime_writer *w, uint64_t n)
{
    buf_put(w->out, STR(" "));
    w->out->over |= buf_add_u64(w->out, n) != RC_OK;
}

static void put_part(struct mime_writer *w, const struct mime_tree *t, uint32_t i,
                     const struct mime_facts *f);

static void put_child(struct mime_writer *w, const struct mime_tree *t, uint32_t i)
{
    struct mime_facts f;
    mime_facts_read(mime_kept_of(t, i), &f);
    put_part(w, t, i, &f);
}

static void put_multipart(struct mime_writer *w, const struct mime_tree *t,
                          const struct mime_part *part, const struct mime_facts *f)
{
    struct shown s = shown_of(part, f->values[MIME_FIELD_CONTENT_TYPE], w->is_rev2);
    buf_put(w->out, STR("("));
    for (uint32_t c = part->first_child; c != MIME_NONE; c = t->parts[c].next)
        put_child(w, t, c);
    if (part->first_child == MIME_NONE)
        buf_put(w->out, STR("(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 "
                            "NIL NIL NIL NIL)"));
    buf_put(w->out, STR(" "));
    mime_put_string(w->out, s.subtype);
    buf_put(w->out, STR(" "));
    mime_put_params(w, s.params, MIME_PARAMS_TYPE);
    buf_put(w->out, STR(" "));
    put_end(w, f);
}

/* The message in a message/rfc822 part. */
static void put_message(struct mime_writer *w, const struct mime_tree *t, uint32_t i)
{
    struct mime_facts f;
    mime_facts_read(mime_kept_of(t, i), &f);
    buf_put(w->out, STR(" "));
    mime_put_envelope(w, &f);
    buf_put(w->out, STR(" "));
    put_part(w, t, i, &f);
}

static void put_leaf(struct mime_writer *w, const struct mime_tree *t, const struct mime_part *part,
                     const struct mime_facts *f)
{
    struct shown s = shown_of(part, f->values[MIME_FIELD_CONTENT_TYPE], w->is_rev2);
    bool is_text = str_ieq(s.type, STR("text"));
    bool is_message =
        part->kind == MIME_MESSAGE && (str_ieq(s.subtype, STR("rfc822")) || w->is_rev2);
    buf_put(w->out, STR("("));
    mime_put_string(w->out, s.type);
    buf_put(w->out, STR(" "));
    mime_put_string(w->out, s.subtype);
    buf_put(w->out, STR(" "));
    mime_put_params(w, s.params,
                    is_text ? MIME_PARAMS_TEXT
                            : MIME_PARAMS_TYPE); /* [RFC2045 5.2]: us-ascii unless it says so */
    buf_put(w->out, STR(" "));
    mime_put_value(w, f->values[MIME_FIELD_CONTENT_ID]);
    buf_put(w->out, STR(" "));
    mime_put_value(w, f->values[MIME_FIELD_CONTENT_DESCRIPTION]);
    buf_put(w->out, STR(" "));
    put_encoding(w, f->values[MIME_FIELD_CONTENT_ENCODING]);
    put_number(w, part->body_end - part->body_begin);
    if (is_message)
        put_message(w, t, part->first_child);
    if (is_message || is_text)
        put_number(w, part->body_lines);
    buf_put(w->out, STR(" "));
    mime_put_value(w, f->values[MIME_FIELD_CONTENT_MD5]);
    buf_put(w->out, STR(" "));
    put_end(w, f);
}

static void put_part(struct mime_writer *w, const struct mime_tree *t, uint32_t i,
                     const struct mime_facts *f)
{
    const struct mime_part *part = &t->parts[i];
    if (part->kind == MIME_MULTIPART)
        put_multipart(w, t, part, f);
    else
        put_leaf(w, t, part, f);
}

void mime_put_structure(struct mime_writer *w, const struct mime_tree *t,
                        const struct mime_facts *f)
{
    put_part(w, t, 0, f);
}
