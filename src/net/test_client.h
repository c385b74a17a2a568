/* What the tests of protocols share: a client that talks to a session over a socket pair. Not part
 * of any library. */
#ifndef NET_TEST_CLIENT_H
#define NET_TEST_CLIENT_H

#include "net/net.h"

#include "base/mem.h"
#include "base/test.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENT_PATIENCE_MS = 60000 }; /* only a failing test waits so long */

static inline int client_open(struct net *net, const struct net_listener *as)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_rc(net_adopt(net, fds[0], as), RC_OK);
    return fds[1];
}

static inline void client_send(int fd, struct str text)
{
    while (text.n) {
        ssize_t n = send(fd, text.p, text.n, MSG_NOSIGNAL);
        if (n < 0 && errno == EPIPE)
            return; /* closed already: what comes from there is still to be looked at */
        assert_true(n > 0);
        text = str_skip(text, (size_t)n);
    }
}

/* Up to n bytes; fewer only at the end of the stream. */
static inline size_t client_read(int fd, char *to, size_t n)
{
    size_t got = 0;
    while (got < n) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, CLIENT_PATIENCE_MS), 1);
        ssize_t r = recv(fd, to + got, n - got, 0);
        if (r < 0 && errno == ECONNRESET)
            r = 0;
        assert_true(r >= 0);
        if (!r)
            break;
        got += (size_t)r;
    }
    return got;
}

static inline void client_expect(int fd, struct str expected)
{
    char *got = mem_alloc(expected.n + 1);
    size_t n = client_read(fd, got, expected.n);
    if (n != expected.n || memcmp(got, expected.p, n))
        fail_msg("expected \"%.*s\", got \"%.*s\"", (int)(expected.n < 500 ? expected.n : 500),
                 expected.p, (int)(n < 500 ? n : 500), got);
    free(got);
}

static inline void client_expect_end(int fd)
{
    char c;
    assert_int_equal(client_read(fd, &c, 1), 0);
    close(fd);
}

enum { CLIENT_LINE = 8192 };

/* Reads a line with its CRLF, of up to `size` bytes. */
static inline struct str client_line(int fd, char *line, size_t size)
{
    size_t n = 0;
    do {
        assert_true(n < size);
        assert_int_equal(client_read(fd, line + n, 1), 1);
        n++;
    } while (line[n - 1] != '\n');
    return str_from(line, n);
}

static inline void client_expect_line(int fd, struct str beginning)
{
    char line[CLIENT_LINE];
    struct str got = client_line(fd, line, sizeof line);
    if (!str_starts(got, beginning))
        fail_msg("expected a line that begins with \"%.*s\", got \"%.*s\"", STR_ARG(beginning),
                 STR_ARG(got));
}

/* Untagged lines, up to the one that is expected. */
static inline void client_until(int fd, struct str beginning)
{
    char line[CLIENT_LINE];
    while (!str_starts(client_line(fd, line, sizeof line), beginning))
        assert_true(line[0] == '*');
}

/* A whole dialogue: lines that begin with "C: " are sent, `at_once` bytes at a time, with "S: "
 * expected, with "P: " expected as the beginning of a line; the first two get CRLF. */
static inline void client_talk(int fd, const char *script, size_t at_once)
{
    struct str rest = str_of(script), line;
    while (str_cut(&rest, '\n', &line)) {
        struct buf text = {.cap = 1 << 20};
        if (!line.n)
            continue;
        buf_put(&text, str_skip(line, 3));
        if (line.p[0] == 'P') {
            client_expect_line(fd, buf_str(&text));
            buf_fini(&text);
            continue;
        }
        buf_put(&text, STR("\r\n"));
        struct str bytes = buf_str(&text);
        if (line.p[0] == 'S')
            client_expect(fd, bytes);
        for (size_t at = 0; line.p[0] == 'C' && at < bytes.n; at += at_once)
            client_send(fd, str_sub(bytes, at, at_once));
        buf_fini(&text);
    }
}

/* The session is gone on the server as well. */
static inline void client_close(struct net *net, int fd)
{
    size_t before = net_count(net);
    close(fd);
    while (net_count(net) >= before)
        usleep(1000);
}

#endif
