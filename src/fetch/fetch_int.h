/* fetch, inside.
 *
 *   session.c     a connection: dialling, TLS, time, its one end       resolve.c  addresses
 *   login.c       what is said to log in                              line.c     lines, words, dots
 *   pop3.c        a POP3 session
 *   imap*.c       an IMAP session; imap_reply.c reads its answers
 *
 * All of a session belongs to the owner of its connection in the sense of net.h. Its steps run on
 * the short lane, where the owner may block. */
#ifndef FETCH_FETCH_INT_H
#define FETCH_FETCH_INT_H

#include "fetch/fetch.h"

#include "base/arena.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    FETCH_INPUT = 64 << 10,
    FETCH_LINE = 4096,  /* bytes of a line that is no part of a message */
    FETCH_WINDOW = 64,  /* messages asked for ahead */
    FETCH_PAGE = 500,   /* messages the owner is asked about at once */
    FETCH_REFUSED = 10, /* messages that may be refused before the host is given up */
    FETCH_UIDL = 128    /* bytes of a UIDL; 70 are allowed [RFC1939 7] */
};

/* --- line.c: pure ----------------------------------------------------------------------------- */

/* Takes a line without its end (CRLF, or LF alone). RC_AGAIN: it is not whole; RC_LIMIT: it is
 * longer than max. */
enum rc fetch_line(struct str *in, size_t max, struct str *out);

/* The text of a multi-line answer, byte by byte as it comes [RFC1939 3]: dots are taken away, and
 * lines get CRLF. */
struct fetch_dots {
    enum { DOTS_BEGIN, DOTS_LINE, DOTS_DOT, DOTS_DOT_CR, DOTS_CR, DOTS_END } at;
};
/* The next piece of it, a view of *in or of a constant. RC_OK: *out, which may be empty; RC_AGAIN:
 * all of *in has been looked at; RC_EOF: it is over, what follows is in *in. */
enum rc fetch_dots_next(struct fetch_dots *d, struct str *in, struct str *out);

/* "12 abc": RC_SYNTAX. */
enum rc fetch_pop3_listing(struct str line, uint32_t *out_number, struct str *out_rest);

enum pop3_capability {
    POP3_STLS = 1,
    POP3_UIDL = 2,
    POP3_PIPELINING = 4,
    POP3_PLAIN = 8,
    POP3_RESP_CODES = 16,
    POP3_AUTH_CODES = 32
};
unsigned fetch_pop3_capability(struct str line); /* a line of CAPA [RFC2449]; 0: another one */

/* What a refused login means: RC_DENIED: name or password are wrong; RC_TEMP: it may pass. */
enum rc fetch_pop3_refusal(struct str words, unsigned capabilities); /* behind "-ERR" [RFC3206] */

/* --- session.c -------------------------------------------------------------------------------- */

struct fetch_driver {
    const char *name;
    void *(*new_)(struct fetch_session *s);
    void (*free_)(struct fetch_session *s);
    enum net_step (*begin)(struct conn *c, struct fetch_session *s);  /* connected */
    enum net_step (*secure)(struct conn *c, struct fetch_session *s); /* in TLS, after STARTTLS */
    enum net_step (*input)(struct conn *c, struct fetch_session *s);  /* on a worker */
    /* Time is over. NET_ABORT: it counts as that. */
    enum net_step (*late)(struct conn *c, struct fetch_session *s);
};
extern const struct fetch_driver fetch_pop3, fetch_imap;

struct fetch_session {
    pthread_mutex_t mutex;
    bool has_handle, is_over;
    struct net_handle handle;
    atomic_bool is_stopping, is_again;

    struct fetch_house house;
    struct fetch_place place; /* its texts are in memory */
    struct fetch_limits limits;
    struct fetch_owner *owner;
    struct arena memory;
    struct net_addr addresses[FETCH_ADDRESSES];
    size_t n_addresses, at_address;

    const struct fetch_driver *driver;
    void *state;       /* the driver's */
    const char *doing; /* what is waited for, for causes */
    bool is_connected, has_failed;
    bool is_in_message; /* the owner has begun one */
    struct fetch_end end;
};

/* Ends the session; the first cause counts. Returns NET_ABORT. */
enum net_step fetch_session_fail(struct fetch_session *s, enum rc rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* With words of the host behind the text. */
enum net_step fetch_session_fail_words(struct fetch_session *s, enum rc rc, const char *text,
                                       struct str words);
/* What the owner has said: its cause is the owner's. */
enum net_step fetch_session_fail_owner(struct fetch_session *s, enum rc rc);
enum net_step fetch_session_done(struct conn *c, struct fetch_session *s, struct str farewell);
/* From now on so long is waited for something. */
void fetch_session_wait(struct conn *c, struct fetch_session *s, const char *what,
                        uint64_t more_ms);
/* Begins TLS after STARTTLS; NET_TLS. */
enum net_step fetch_session_tls(struct conn *c, struct fetch_session *s);
bool fetch_session_may_say_password(struct conn *c,
                                    struct fetch_session *s); /* false: it has failed */

/* --- login.c ---------------------------------------------------------------------------------- */

/* Whether it can be said in a command: what has an end of line in it would be two. */
bool fetch_login_is_line(struct str s);
/* Appends the base64 of a SASL PLAIN response [RFC4616 2]. */
enum rc fetch_login_plain(const struct fetch_place *place, struct buf *out);

#endif
