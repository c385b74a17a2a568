/* What a delivery says of a message by a keyword [RFC9979 4]: whether something is attached to it.
 * From what the parser wrote down when the message came; of one that was not looked at, nothing. */
#include "deliver/deliver_int.h"

#include "mime/summary.h"

void deliver_set_attachments(struct deliver *deliver, bool tells)
{
    atomic_store(&deliver->conf.tells_attachments, tells);
}

void deliver_keywords(const struct deliver_conf *conf, struct store_append *append)
{
    static const struct str has = STR_INIT("$hasattachment"), has_no = STR_INIT("$hasnoattachment");
    struct str envelope, structure;
    bool is_attached;
    if (!atomic_load(&conf->tells_attachments) ||
        !mime_summary_read(append->summary, &envelope, &structure) ||
        mime_structure_attachment(structure, &is_attached) != RC_OK)
        return;
    append->keywords = is_attached ? &has : &has_no;
    append->n_keywords = 1;
    append->are_keywords_extra = true;
}
