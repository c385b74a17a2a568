/* https: documents of other hosts over HTTPS, as a client; libcurl is met in this folder alone.
 *
 * A struct https belongs to one thread, the caller's, which spends its time in https_run(); nothing
 * here makes threads. A request is the caller's memory: https_add() hands it over, done() hands it
 * back, exactly once, from inside https_run() or https_free().
 *
 * No name is looked up and no file is opened here: the caller says which addresses the host has,
 * and which authorities count. No redirects, no proxy, no cookies, no connection that is used
 * again; nothing but a certificate that holds for the host, TLS 1.2 or later. Bounded in time and
 * size, and in number by https_run().
 */
#ifndef HTTPS_HTTPS_H
#define HTTPS_HTTPS_H

#include "base/buf.h"
#include "base/list.h"

struct https;

enum https_end {
    HTTPS_ANSWERED,  /* there is a status, and a body of any kind */
    HTTPS_UNTRUSTED, /* the certificate is not good */
    HTTPS_FAILED,    /* no connection, no answer in time, too much of it, or not HTTP */
    HTTPS_DROPPED    /* by https_free */
};
enum { HTTPS_WHY = 256 };

struct https_get {
    /* The caller's, set before https_add and there until done(); the rest is zeroed. */
    void (*done)(struct https_get *g); /* may free it, and may add others */
    const char *url;                   /* "https://..." */
    const char *addresses; /* "HOST:PORT:IP,[IP]": where the host is. NULL: the URL has an address
                              in the place of a name */
    const struct str *ca_pem; /* authorities, read when it begins; empty: no certificate is good */
    size_t max;               /* bytes of the body, and of the header: more is HTTPS_FAILED */
    uint64_t ms;              /* for all of it */
    bool may_be_plain;        /* http:// too: for hosts of this machine */

    /* The result: in done() alone. */
    enum https_end end;
    long status;     /* with HTTPS_ANSWERED, as the next two */
    struct str type; /* the media type, as it came and without parameters; absent: none */
    struct str body; /* as it came */
    const char *why; /* otherwise: the cause */

    struct https_request *request; /* https's, as the next */
    struct list link;
};

/* RC_TEMP with the cause in `why`. */
enum rc https_new(struct https **out, char why[256]);
void https_free(struct https **https); /* requests are dropped */
void https_add(struct https *https, struct https_get *g);
/* Begins what waits, up to so many at once; takes what the network brings; waits for it so long, or
 * until https_wake(). */
void https_run(struct https *https, unsigned at_once, int ms);
void https_wake(struct https *https); /* from any thread */

#endif
