/* SEARCH, inside: the program that the keys become, and who decides what.
 *
 * search_parse.c makes the program, pure; search_rows.c decides what rows tell, many at once;
 * search_text.c what only a message's summary or its bytes tell; search_find.c looks for a string;
 * search_index.c asks the index; search.c goes over the mailbox; search_answer.c is the command and
 * what it was asked to return.
 */
#ifndef IMAP_SEARCH_INT_H
#define IMAP_SEARCH_INT_H

#include "imap/imap_int.h"
#include "mime/fields.h"
#include "mime/summary.h"
#include "mime/terms.h"
#include "mime/text.h"

enum {
    IMAP_SEARCH_KEYS = 1000,       /* in one command */
    IMAP_SEARCH_DEPTH = 50,        /* of parentheses, NOT and OR within one another */
    IMAP_SEARCH_TEXTS = 100,       /* keys that look at the text of messages; and of threads */
    IMAP_SEARCH_ROWS = 256,        /* looked at together */
    IMAP_SEARCH_WINDOW = 256 << 10 /* bytes of a message in memory; a larger one goes through it */
};

/* --- search_find.c ---------------------------------------------------------------------------- */

/* A string of folded ASCII, to be found in ASCII of any case. */
struct imap_needle {
    struct str text;
    size_t first, second; /* places of the two bytes that are looked for, the rarest ones */
};
void imap_needle_init(struct imap_needle *n, struct str text);
bool imap_needle_find(const struct imap_needle *n, struct str in);
bool imap_is_ascii(struct str s);  /* fast, for much of it */
bool imap_has_words(struct str s); /* "=?": perhaps words of RFC 2047 */

/* --- search_parse.c --------------------------------------------------------------------------- */

enum imap_search_kind {
    IMAP_SEARCH_ALL_OF, /* what is below; of nothing: every message */
    IMAP_SEARCH_ANY_OF,
    IMAP_SEARCH_NOT, /* the one below */
    /* By the row. */
    IMAP_SEARCH_FLAGS,    /* (flags & mask) == value */
    IMAP_SEARCH_KEYWORD,  /* has the keyword `name`, or has it not: value */
    IMAP_SEARCH_SIZE,     /* from <= size <= last */
    IMAP_SEARCH_RECEIVED, /* the same, ns since 1970 */
    IMAP_SEARCH_SAVED,
    IMAP_SEARCH_MODSEQ,
    IMAP_SEARCH_EMAIL,
    IMAP_SEARCH_THREAD, /* of `from`: one of `emails` */
    IMAP_SEARCH_SET,
    IMAP_SEARCH_UIDS, /* a set as a context has it: one of `uids` */
    /* By the summary. */
    IMAP_SEARCH_SENT, /* from <= day of the Date field <= last, see imap_search_day */
    IMAP_SEARCH_ENVELOPE,
    /* By the message. */
    IMAP_SEARCH_HEADER,
    IMAP_SEARCH_BODY,
    IMAP_SEARCH_TEXT
};

/* The strings of an ENVELOPE, in its order [RFC3501 7.4.2] [RFC9051 7.5.2]. */
enum imap_search_field {
    IMAP_SEARCH_DATE,
    IMAP_SEARCH_SUBJECT,
    IMAP_SEARCH_FROM,
    IMAP_SEARCH_TO = 5,
    IMAP_SEARCH_CC,
    IMAP_SEARCH_BCC,
    IMAP_SEARCH_FIELDS
};

enum imap_search_answer { IMAP_SEARCH_UNKNOWN, IMAP_SEARCH_NO, IMAP_SEARCH_YES };

struct imap_search_key {
    enum imap_search_kind kind;
    struct imap_search_key *first, *next; /* below this one; behind it */
    uint32_t mask, value;
    enum imap_search_field field;
    uint64_t from, last; /* from > last: nothing */
    uint32_t seconds;    /* not 0: `last` (OLDER) or `from` is so long ago */
    struct str name;     /* of a keyword or a header field */
    struct str text;     /* as sent; once prepared decoded and folded */
    struct imap_set set;
    bool is_uid;
    /* What search.c makes of it before it begins. */
    uint64_t keyword;        /* its bit; 0: no message has it */
    struct imap_spans spans; /* of the set */
    uint64_t *emails;        /* of the thread, ascending; NULL: not known yet */
    size_t n_emails;
    const struct imap_range *uids; /* ascending, disjoint */
    size_t n_uids;
    struct imap_needle needle; /* of the text */
    bool is_fuzzy;             /* by words [RFC6203 3]; where there are none, as any other */
    const struct str *words;   /* of the text */
    size_t n_words;
    struct mime_terms *terms; /* of a fuzzy key, once prepared */
    unsigned score;           /* of the message at hand: 1 to 100 */
    bool is_ascii;
    bool is_simple;                 /* and has no line ends */
    struct mime_match *match;       /* of BODY and TEXT */
    const uint64_t *may;            /* a bit a row: those that may be hits; NULL: all of them */
    enum imap_search_answer answer; /* of the message at hand, for kinds beyond the row */
};

/* All in the parser's arena. */
struct imap_search_program {
    struct imap_search_key *all;    /* kind IMAP_SEARCH_ALL_OF */
    struct imap_search_key **texts; /* the keys beyond the row */
    size_t n_texts, n_keys, n_ranges, n_threads;
    bool has_modseq;    /* the answer tells the highest one [RFC7162 3.1.5] */
    bool has_numbers;   /* of messages */
    bool is_fuzzy;      /* a key is [RFC6203 3] */
    bool wants_scores;  /* a text is looked through to its end */
    struct str charset; /* of the strings; absent: none was named */
    struct str source;  /* the words that it was made of */
    bool is_sort;       /* they are those of SORT */
};

/* The arguments of SEARCH, to the end of the command. */
bool imap_take_search(struct imap_parse *p, struct imap_search_program *out);
/* Those of SORT and THREAD: the charset comes first, and without its name [RFC5256 5]. */
bool imap_take_sort_search(struct imap_parse *p, struct imap_search_program *out);

/* Days as `from` and `last` count them: since 1970, and so that none is below 0. */
uint64_t imap_search_day(int64_t since_1970);

/* What keys mean here and now. */
struct imap_search_scene {
    const struct str *names; /* of keywords, by bit */
    const struct store_root *root;
    uint64_t now; /* ns since 1970 */
    struct arena *arena;
    bool is_open; /* message numbers may be beyond the last one */
};
/* Keywords by bit, sets against a mailbox, ages against the time. RC_NOTFOUND: a message number
 * that is not there; RC_LIMIT. */
enum rc imap_search_settle(struct imap_search_key *key, const struct imap_search_scene *scene);
/* Only the keywords: of those that no message had, one may have been made since. */
void imap_search_keywords(struct imap_search_key *key, const struct str *names);
/* The strings as they are looked for, from the program's charset. RC_NOTFOUND: it is unknown;
 * RC_LIMIT: one is too long. */
enum rc imap_search_fold(struct imap_search_program *program, const struct mime_charsets *charsets,
                         struct arena *arena);

/* How well the message at hand, a hit, meets the fuzzy keys: 1 to 100 [RFC6203 4]. */
unsigned imap_search_score(const struct imap_search_program *program);

/* --- search_rows.c ---------------------------------------------------------------------------- */

/* One bit a row: those that are hits for sure, and those that may be. `yes` is within `may`. */
struct imap_search_bits {
    uint64_t yes[IMAP_SEARCH_ROWS / 64], may[IMAP_SEARCH_ROWS / 64];
};

/* n rows (at most IMAP_SEARCH_ROWS) whose indices begin with `index`. Bits beyond n are unset. */
void imap_search_rows(const struct imap_search_key *all, const struct store_row *rows, size_t n,
                      size_t index, struct imap_search_bits *out);
/* One row, with the answers that the keys beyond it have so far. */
enum imap_search_answer imap_search_row(const struct imap_search_key *all,
                                        const struct store_row *row, size_t index);

/* Whether a key that rows answer has another answer for the row than for what it was. Of sets, and
 * of what never changes, none has. */
bool imap_search_differs(const struct imap_search_key *key, const struct store_row *before,
                         const struct store_row *row);

/* --- search_column.c -------------------------------------------------------------------------- */

struct imap_column_key {
    uint64_t account;
    uint32_t mailbox, uidvalidity;
    unsigned field; /* enum imap_search_field, or imap_sort_field */
};

/* Of one field: what messages say, decoded and folded; of the date its day, as a uint64_t, or
 * nothing. Not to be changed. */
struct imap_column {
    struct map_node node;
    struct list link;
    struct imap_column_key key;
    unsigned refs; /* by the mutex */
    size_t n, bytes;
    uint32_t *uids, *ends; /* ascending; where in the text each one's ends */
    char *text;
    uint32_t *ranks; /* of what is sorted: by value from 0 on, the same for the same; or NULL */
};

/* The newest one of a key; NULL: there is none. To be released. */
struct imap_column *imap_column_take(struct imap_columns *c, const struct imap_column_key *key);
void imap_column_release(struct imap_columns *c, struct imap_column **column);
/* *at: where to look first; moves on. False: it is not there. */
bool imap_column_find(const struct imap_column *column, uint32_t uid, size_t *at, struct str *out);

/* One search at a time may make columns; false: another one does. */
bool imap_columns_begin_learning(struct imap_columns *c);
void imap_columns_end_learning(struct imap_columns *c);
/* One being made; zeroed but for max and after. */
struct imap_column_maker {
    bool is_off;    /* nothing will come of it */
    uint32_t after; /* those up to this UID are in the old one */
    size_t max;     /* bytes */
    size_t n, text_n, uids_size, ends_size, text_size;
    uint32_t *uids, *ends;
    char *text;
};
void imap_column_add(struct imap_column_maker *m, uint32_t uid, struct str text);
void imap_column_maker_fini(struct imap_column_maker *m);
/* The old one (NULL: none) and what was made, held; with is_shared it becomes the newest, when it
 * is not too large for that. */
struct imap_column *imap_column_made(struct imap_columns *c, const struct imap_column_key *key,
                                     const struct imap_column *old, struct imap_column_maker *m,
                                     bool is_shared);
/* Memory that commands hold, of which there is four times as much as for columns. False: not so
 * much. */
bool imap_columns_hold(struct imap_columns *c, size_t bytes);
void imap_columns_let(struct imap_columns *c, size_t bytes);
/* The old one (NULL: none) and what was made become the newest. */
void imap_column_publish(struct imap_columns *c, const struct imap_column_key *key,
                         const struct imap_column *old, struct imap_column_maker *m);

/* --- search_envelope.c and search_text.c ------------------------------------------------------ */

/* What looks at messages, one after the other. */
struct imap_search_text {
    struct imap_search_program *program;
    const struct mime_charsets *charsets;
    unsigned fields; /* of the envelope that are asked for: 1 << field */
    bool has_header, has_body, has_text, keeps;
    struct buf value, folded; /* between steps */
    /* What is known of fields in memory, and what is being learned. */
    struct {
        struct imap_column *column;
        size_t at, ahead; /* where to look next: for answers, for pages */
        struct imap_column_maker maker;
    } known[IMAP_SEARCH_FIELDS];
    uint32_t uid; /* of the message at hand */
    /* The message at hand, from imap_search_open on. */
    struct store_message *message;
    uint64_t size;
    char *window;
    size_t window_size, window_n;
    uint64_t window_at;
    struct mime_parser parser;
    struct mime_tree tree;
    uint64_t fed;
    bool is_parsing, has_tree, is_pulling, is_all; /* which of the two texts is pulled */
    struct mime_text text;
};

/* After imap_search_fold. RC_LIMIT: the arena is full. */
enum rc imap_search_text_init(struct imap_search_text *t, struct imap_search_program *program,
                              const struct mime_charsets *charsets, struct arena *arena);
void imap_search_text_fini(struct imap_search_text *t); /* also of zeroes */

/* The next message: no key has an answer, none is open. */
void imap_search_next(struct imap_search_text *t, uint32_t uid);
/* Between two messages: gives memory back until the next one. */
void imap_search_rest(struct imap_search_text *t);
/* Answers the keys of its ENVELOPE from the columns; false: they do not have it. */
bool imap_search_from_columns(struct imap_search_text *t);
/* The same from the ENVELOPE itself, which goes to the columns that are being made. */
void imap_search_envelope(struct imap_search_text *t, struct str envelope);

/* The rest reads the message, which is taken over here, and blocks. RC_AGAIN: call again, it is
 * time for others (clock_mono of the system against `until`). */
void imap_search_open(struct imap_search_text *t, struct store_message **message);
void imap_search_close(struct imap_search_text *t);
/* Makes the summary, when it was not there. */
enum rc imap_search_summary(struct imap_search_text *t, uint64_t until, struct buf *out);
enum rc imap_search_header(struct imap_search_text *t);
enum rc imap_search_body(struct imap_search_text *t, uint64_t until);

/* Messages that need no decoding: ASCII from end to end, one text, nothing encoded, nothing that
 * the parser stumbles over. For a simple text only (ASCII without line ends), one of a key that is
 * BODY or TEXT; IMAP_SEARCH_UNKNOWN: the header has to be looked at by itself. Pure. */
bool imap_search_is_simple(struct str text);
bool imap_search_is_plain(struct str message, struct str *out_header, struct str *out_body);
enum imap_search_answer imap_search_plainly(const struct imap_search_key *key, struct str header,
                                            struct str body);

/* The words of a fuzzy key in text that is decoded and folded; and how well, into `score`. */
bool imap_search_words(struct imap_search_key *key, struct str text);

/* Whether a value of a header field, as it stands, has the key's text in it; decodes and folds it
 * when need be. */
bool imap_search_value(struct imap_search_text *t, struct imap_search_key *key, struct str value);

/* --- search.c --------------------------------------------------------------------------------- */

struct imap_search;
struct imap_search_page;
struct imap_answer;
/* Looks at the message at hand. RC_AGAIN: call again, it is time for others. */
typedef enum rc (*imap_search_look)(struct conn *c, struct imap_session *s, struct imap_search *k,
                                    uint64_t until);

/* The job of a command that searches begins with one. Zeroed to begin with. */
struct imap_search {
    struct imap_search_program program; /* the command's */
    bool wants_first;                   /* of the hits only the first one is asked for */
    bool needs_summaries;               /* imap_search_over: of every message */
    bool needs_ids;                     /* and in them what mime_summary_thread tells */
    bool is_open;                       /* message numbers may be beyond the last one */
    bool needs_all;                     /* the newest ones alone are of no use [RFC9738 3.3] */
    /* The results. */
    size_t count;          /* rows; with wants_first perhaps fewer */
    uint64_t *hits;        /* one bit a row; more than there are rows */
    uint64_t *maybe;       /* the same: rows to be looked at closer */
    unsigned char *scores; /* by row, where they are wanted; those that rows decided have 100 */
    enum imap_text answer; /* IMAP_DONE, or why messages are missing */
    /* search.c's. */
    struct imap_search_text text;
    imap_step found, looked;
    imap_search_look look;
    size_t at;     /* the first row not looked at */
    uint64_t said; /* when the client last heard of us */
    bool is_on_lane, is_learning, is_over;
    bool has_begun; /* the message at hand */
    unsigned stage; /* of it */
    struct buf made;
    struct imap_search_page *page;
    struct arena texts;       /* its summaries */
    struct imap_answer *told; /* search_answer.c's */
    struct imap_asking *asking;
    bool has_asked; /* the index, or it is not worth it */
    size_t left;    /* rows that it is asked for */
};

/* With the program there, s->job set and s->job_fini, which calls imap_search_fini. IMAP_DONE: call
 * s->go_on, and `found` is the step when all is known; otherwise the answer. */
enum imap_text imap_search_begin(struct imap_session *s, struct imap_search *k, imap_step found);
void imap_search_fini(struct imap_session *s, struct imap_search *k);
/* From `found` on: looks at the rows of `maybe`, on the heavy lane and in turns; then `looked`. */
enum net_step imap_search_over(struct conn *c, struct imap_session *s, imap_search_look look,
                               imap_step looked);
/* For a look: the summary of the message at hand, until it ends. */
enum rc imap_search_summary_of(struct conn *c, struct imap_session *s, struct imap_search *k,
                               uint64_t until, struct str *out);
size_t imap_search_index(const struct imap_search *k); /* of the message at hand */
/* The first set bit from i on, or count. */
size_t imap_search_next_bit(const uint64_t *bits, size_t i, size_t count);
/* Zeroes, one for each row; NULL: the arena is full. */
uint64_t *imap_search_new_bits(struct imap_session *s, size_t count);

/* --- limit.c ---------------------------------------------------------------------------------- */

/* Of a settled program: only the newest messages are looked at, when they are too many. IMAP_DONE,
 * or the answer. */
enum imap_text imap_limit_search(struct imap_session *s, struct imap_search *k);

/* --- search_index.c --------------------------------------------------------------------------- */

/* Whether the index has something to say about the rows of k->maybe. */
bool imap_search_is_asking(struct imap_session *s, struct imap_search *k);
/* Sets `may` of keys; afterwards rows are to be looked at again. False: call again, it is time for
 * others. Blocks. */
bool imap_search_ask(struct imap_session *s, struct imap_search *k);
void imap_asking_fini(struct imap_asking *a); /* also of NULL */

/* --- search_answer.c -------------------------------------------------------------------------- */

/* What is to be returned [RFC4731 3.1] [RFC5182 2.1] [RFC9051 7.3.4, 6.4.4.1] [RFC9394 3.1]. */
enum {
    IMAP_RETURN_MIN = 1,
    IMAP_RETURN_MAX = 2,
    IMAP_RETURN_ALL = 4,
    IMAP_RETURN_COUNT = 8,
    IMAP_RETURN_PARTIAL = 16,
    IMAP_RETURN_SAVE = 32,
    IMAP_RETURN_RELEVANCY = 64 /* [RFC6203 4] */
};
struct imap_return {
    bool is_given;
    bool is_update;     /* what changes is told too [RFC5267 4.3] */
    struct str arrival; /* with these items of what is new, as sent [RFC5465 7]; absent: none */
    unsigned items;
    struct imap_partial partial;
};
/* "RETURN (...) ", or nothing. */
bool imap_take_return(struct imap_parse *p, struct imap_return *out);

/* What is returned and what is searched together; false: RELEVANCY is not for what is exact
 * [RFC6203 4, 6]. */
bool imap_return_fits(struct imap_parse *p, const struct imap_return *want,
                      struct imap_search_program *program);

/* Hits in an order, on their way to the client. */
struct imap_answer {
    struct imap_return want;
    const char *verb;            /* of the answer without RETURN */
    const uint64_t *bits;        /* of the hits; or */
    const uint32_t *order;       /* their indices in order */
    size_t count;                /* bits */
    const unsigned char *scores; /* by index; or NULL */
    size_t n;                    /* hits */
    uint64_t modseq;             /* highest one of those told; 0: is not told */
    struct str mailbox; /* of an answer that tells where the hits are [RFC7377 2.1]; or absent */
    imap_step then;     /* in the place of the command's end; NULL: that */
    enum imap_text text;
    /* search_answer.c's. */
    bool wants_modseq, has_first, has_score;
    uint64_t *marked; /* the hits that SAVE and MODSEQ are about */
    struct imap_saved *saved;
    size_t saved_size;
    size_t at, left, first;
    size_t n_scores; /* still to be told */
};
/* Tells, and ends the command; s->job begins with a struct imap_search, whose program and answer
 * count. `a` is zeroed but for `want`, `verb`, `bits` or `order`, `count`. */
enum net_step imap_answer(struct conn *c, struct imap_session *s, struct imap_answer *a);
void imap_answer_fini(struct imap_answer *a);
/* Instead, when nothing was searched: what was saved is forgotten with NO [RFC5182 2.1]
 * [RFC9051 6.4.4.1]. */
enum net_step imap_answer_fail(struct conn *c, struct imap_session *s, const struct imap_return *r,
                               enum imap_text text);

#endif
