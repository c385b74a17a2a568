/* VRFY and EXPN [RFC5321 3.5]. Usually who asks learns nothing about who lives here, RCPT will tell
 * [RFC5321 3.5.3] [RFC5321 7.3]; where the configuration has it on, VRFY answers as RCPT would.
 * Lists are never shown. */
#include "smtpd/smtpd_int.h"

#include "base/utf8.h"

/* "address", "<address>", "... SMTPUTF8" [RFC6531 3.7.4]. */
static enum rc read_argument(struct str args, struct smtp_path *out, struct buf *lookup,
                             bool *out_may_be_utf8)
{
    ptrdiff_t space = str_rfind_byte(args, ' ');
    *out_may_be_utf8 = space > 0 && str_ieq(str_skip(args, (size_t)space + 1), STR("SMTPUTF8"));
    if (*out_may_be_utf8)
        args = str_trim(str_head(args, (size_t)space));
    struct buf text;
    buf_init(&text, 2 * SMTP_PATH_MAX);
    buf_putf(&text, str_starts(args, STR("<")) ? "%.*s" : "<%.*s>", STR_ARG(args));
    struct str rest = buf_str(&text);
    enum rc rc = text.over ? RC_LIMIT : smtp_path_take(&rest, out);
    if (rc == RC_OK && (rest.n > 0 || out->local.n == 0))
        rc = RC_SYNTAX;
    if (rc == RC_OK)
        rc = smtpd_lookup_write(out, lookup);
    buf_fini(&text);
    return rc;
}

static enum flow say_verified(struct session *s, struct str address)
{
    struct buf text;
    buf_init(&text, 4 * SMTP_PATH_MAX);
    buf_putf(&text, "<%.*s>", STR_ARG(address));
    smtpd_reply_say_text(s, SMTPD_VERIFIED, buf_str(&text));
    buf_fini(&text);
    return FLOW_NEXT;
}

static enum flow verify(struct session *s, struct str address, bool may_be_utf8)
{
    struct auth_targets targets;
    struct arena arena = {0};
    unsigned flags = net_can_block(s->conn) ? 0 : KV_CACHED;
    enum rc rc = auth_resolve(s->smtpd->conf.auth, address, flags, &arena, &targets);
    arena_fini(&arena);
    if (rc == RC_AGAIN && flags)
        return FLOW_BLOCK;
    if (rc == RC_OK && (may_be_utf8 || utf8_is_ascii(address)))
        return say_verified(s, address);
    smtpd_reply_say(s, rc == RC_OK ? SMTPD_NOT_SHOWN : smtpd_reply_of_lookup(rc));
    return FLOW_NEXT;
}

enum flow smtpd_cmd_vrfy(struct session *s, struct str args)
{
    struct smtp_path path;
    struct buf lookup;
    bool may_be_utf8;
    if (!s->smtpd->conf.vrfy) {
        smtpd_reply_say(s, SMTPD_NOT_VERIFIED);
        return FLOW_NEXT;
    }
    buf_init(&lookup, 2 * SMTP_PATH_MAX);
    enum flow flow = FLOW_NEXT;
    if (read_argument(args, &path, &lookup, &may_be_utf8) == RC_OK)
        flow = verify(s, buf_str(&lookup), may_be_utf8);
    else
        smtpd_reply_say(s, SMTPD_BAD_RECIPIENT);
    buf_fini(&lookup);
    return flow;
}

enum flow smtpd_cmd_expn(struct session *s, struct str args)
{
    smtpd_reply_say(s, SMTPD_NO_EXPANSION);
    return FLOW_NEXT;
}
