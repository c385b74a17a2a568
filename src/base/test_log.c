#include "base/log.h"
#include "base/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static size_t read_all(int fd, char *out, size_t size)
{
    size_t n = 0;
    ssize_t got;
    while ((got = read(fd, out + n, size - 1 - n)) > 0)
        n += (size_t)got;
    out[n] = '\0';
    return n;
}

static void a_line_cannot_be_forged(void **state)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    struct clock_fixed f;
    clock_fixed_init(&f, 0, UINT64_C(1795255200) * NS_PER_SEC);
    struct log *log = log_new(fds[1], LOG_INFO, &f.clock);
    struct log_line l;
    log_begin(&l, log, LOG_INFO, "refused");
    log_str(&l, "from", STR("x\nevent=ok a=\"b\""));
    log_u64(&l, "n", 42);
    log_end(&l);
    log_event(log, LOG_DEBUG, "not-shown", NULL);
    log_free(&log);
    close(fds[1]);
    char text[2048];
    read_all(fds[0], text, sizeof text);
    close(fds[0]);
    assert_string_equal(text, "time=2026-11-21T10:00:00.000Z level=info event=refused "
                              "from=\"x\\x0aevent=ok a=\\\"b\\\"\" n=42\n");
}

static void long_values_are_cut(void **state)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    struct log *log = log_new(fds[1], LOG_INFO, &clock_system);
    char big[3000];
    memset(big, 'a', sizeof big);
    struct log_line l;
    log_begin(&l, log, LOG_INFO, "x");
    log_str(&l, "big", str_from(big, sizeof big));
    log_end(&l);
    log_free(&log);
    close(fds[1]);
    char text[4096];
    size_t n = read_all(fds[0], text, sizeof text);
    close(fds[0]);
    assert_true(n <= 1025);
    assert_non_null(strstr(text, "cut=yes\n"));
}

static void *log_many(void *arg)
{
    for (int i = 0; i < 5000; i++)
        log_event(arg, LOG_INFO, "tick", "who", "thread", NULL);
    return NULL;
}

/* Nobody reads the pipe for a while: the loggers go on, and the lost lines are told. */
struct heard {
    int fd;
    size_t total, kept; /* kept: the end of what was read last, for a word cut in two */
    bool told;
    char bytes[65536];
};

static bool hear(struct heard *h)
{
    ssize_t n = read(h->fd, h->bytes + h->kept, sizeof h->bytes - h->kept);
    if (n <= 0)
        return false;
    h->total += (size_t)n;
    size_t have = h->kept + (size_t)n;
    h->told |= memmem(h->bytes, have, "log-lines-dropped", 17) != NULL;
    h->kept = have < 16 ? have : 16;
    memmove(h->bytes, h->bytes + have - h->kept, h->kept);
    return true;
}

static void a_full_ring_drops_and_tells(void **state)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    struct log *log = log_new(fds[1], LOG_INFO, &clock_system);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, log_many, log);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    struct heard heard = {.fd = fds[0]};
    while (heard.total < 800000)
        hear(&heard);
    log_event(log, LOG_INFO, "after", NULL);
    pthread_t freer;
    pthread_create(&freer, NULL, log_many, log);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 100000 && !heard.told; i++) {
        if (!hear(&heard)) {
            log_event(log, LOG_INFO, "after",
                      NULL); /* losses are told with the next line that fits */
            usleep(1000);
        }
    }
    fcntl(fds[0], F_SETFL, 0);
    assert_true(heard.told);
    close(fds[0]); /* what is left meets EPIPE and is let go */
    pthread_join(freer, NULL);
    log_free(&log);
    close(fds[1]);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_cannot_be_forged),
        cmocka_unit_test(long_values_are_cut),
        cmocka_unit_test(a_full_ring_drops_and_tells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
