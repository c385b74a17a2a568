/* ctl, inside. */
#ifndef CTL_CTL_INT_H
#define CTL_CTL_INT_H

#include "ctl/ctl.h"

#include <stdio.h>

#include "base/bytes.h"
#include "dns/dns.h"
#include "fetch/fetch.h"
#include "transfer/transfer.h"

#include <sys/types.h>

enum {
    CTL_REQUEST_MAX = 48 << 10, /* bytes of a request: an alias with all the targets it may have */
    CTL_ANSWER_MAX = 256 << 20  /* bytes of an answer: a million accounts fit */
};

/* --- wire.c: a frame is its length in 4 bytes, then the packed words or answer ---------------- */

enum rc ctl_request_pack(const struct admin_request *request, struct buf *out);
/* Words are views into `frame`, the array is in the arena. RC_AGAIN: not all is there; RC_LIMIT:
 * too long; RC_CORRUPT. */
enum rc ctl_request_unpack(struct str input, struct arena *arena, struct admin_request *out);
enum rc ctl_answer_pack(const struct admin_answer *answer, struct buf *out);
enum rc ctl_answer_unpack(struct str input, struct admin_answer *out);

/* --- print.c ---------------------------------------------------------------------------------- */

/* Harmless for a terminal; NULL: only counts. The number of characters. */
size_t ctl_put_text(struct str s, FILE *to);
void ctl_print_stories(const struct admin_answer *a); /* of `trace` */
void ctl_print_bare(const struct admin_answer *a);    /* a line for each cell */
void ctl_print_table(const struct admin_answer *answer);
void ctl_print_json(const struct admin_answer *answer);

/* --- engine.c --------------------------------------------------------------------------------- */

/* ctl_engine_open with the data folder at another path; one that is read only keeps its files as
 * they are (where there are any). */
enum rc ctl_engine_open_at(const struct ctx *ctx, const struct conf *conf, const char *data,
                           bool read_only, struct kv **out);
bool ctl_engine_is_local(const struct conf *conf); /* the store is in the data folder */
/* What the store is called; no two stores have the same name. */
void ctl_engine_name(const struct conf *conf, const char *data, char *to, size_t size);

/* --- offline.c: on a store at rest ------------------------------------------------------------ */

/* Opens all that admin needs in the current folder, runs the request, closes. RC_CONFLICT: another
 * process has the store. */
enum rc ctl_offline(const struct conf *conf, const struct admin_request *request,
                    struct admin_answer *answer);
/* The same with something else than a request. */
enum rc ctl_offline_do(const struct conf *conf, void (*run)(struct admin *admin, void *arg),
                       void *arg);
/* Makes the data folder the current one and, as root, becomes the user it belongs to. Complains on
 * standard error. */
enum rc ctl_enter_data(const struct conf *conf);

/* --- password.c ------------------------------------------------------------------------------- */

/* From standard input (one line) or the terminal (twice, unseen). Complains on standard error. Wipe
 * it with crypto_wipe. */
enum rc ctl_read_password(bool from_stdin, char *to, size_t size);
/* NULL, or why it is weak. */
const char *ctl_weak_password(struct str password);

/* --- command.c -------------------------------------------------------------------------------- */

/* By the server, or in this process when there is none. Makes the data folder the current one, and
 * may become its owner. Complains on standard error. */
enum rc ctl_carry_out(const struct conf *conf, const struct admin_request *request,
                      struct admin_answer *answer);

/* The same for one who is in the data folder already, by ctl_enter_data. */
enum rc ctl_carry_out_here(const struct conf *conf, const struct admin_request *request,
                           struct admin_answer *answer);

/* The same in another process, so that this one stays where it is and who it is. */
enum rc ctl_carry_out_aside(const struct conf *conf, const struct admin_request *request,
                            struct admin_answer *answer);
/* Connects to the server that uses the current folder. RC_NOTFOUND: there is none. */
enum rc ctl_connect(int *out_fd);
enum rc ctl_send(int fd, const struct admin_request *request);

/* --- import_passwd.c ---------------------------------------------------------------------------
 */

#define CTL_IMPORT_PASSWD_USAGE "passwd FILE [DOMAIN] [--replace] [--dry-run]"
int ctl_import_passwd(const struct conf *conf, const struct str *words, size_t n, bool is_json);

/* --- moving.c, stream.c: import and export ---------------------------------------------------- */

#define CTL_IMPORT_USAGE                                                                           \
    "maildir|mbox|archive|imap|pop3 SOURCE ADDRESS|@DOMAIN [--uidl FORM] [--folder NAME] "         \
    "[--login "                                                                                    \
    "LOGIN] [--tls implicit|starttls|none] [--password-stdin]"
#define CTL_EXPORT_USAGE "maildir|mbox|archive TARGET ADDRESS|@DOMAIN"
int ctl_import(const struct conf *conf, const struct str *words, size_t n, bool from_stdin);
int ctl_export(const struct conf *conf, const struct str *words, size_t n);

/* elsewhere.c: an account elsewhere as a source. */
enum { CTL_ELSEWHERE_WHY = 256, CTL_ELSEWHERE_NAME = 512 };
struct ctl_elsewhere {
    const struct conf *conf;
    bool is_imap;
    struct str login, tls, uidl;   /* as on the command line; absent: not given */
    struct fetch_place place;      /* the rest is ctl_elsewhere_read's, but for the password */
    char name[CTL_ELSEWHERE_NAME]; /* what origins are counted by */
};
bool ctl_elsewhere_read(struct str source, struct ctl_elsewhere *out); /* false: wrong usage */
/* Without transfer_finish. The cause of what is not the sink's is in `why`, or that is empty. */
enum rc ctl_pour_elsewhere(const struct ctl_elsewhere *from, struct transfer_sink *sink,
                           uint64_t *out_known, char why[CTL_ELSEWHERE_WHY]);

/* Requests that begin a stream of frames on the control socket, in whichever process has the store:
 * "transfer-into" ADDRESS SOURCE MESSAGE-SIZE, "transfer-from" ADDRESS. */
struct ctl_stream;
bool ctl_is_stream(const struct admin_request *request);
struct ctl_stream *ctl_stream_new(struct admin *admin, const struct admin_request *request);
/* What is to be sent; to be taken away. */
struct buf *ctl_stream_out(struct ctl_stream *stream);
/* Takes what has come, and makes more that is to be sent. Blocks. RC_AGAIN: nothing can be done
 * before more comes. RC_OK: call again when what there is has been sent. Otherwise: the end. */
enum rc ctl_stream_step(struct ctl_stream *stream, struct str in, size_t *out_used);
void ctl_stream_free(struct ctl_stream **stream); /* may block */

/* --- check.c ---------------------------------------------------------------------------------- */

int ctl_check(const struct conf *conf, const struct str *words, size_t n, bool is_json);

/* --- tree.c: files copied, counted and summed ------------------------------------------------- */

/* The files below a folder, with paths relative to it, in order. */
struct tree {
    char **path;
    uint64_t *size;
    size_t n, max;
    uint64_t bytes;
};
enum rc tree_list(int dir, struct tree *out); /* complains */
void tree_free(struct tree *tree);
/* Removes a folder and all below it; nothing there is no error. */
enum rc tree_remove(int parent, const char *name);

enum { TREE_SUM = 2 * 32 + 1, TREE_PATH = 512 };
struct tree_copy {
    int from, to; /* folders */
    const char *path;
    const char *as;     /* its path in `to`; NULL: the same */
    uint64_t size;      /* how much of the file counts */
    bool may_link;      /* its bytes up to size never change: a second name will do */
    char sum[TREE_SUM]; /* the result: SHA-256 in hexadecimal */
};
/* Makes the folders that path needs. RC_NOTFOUND: it is not there; RC_CORRUPT: it is too short;
 * complains of everything. */
enum rc tree_copy_file(struct tree_copy *c);

/* Gives a folder and all below it to a user and a group. Complains. */
enum rc tree_give(int dir, uid_t uid, gid_t gid);

/* "backup: 12 of 30 files, 40 %" on a terminal; nothing otherwise. */
struct progress {
    const char *what, *unit;
    uint64_t files, bytes, all_files, all_bytes;
    unsigned percent; /* shown last */
    bool is_shown;
};
void progress_begin(struct progress *p, const char *what, const char *unit, uint64_t files,
                    uint64_t bytes);
void progress_add(struct progress *p, uint64_t bytes);
void progress_move(struct progress *p, uint64_t bytes); /* within a file */
void progress_end(struct progress *p);

/* --- backup.c, restore.c ---------------------------------------------------------------------- */

#define BACKUP_MANIFEST "manifest" /* written last: without it there is no backup */
#define BACKUP_FIRST    "penfold-backup 1"
enum { BACKUP_MANIFEST_MAX = 256 << 20 };

int ctl_backup(const char *conf_path, const struct conf *conf, const char *dir);
int ctl_restore(const struct conf *conf, const char *dir);
/* As the data's owner, in another process: the one that calls stays what it is. */
enum rc ctl_carry_out_apart(const struct conf *conf, const char *word);

/* --- migrate.c -------------------------------------------------------------------------------- */

int ctl_migrate(const struct conf *conf, const struct str *words, size_t n);

/* --- seal.c ----------------------------------------------------------------------------------- */

void ctl_seal_text(const unsigned char public_half[CRYPTO_SEAL_KEY],
                   char out[2 * CRYPTO_SEAL_KEY + 1]);
int ctl_dkim_setup(const struct conf *conf, const struct str *words, size_t n);

/* --- records.c, dns.c: what a domain publishes ------------------------------------------------ */

enum { RECORDS_MAX = 64 };
enum record_kind {
    RECORD_MX,
    RECORD_V4,
    RECORD_V6,
    RECORD_SPF,
    RECORD_DKIM,
    RECORD_DMARC,
    RECORD_STS,
    RECORD_ALIAS,
    RECORD_TLSRPT,
    RECORD_TLSA,
    RECORD_SRV,
    RECORD_PTR,    /* of the host's addresses: printed by nobody, and looked for */
    RECORD_POLICY, /* of MTA-STS: not in DNS, but behind the name that is */
    RECORD_KINDS
};
const char *record_type(enum record_kind kind); /* "MX", "A", "TXT" */
struct record {
    enum record_kind kind;
    struct str name;  /* without the final dot */
    struct str value; /* of TXT: the text; otherwise as a zone file has it */
    const char *note; /* what to know of it; NULL: nothing */
};
struct records {
    struct arena arena;
    struct record item[RECORDS_MAX];
    size_t n;
    struct str sts_policy; /* [RFC8461 3.2] */
    struct str sts_url;    /* [RFC8461 3.3] */
};
/* keys: what `dkim list DOMAIN` answers; chain_pem: the host's certificate, or empty. End it with
 * records_fini in every case. */
enum rc ctl_records(const struct conf *conf, const char *domain, struct str chain_pem,
                    const struct admin_answer *keys, struct records *out);
void records_fini(struct records *records);
/* A file that the configuration names; empty when there is none, or none that this user may read.
 */
void ctl_read_file(const char *path, struct buf *out);
int ctl_dns(const struct conf *conf, const struct str *args, size_t n, bool is_json);

/* --- published.c, compare.c: and what DNS says of it ------------------------------------------ */

enum published { /* of one record */
                 PUBLISHED_OK,
                 PUBLISHED_MISSING,
                 PUBLISHED_DIFFERENT,
                 PUBLISHED_UNKNOWN, /* it cannot be asked for now */
                 PUBLISHED_UNNEEDED /* it is not there, and need not be */
};
/* What DNS has answered about a record: to one question, of an alias to two (AAAA, A). */
struct published_facts {
    const struct dns_query *answer[2];
    const struct dns_query *host[2]; /* AAAA and A of the host name */
    const char *hostname;
    bool has_own; /* one of those addresses is this machine's */
};
enum { PUBLISHED_FOUND = 600 };
/* Pure. What was found instead, or why nothing was, is put into `found`; empty: what was looked
 * for. */
enum published record_compare(const struct record *r, const struct published_facts *facts,
                              struct buf *found);
struct tlspol_query;
/* The same of the policy of MTA-STS, as tlspol has it: that it names this host is what counts. */
enum published policy_compare(const struct tlspol_query *q, const char *hostname,
                              struct buf *found);
enum dns_type record_question(enum record_kind kind, unsigned n); /* DNS_NOTHING: none */
/* `check --dns`: CTL_DONE when all is as it should be. */
int ctl_published(const struct conf *conf, bool is_json);

/* --- sendmail.c, sendmail_text.c: the sendmail command ---------------------------------------- */

struct sendmail {
    struct arena arena;
    struct str host, from; /* this host; who sends, when From says nothing */
    char full_name[256];
    bool takes_header; /* -t */
    bool has_from, is_null_sender;
    char **words; /* recipients on the command line */
    size_t n_words;
    char **recipients; /* all of them; malloc'd */
    size_t n_recipients;
};
bool ctl_is_sendmail(int argc, char **argv);
int ctl_sendmail(int argc, char **argv);                             /* a status of sysexits.h */
void sendmail_add_recipient(struct sendmail *m, struct str address); /* each once */
/* What stands between angle brackets, if there are some; without the spaces around it. */
struct str sendmail_path(struct str text);
/* Standard input, with CRLF at the ends of lines. RC_TEMP, RC_LIMIT. */
enum rc sendmail_read(FILE *in, bool dot_ends, struct buf *out);
/* Appends a list of addresses; those without a domain get this one. */
void sendmail_qualify(struct buf *out, struct str list, struct str host);
/* The message as it is handed over, and its recipients. RC_SYNTAX: addresses that cannot be read;
 * RC_LIMIT. */
enum rc sendmail_prepare(struct sendmail *m, struct str text, struct buf *out);

/* --- init.c ----------------------------------------------------------------------------------- */

int ctl_init(int argc, char **argv);

#endif
