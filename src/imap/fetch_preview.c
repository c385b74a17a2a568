/* PREVIEW [RFC8970]: made when it is asked for the first time, from the beginning of the message,
 * and kept in the message's summary from then on.
 *
 * So a delivery pays nothing for those who never ask. Who is in a hurry (LAZY) gets what is kept,
 * and a screenful of what is not; more of it would keep him waiting. */
#include "imap/fetch_int.h"

#include "mime/preview.h"

enum { WORK = 4 }; /* times as much as reading the bytes alone */

/* Where it cannot be kept it is made anew each time. */
static void keep(struct imap_session *s, struct imap_fetch *f)
{
    struct buf summary = {.cap = STORE_SUMMARY_MAX};
    if (f->summary.p && mime_summary_with_preview(f->summary, f->preview, &summary) == RC_OK)
        (void)store_summary_put(s->account, f->row->email, buf_str(&summary));
    buf_fini(&summary);
}

static enum rc make(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    struct imap_body *b = &f->body;
    struct mime_tree tree;
    struct str head;
    TRY(imap_body_open(c, s, f->indices[f->at], b));
    TRY(imap_fetch_need_summary(c, s, f));
    TRY(imap_body_head(c, b, MIME_PREVIEW_LOOK, &head));
    b->work += (WORK - 1) * head.n;
    mime_parse(head, NULL, &tree);
    buf_init(&b->preview, MIME_PREVIEW_MAX);
    mime_preview(&tree, head, s->imap->conf.charsets, &b->preview);
    mime_tree_fini(&tree);
    f->preview = buf_str(&b->preview);
    if (!f->preview.p)
        f->preview = STR("");
    f->n_previews++;
    return RC_OK;
}

enum rc imap_fetch_need_preview(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                                bool is_lazy)
{
    if (f->preview.p)
        return RC_OK;
    if (is_lazy && f->n_previews >= IMAP_FETCH_LAZY)
        return RC_NOTFOUND;
    TRY(make(c, s, f));
    keep(s, f);
    return RC_OK;
}

/* [RFC8970 8] */
void imap_fetch_log_previews(struct conn *c, struct imap_session *s, const struct imap_fetch *f)
{
    struct log_line l;
    if (!f->n_previews)
        return;
    net_log(c, &l, LOG_INFO, "previews");
    log_u64(&l, "account", store_account_id(s->account));
    log_u64(&l, "made", f->n_previews);
    log_end(&l);
}
