/* ENVELOPE and BODYSTRUCTURE as IMAP text, made once from the fields that the parser keeps
 * [RFC3501 7.4.2] [RFC9051 7.5.2].
 *
 * Strings are quoted where that is possible and literals where not, absent values NIL, header
 * values without their folds, words of RFC 2047 as they stand. All texts can be copied to the
 * output as they are. Pure functions.
 *
 * What real mail contains is shown as well as it can be: an address without a host has
 * "MISSING_DOMAIN" there, since NIL would mean a group; text without a charset has "us-ascii"; a
 * multipart without parts has an empty text part. What the parser could not look into (see
 * mime_part.is_opaque) is shown as application/octet-stream, so that it can be fetched whole; a
 * multipart that names no boundary is shown as the text that it is. Numbers of parts are those of
 * mime_part_find in any case. */
#ifndef MIME_SUMMARY_H
#define MIME_SUMMARY_H

#include "mime/charset.h"
#include "mime/mime.h"

/* No summary is longer: a cap for buffers. Addresses beyond the 10,000th are left out. */
enum { MIME_SUMMARY_MAX = 8 << 20 };

/* Appends the summary of a message: a format byte, three lengths, the three texts. The tree is of a
 * parser told to keep (mime_keep). RC_LIMIT: it does not fit, and out is as it was. */
enum rc mime_summary(const struct mime_tree *t, struct buf *out);

/* The same for IMAP4rev2, where message/global has the envelope and the structure of the message in
 * it as well, and an encoded parameter of a Content-Type is told in UTF-8 [RFC9051 7.5.2]; it
 * differs only when mime_structure_has_rev2 says so of what mime_summary wrote. Not for keeping. */
enum rc mime_summary_rev2(const struct mime_tree *t, const struct mime_charsets *charsets,
                          struct buf *out);
bool mime_structure_has_rev2(struct str structure);

/* The texts of a summary, each with its parentheses; views. False: it is damaged, or of another
 * format, and has to be made anew. */
bool mime_summary_read(struct str summary, struct str *out_envelope, struct str *out_structure);

/* What REFERENCES looks at [RFC5256 3]: the message's own id, which may be empty, and behind a
 * space each the ids it refers to, the nearest one last; without quotes that need not be there.
 * False: the summary is damaged, or of release 0.1 and has none; it has to be made anew. */
enum { MIME_SUMMARY_REFERENCES = 1000 }; /* no more of them, the last ones */
bool mime_summary_thread(struct str summary, struct str *out);

/* A summary with the preview of its message [RFC8970], which is added when somebody has asked for
 * it. False: it has none yet, or is damaged. */
bool mime_summary_preview(struct str summary, struct str *out);
/* Appends the summary with this preview; what the others read of it is the same. RC_CORRUPT: it is
 * damaged, or of release 0.1; RC_LIMIT: it does not fit. Out is as it was then. */
enum rc mime_summary_with_preview(struct str summary, struct str preview, struct buf *out);

/* Whether a person would say that the message has something attached, from its BODYSTRUCTURE
 * [RFC8621 4.1.4] [RFC9979 4.1]: a part that says so, or one that is neither text without a name
 * nor inline, but for those of a multipart whose parts belong together (alternative, related,
 * signed, encrypted, report). RC_CORRUPT: it is no structure that mime_summary wrote. */
enum rc mime_structure_attachment(struct str structure, bool *out);

/* The summary of a whole message in memory. A large one is better fed to a parser in pieces. */
enum rc mime_summary_of(struct str message, struct buf *out);

/* BODY out of BODYSTRUCTURE: appends it without its extension data. RC_CORRUPT: it is no structure
 * that mime_summary wrote; RC_LIMIT. Out is as it was then. */
enum rc mime_structure_to_body(struct str structure, struct buf *out);

#endif
