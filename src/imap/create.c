/* CREATE [RFC3501 6.3.3] [RFC9051 6.3.4], with special uses [RFC6154 3]. */
#include "imap/list_int.h"

struct making {
    struct imap_op op;
    struct store_path path;
    enum store_role role;
};

/* create-param [RFC6154 6]: "(USE (\Sent))". STORE_INBOX: a use that no mailbox can have here. */
static bool take_use(struct imap_parse *p, enum store_role *out)
{
    struct str name;
    *out = STORE_NONE;
    if (!imap_take_byte(p, '(') || !imap_take_word(p, STR("USE")) || !imap_take_byte(p, ' ') ||
        !imap_take_byte(p, '('))
        return imap_fail(p, "(USE (...))");
    while (!imap_peek_byte(p, ')')) {
        imap_take_byte(p, '\\'); /* some are registered without one [RFC9979 9.2] */
        if (!imap_take_atom(p, &name))
            return imap_fail(p, "a special use such as \\Sent");
        *out = *out == STORE_NONE ? imap_role_of_use(name) : STORE_INBOX; /* one each */
        if (!imap_take_byte(p, ' ') && !imap_peek_byte(p, ')'))
            return imap_fail(p, "the end of the list of uses");
    }
    return (imap_take_byte(p, ')') && imap_take_byte(p, ')')) || imap_fail(p, "(USE (...))");
}

/* [RFC8474 4.1] */
static enum net_step created(struct conn *c, struct imap_session *s)
{
    const struct making *m = s->job;
    struct store_mailbox mailbox;
    struct buf code = {.cap = 64};
    if (m->op.op.rc != RC_OK)
        return imap_finish_rc(c, s, m->op.op.rc);
    if (store_mailbox_get(s->account, m->op.op.mailbox, &s->arena, &mailbox) != RC_OK)
        return imap_finish(c, s, IMAP_DONE); /* removed meanwhile: there is nothing to name */
    buf_put(&code, STR("["));
    imap_put_mailbox_id(&code, &mailbox);
    buf_put(&code, STR("] "));
    struct str kept = arena_dup(&s->arena, buf_str(&code));
    buf_fini(&code);
    return imap_finish_code(c, s, IMAP_DONE, kept);
}

static enum net_step create(struct conn *c, struct imap_session *s)
{
    struct making *m = s->job;
    enum rc rc =
        store_mailbox_create(s->account, m->path, m->role, imap_flags(c), imap_op_begin(&m->op, s));
    if (rc == RC_CONFLICT) /* another mailbox has the use [RFC6154 3] */
        return imap_finish(c, s, IMAP_USE_ATTR);
    return imap_op_wait(c, s, rc, created);
}

enum net_step imap_create(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct making *m = arena_zero(&s->arena, sizeof *m);
    s->job = m;
    if (!m || !imap_take_mailbox(p, &m->path) ||
        (p->rest.n && (!imap_take_sp(p) || !take_use(p, &m->role))) || !imap_take_end(p))
        return imap_finish_syntax(c, s, p);
    if (!imap_name_is_good(p, m->path)) /* [RFC9051 6.3.4] */
        return imap_finish(c, s, IMAP_CANNOT);
    if (m->role == STORE_INBOX)
        return imap_finish(c, s, IMAP_USE_ATTR);
    s->go_on = create;
    return create(c, s);
}
