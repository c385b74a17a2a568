/* What smtpd's tests share: a whole server over kv_mem with alice and bob of example.test, and a
 * client over a socket pair. Not part of the library. */
#ifndef SMTPD_FIXTURE_H
#define SMTPD_FIXTURE_H

#include "smtpd/smtpd_int.h"

#include "base/test.h"

struct fixture {
    struct counters counters;
    struct ctx ctx;
    struct kv *kv;
    struct store *store;
    struct auth *auth;
    struct queue *queue;
    struct deliver *deliver;
    struct budget memory;
    struct task_lane *short_lane, *heavy_lane, *hash_lane;
    struct net *net;
    struct smtpd *smtpd;
    struct net_listener listeners[SMTPD_ROLES];
    enum smtpd_role role; /* of the connections to come */
    uint64_t alice, bob;
};

/* Starts with this configuration (its hostname, kv, auth, deliver and memory are filled in); NULL:
 * the defaults. */
void fixture_start(struct fixture *f, const struct smtpd_conf *conf);
/* What later connections are served as; before: SMTPD_MX. */
void fixture_role(struct fixture *f, enum smtpd_role role);
void fixture_stop(struct fixture *f); /* waits until all sessions have ended */
void fixture_quota(struct fixture *f, uint64_t account, uint64_t bytes);

int fixture_connect(struct fixture *f); /* the greeting has not been read yet */
int fixture_greeted(struct fixture *f); /* and EHLO has been answered */
int fixture_logged_in(struct fixture *f, const char *client); /* as alice, after EHLO with that */
int fixture_in_data(struct fixture *f); /* alice's message has been begun, 354 was said */

void say(int fd, struct str bytes);
void say_slowly(int fd, struct str bytes, size_t step); /* in pieces, each a write of its own */
/* Reads as many lines as the pattern has and compares; '*' stands for any text up to the next byte
 * of the pattern in that line. */
void hear(int fd, const char *pattern);
bool hear_matches(const char *text, const char *pattern);
void hear_reply(int fd, const char *code); /* one, with any text in any number of lines */
void hear_end(int fd);                     /* the server closes; so does this */

size_t fixture_count(struct fixture *f, uint64_t account);             /* messages in INBOX */
size_t fixture_count_unended(struct fixture *f, uint64_t account);     /* with STORE_UNENDED */
void fixture_await(struct fixture *f, uint64_t account, size_t count); /* until there are so many */
void fixture_read(struct fixture *f, uint64_t account, size_t index, struct buf *out);

/* The one item that is in the queue. */
void fixture_queued(struct fixture *f, struct arena *arena, struct queue_entry *out);

#endif
