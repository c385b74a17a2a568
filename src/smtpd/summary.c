/* The message's summary (mime/summary.h), made while it comes in, so that IMAP need not read it
 * again.
 *
 * 1. The parser sees what is stored, in the order in which it is stored: our own fields, then what
 * the client sent or submission made of it.
 * 2. Nothing of a stranger's is parsed before the whole header is there, so that the message can be
 * noted as work in hand, and one at which the server has crashed twice is not parsed at all.
 *
 * A message without a summary is as good as another: it is made when a client asks for it. */
#include "smtpd/smtpd_int.h"

#include "mime/summary.h"

void smtpd_summary_begin(struct message *m, struct str trace)
{
    mime_init(&m->summary.parser, NULL);
    mime_keep(&m->summary.parser);
    mime_feed(&m->summary.parser, trace);
    m->summary.state = SUMMARY_HELD;
    buf_init(&m->summary.text, STORE_SUMMARY_MAX);
}

struct hand_key smtpd_summary_key(const struct session *s, const struct message *m)
{
    if (m->summary.state == SUMMARY_OPEN)
        return m->summary.key;
    return hand_key(s->smtpd->conf.hand, s->transaction->envelope.sender, buf_str(&m->head));
}

void smtpd_summary_open(struct session *s, struct message *m, struct str written)
{
    struct summary *y = &m->summary;
    if (y->state != SUMMARY_HELD)
        return;
    y->hand = s->smtpd->conf.hand;
    y->key = smtpd_summary_key(s, m);
    if (hand_is_suspect(y->hand, y->key)) {
        smtpd_summary_end(m);
        return;
    }
    y->state = SUMMARY_OPEN;
    smtpd_summary_feed(m, written);
}

void smtpd_summary_feed(struct message *m, struct str bytes)
{
    struct summary *y = &m->summary;
    if (y->state != SUMMARY_OPEN)
        return;
    unsigned place = hand_take(y->hand, y->key);
    mime_feed(&y->parser, bytes);
    hand_give(y->hand, place);
}

void smtpd_summary_finish(struct message *m)
{
    struct summary *y = &m->summary;
    struct mime_tree tree;
    if (y->state != SUMMARY_OPEN)
        return;
    unsigned place = hand_take(y->hand, y->key);
    mime_finish(&y->parser, &tree);
    mime_fini(&y->parser);
    y->state = SUMMARY_NONE;
    if (mime_summary(&tree, &y->text) != RC_OK)
        buf_fini(&y->text); /* too long to be kept */
    mime_tree_fini(&tree);
    hand_give(y->hand, place);
}

struct str smtpd_summary_of(const struct message *m)
{
    return buf_len(&m->summary.text) ? buf_str(&m->summary.text) : (struct str){0};
}

uint64_t smtpd_summary_memory(const struct message *m)
{
    const struct mime_parser *p = &m->summary.parser;
    if (m->summary.state == SUMMARY_NONE)
        return 0;
    return buf_len(&p->tree.kept) + p->tree.n_parts * sizeof *p->tree.parts;
}

void smtpd_summary_end(struct message *m)
{
    if (m->summary.state != SUMMARY_NONE)
        mime_fini(&m->summary.parser);
    m->summary.state = SUMMARY_NONE;
    buf_fini(&m->summary.text);
}
