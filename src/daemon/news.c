/* Messages between supervisor and server, over a SOCK_SEQPACKET pair that no other process has. */
#include "daemon/daemon_int.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
};

enum rc news_send(int socket, int fd, const char *format, ...)
{
    char text[NEWS_TEXT];
    union control control = {0};
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (n < 0 || n >= NEWS_TEXT)
        return RC_LIMIT;
    struct iovec bytes = {.iov_base = text, .iov_len = (size_t)n};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == n ? RC_OK : RC_TEMP;
}

enum rc news_receive(int socket, struct news *out)
{
    union control control;
    struct iovec bytes = {.iov_base = out->text, .iov_len = NEWS_TEXT - 1};
    struct msghdr message = {.msg_iov = &bytes,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    out->fd = -1;
    ssize_t n = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return n < 0 && errno == EAGAIN ? RC_AGAIN : RC_EOF;
    out->text[n] = '\0';
    const struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof out->fd))
        memcpy(&out->fd, CMSG_DATA(c), sizeof out->fd);
    if (!(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        return RC_OK;
    if (out->fd >= 0)
        close(out->fd);
    out->fd = -1;
    return RC_SYNTAX;
}
