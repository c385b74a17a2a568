/* sd_notify's protocol [systemd sd_notify(3)]: a datagram of NAME=VALUE lines to the socket that
 * the environment names. Twenty lines instead of a library that brings many more with it. */
#include "daemon/daemon_int.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (!path || strlen(path) >= sizeof to.sun_path)
        return;
    strcpy(to.sun_path, path);
    socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (to.sun_path[0] == '@')
        to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to,
           n); /* nobody there: nothing to tell */
    close(fd);
}

/* Type=notify-reload wants to know when it began, by the clock that it shares with us. */
void notify_reloading(void)
{
    char text[64];
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu",
             (unsigned long long)(clock_mono(&clock_system) / 1000));
    notify(text);
}

uint64_t notify_watchdog(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    uint64_t value = 0, meant = 0;
    if (!usec || str_to_u64(str_of(usec), &value) != RC_OK)
        return 0;
    if (pid && (str_to_u64(str_of(pid), &meant) != RC_OK || meant != (uint64_t)getpid()))
        return 0;
    return value * 1000 / 2; /* twice as often as it must come */
}
