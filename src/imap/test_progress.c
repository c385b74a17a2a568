/* INPROGRESS [RFC9585]: what a command that takes long says meanwhile. */
#include "imap/test_home.h"

#include <stdio.h>
#include <string.h>

enum { MANY = 3 * STORE_BATCH };

/* Every word that was due: those of a command count up to less than their goal. */
static unsigned words(int fd, const char *tag, const char *end, size_t goal)
{
    char line[CLIENT_LINE], begin[64], rest[64];
    size_t last = 0;
    unsigned n = 0;
    snprintf(begin, sizeof begin, "* OK [INPROGRESS (%s ", tag);
    snprintf(rest, sizeof rest, " %zu)] still working\r\n", goal);
    for (;;) {
        struct str got = client_line(fd, line, sizeof line);
        size_t done = 0;
        if (str_starts(got, str_of(end)))
            return n;
        if (!str_starts(got, str_of(begin)))
            continue;
        for (got = str_skip(got, strlen(begin)); got.n && *got.p >= '0' && *got.p <= '9';
             got = str_skip(got, 1))
            done = done * 10 + (size_t)(*got.p - '0');
        assert_true(done >= last);
        if (done < goal)
            assert_true(str_eq(got, str_of(rest)));
        else
            assert_true(str_eq(got, STR(" NIL)] still working\r\n")));
        last = done;
        n++;
    }
}

static void say(int fd, const char *command)
{
    client_send(fd, str_of(command));
}

static void commands_in_parts_tell_of_each(void **state)
{
    struct home h;
    home_make(&h);
    h.conf.progress_ms = 1;
    home_start(&h);
    home_deliver_many(&h, h.alice, STR("Subject: one\r\n\r\nbody\r\n"), MANY);
    int fd = client_select(&h, "SELECT");
    client_talk(fd, "C: l CAPABILITY\nP: * CAPABILITY IMAP4rev1 \nP: l OK \n", 1 << 20);
    say(fd, "a STORE 1:* +FLAGS.SILENT (\\Seen)\r\n");
    words(fd, "\"a\"", "a OK ", MANY);
    say(fd, "b] COPY 1:* INBOX\r\n"); /* a tag that cannot be told */
    words(fd, "NIL", "b] OK ", MANY);
    client_close(h.net, fd);
    home_end(&h);
}

/* Written by hand, as whether a millisecond has passed is not ours to say. */
static enum net_step step(struct conn *c, unsigned events)
{
    struct imap_session s = {.tag_n = 3, .tag = "a]b"};
    if (!(events & NET_EV_OPEN))
        return NET_CLOSE;
    imap_put_progress(c, &s, 0, 7);
    s.tag[1] = '"' + 1;
    imap_put_progress(c, &s, 6, 7);
    imap_put_progress(c, &s, 7, 7);
    return NET_CLOSE;
}

static void closed(struct conn *c)
{
}

/* [RFC9585 4, 5] */
static void what_it_looks_like(void **state)
{
    static const struct net_proto proto = {.name = "words",
                                           .input_max = 4096,
                                           .output_high = 4096,
                                           .busy = "",
                                           .step = step,
                                           .close = closed};
    struct net_listener as = {.proto = &proto};
    struct home h;
    home_make(&h);
    home_start(&h);
    int fd = client_open(h.net, &as);
    client_expect(fd, STR("* OK [INPROGRESS (NIL 0 7)] still working\r\n"
                          "* OK [INPROGRESS (\"a#b\" 6 7)] still working\r\n"
                          "* OK [INPROGRESS (\"a#b\" 7 NIL)] still working\r\n"));
    client_expect_end(fd);
    home_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_in_parts_tell_of_each),
        cmocka_unit_test(what_it_looks_like),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
