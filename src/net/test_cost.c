/* What a connection costs: memory while it is idle, processor time for a round trip. The clients
 * are in a process of their own, so that only the server's part is measured. Printed; the bounds
 * that are checked are far from the figures and hold in every build but under a sanitizer, which
 * has its own memory. */
#include "net/test_echo.h"

#include "crypto/crypto.h"

#include <malloc.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#define IS_SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define IS_SANITIZED 0
#endif

enum { IDLE = 2000, IDLE_TLS = 500, BUSY = 64, ROUNDS = IS_SANITIZED ? 20 : 500 };

/* --- the clients' process */

struct order {
    char what; /* 'i'dle, 's'ecure and idle, 'e'cho */
    int n, port;
};

static void must(bool is_so, const char *what)
{
    if (!is_so) {
        perror(what);
        _exit(1);
    }
}

static void read_line(int fd, SSL *ssl)
{
    char c = 0;
    while (c != '\n')
        must((ssl ? SSL_read(ssl, &c, 1) : recv(fd, &c, 1, 0)) == 1, "greeting");
}

static void echo_rounds(const int *fds, int n)
{
    int epoll = epoll_create1(0);
    long left = (long)n * ROUNDS;
    for (int i = 0; i < n; i++) {
        struct epoll_event e = {EPOLLIN, {.fd = fds[i]}};
        must(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &e) == 0, "epoll");
        must(send(fds[i], "NOOP\n", 5, 0) == 5, "send");
    }
    while (left > 0) {
        struct epoll_event events[BUSY];
        char line[64];
        int ready = epoll_wait(epoll, events, BUSY, 10000);
        must(ready > 0, "answers");
        for (int i = 0; i < ready; i++) {
            must(recv(events[i].data.fd, line, sizeof line, 0) == 5, "answer");
            left--;
            must(send(events[i].data.fd, "NOOP\n", 5, 0) == 5, "send");
        }
    }
    close(epoll);
}

/* Obeys orders, says "." when one is done, and leaves its connections open until the next. */
static void client_main(int control)
{
    static int fds[IDLE];
    static SSL *ssl[IDLE];
    struct order o;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    while (read(control, &o, sizeof o) == sizeof o) {
        for (int i = 0; i < o.n; i++) {
            fds[i] = dial(o.port);
            ssl[i] = o.what == 's' ? SSL_new(ctx) : NULL;
            if (ssl[i]) {
                SSL_set_fd(ssl[i], fds[i]);
                must(SSL_connect(ssl[i]) == 1, "handshake");
            }
            read_line(fds[i], ssl[i]);
        }
        must(write(control, ".", 1) == 1, "control");
        if (o.what == 'e')
            must(read(control, &o.what, 1) == 1, "control");
        if (o.what == 'g') {
            echo_rounds(fds, o.n);
            must(write(control, ".", 1) == 1, "control");
        }
        char next;
        must(recv(control, &next, 1, MSG_PEEK) >= 0, "control");
        for (int i = 0; i < o.n; i++) {
            SSL_free(ssl[i]);
            close(fds[i]);
        }
    }
    SSL_CTX_free(ctx);
    _exit(0);
}

struct clients {
    pid_t pid;
    int control;
};

static void clients_start(struct clients *c)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    c->pid = fork();
    if (c->pid == 0) {
        close(fds[0]);
        client_main(fds[1]);
    }
    close(fds[1]);
    c->control = fds[0];
}

static void clients_wait(struct clients *c)
{
    char done;
    assert_int_equal(read(c->control, &done, 1), 1);
}

static void clients_order(struct clients *c, char what, int n, int port)
{
    const struct order o = {what, n, port};
    assert_int_equal(write(c->control, &o, sizeof o), sizeof o);
    clients_wait(c);
}

static void clients_end(struct clients *c)
{
    int status;
    close(c->control);
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    assert_int_equal(status, 0);
}

/* --- figures */

static size_t memory(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static void measure_idle(char what, int n, size_t most)
{
    struct fixture f = {0};
    struct clients clients;
    char why[256];
    clients_start(&clients);
    struct buf cert, key;
    buf_init(&cert, 8192);
    buf_init(&key, 8192);
    assert_rc(crypto_selfsign(&STR("mail.example.test"), 1, 30, &cert, &key), RC_OK);
    assert_rc(net_tls_new(buf_str(&cert), buf_str(&key), NULL, &f.listener.tls, why), RC_OK);
    f.listener.is_tls = what == 's';
    start(&f, (struct net_limits){.per_address = IDLE + 100, .connections = IDLE + 100});
    clients_order(&clients, what, 10, f.port); /* what is made once is made now */
    size_t before = memory();
    clients_order(&clients, what, n, f.port);
    size_t each = (memory() - before) / (size_t)n;
    clients_end(&clients);
    stop(&f);
    net_tls_free(&f.listener.tls);
    buf_fini(&cert);
    buf_fini(&key);
    if (!IS_SANITIZED) {
        printf("%d idle connections, %s: %zu bytes each\n", n, what == 's' ? "TLS 1.3" : "plain",
               each);
        assert_in_range(each, 100, most);
    }
}

static void idle_connections_are_small(void **state)
{
    measure_idle('i', IDLE, 2000);
    measure_idle('s', IDLE_TLS, 30000);
}

static double cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return 1e6 * (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void round_trips_are_cheap(void **state)
{
    struct fixture f = {0};
    struct clients clients;
    clients_start(&clients);
    start(&f, (struct net_limits){.per_address = BUSY});
    clients_order(&clients, 'e', BUSY, f.port);
    double before = cpu_us();
    assert_int_equal(write(clients.control, "g", 1), 1);
    clients_wait(&clients);
    double each = (cpu_us() - before) / (BUSY * (double)ROUNDS);
    clients_end(&clients);
    stop(&f);
    if (!IS_SANITIZED) {
        printf("%d connections: %.2f us of processor time a round trip\n", BUSY, each);
        assert_true(each < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_connections_are_small),
        cmocka_unit_test(round_trips_are_cheap),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
