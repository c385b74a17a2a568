/* Result codes: their names, and the one classifier of errno. */
#include "base/rc.h"

#include <errno.h>
#include <stddef.h>

static const char *const names[RC_COUNT] = {
    [RC_OK] = "ok",           [RC_AGAIN] = "again",       [RC_EOF] = "eof",
    [RC_LIMIT] = "limit",     [RC_SYNTAX] = "syntax",     [RC_NOTFOUND] = "notfound",
    [RC_EXISTS] = "exists",   [RC_CONFLICT] = "conflict", [RC_DENIED] = "denied",
    [RC_TEMP] = "temp",       [RC_FULL] = "full",         [RC_PERM] = "perm",
    [RC_CORRUPT] = "corrupt",
};

const char *rc_name(enum rc rc)
{
    if ((unsigned)rc >= RC_COUNT)
        return "unknown";
    return names[rc];
}

static const struct {
    int error;
    enum rc rc;
} classes[] = {
    {0, RC_OK},         {ENOENT, RC_NOTFOUND}, {EEXIST, RC_EXISTS},   {ENOSPC, RC_FULL},
    {EDQUOT, RC_FULL},  {EACCES, RC_DENIED},   {EPERM, RC_DENIED},    {EROFS, RC_DENIED},
    {EAGAIN, RC_AGAIN}, {EINTR, RC_AGAIN},     {EINVAL, RC_PERM},     {ENAMETOOLONG, RC_PERM},
    {ENOTDIR, RC_PERM}, {EISDIR, RC_PERM},     {EFBIG, RC_LIMIT},     {EMFILE, RC_LIMIT},
    {ENFILE, RC_LIMIT}, {ELOOP, RC_PERM},      {EBADMSG, RC_CORRUPT}, {EADDRINUSE, RC_CONFLICT},
};

enum rc rc_from_errno(int error)
{
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (classes[i].error == error)
            return classes[i].rc;
    return RC_TEMP;
}
