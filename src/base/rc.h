/* Result codes: the one enum that every fallible function of Penfold returns.
 *
 * Temporary and permanent failures are never mixed: RC_TEMP and RC_FULL pass with time, RC_PERM
 * does not. Each protocol has exactly one table that turns these into wire text.
 */
#ifndef BASE_RC_H
#define BASE_RC_H

/* clang checks that no result is ignored; gcc 12 knows this attribute only on functions. */
#ifdef __clang__
#define MUST_USE __attribute__((warn_unused_result))
#else
#define MUST_USE
#endif

enum MUST_USE rc {
    RC_OK = 0,
    RC_AGAIN,    /* would block, or more input is needed; nothing has changed */
    RC_EOF,      /* the end of a stream or an iteration */
    RC_LIMIT,    /* a configured limit was reached; the request is refused whole */
    RC_SYNTAX,   /* the bytes are not of the required form */
    RC_NOTFOUND, /* there is no such thing */
    RC_EXISTS,   /* there is one already */
    RC_CONFLICT, /* somebody else changed or holds it */
    RC_DENIED,   /* not allowed to this caller */
    RC_TEMP,     /* failed for now: trying again later can help */
    RC_FULL,     /* failed for now: no space left */
    RC_PERM,     /* failed for good: trying again cannot help */
    RC_CORRUPT,  /* stored data is damaged */
    RC_COUNT
};

/* A short name for logs ("ok", "again", ...); never NULL. */
const char *rc_name(enum rc rc);

/* What an errno value means: ENOENT is RC_NOTFOUND, ENOSPC and EDQUOT RC_FULL, EACCES RC_DENIED,
 * EAGAIN RC_AGAIN, EIO and all that may pass RC_TEMP, 0 RC_OK. The one place where errno is
 * classified. */
enum rc rc_from_errno(int error);

/* Leaves the function with the result when it is not RC_OK. Only where nothing but arena memory is
 * held. */
#define TRY(expression)                                                                            \
    do {                                                                                           \
        enum rc try_rc_ = (expression);                                                            \
        if (try_rc_ != RC_OK)                                                                      \
            return try_rc_;                                                                        \
    } while (0)

#endif
