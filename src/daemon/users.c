/* The users of this machine, for mail that they hand in: read before the sandbox closes, since it
 * takes files. Who was added since is known by the number alone until the next start. */
#include "daemon/daemon_int.h"

#include "base/mem.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>

enum { USERS_MAX = 10000, NAME_MAX_BYTES = 64 };

/* A name that is the local part of an address as it is. */
static bool is_plain(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < n; i++)
        if (!ascii_is_alpha(name[i]) && !ascii_is_digit(name[i]) && name[i] != '-' &&
            name[i] != '_')
            return false;
    return n > 0 && n <= NAME_MAX_BYTES;
}

void users_read(struct users *out)
{
    *out = (struct users){0};
    setpwent();
    for (struct passwd *p; out->n < USERS_MAX && (p = getpwent());) {
        if (!is_plain(p->pw_name))
            continue;
        out->item = mem_grow(out->item, (out->n + 1) * sizeof *out->item);
        out->item[out->n++] =
            (struct smtpd_user){.uid = p->pw_uid, .name = mem_dup(p->pw_name, strlen(p->pw_name))};
    }
    endpwent();
}

void users_fini(struct users *users)
{
    for (size_t i = 0; i < users->n; i++)
        free((void *)(uintptr_t)users->item[i].name);
    free(users->item);
    *users = (struct users){0};
}

struct smtpd_user *users_with_trust(const struct users *users, const struct conf_list *trusted)
{
    struct smtpd_user *all = mem_alloc((users->n + 1) * sizeof *all);
    for (size_t i = 0; i < users->n; i++) {
        all[i] = users->item[i];
        for (size_t k = 0; k < trusted->n; k++)
            all[i].is_trusted |= strcmp(all[i].name, trusted->item[k]) == 0;
    }
    return all;
}
