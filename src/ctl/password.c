/* Passwords from a terminal or standard input. */
#include "ctl/ctl_int.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

/* One line without its end. RC_EOF: there was none; RC_LIMIT: too long; RC_SYNTAX: a NUL, which
 * would end it in the wrong place; RC_TEMP: not readable. */
static enum rc read_line(int fd, char *to, size_t size)
{
    size_t n = 0;
    for (;;) {
        char c;
        ssize_t got = read(fd, &c, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return RC_TEMP;
        if (got == 0 || c == '\n')
            break;
        if (c == '\0')
            return RC_SYNTAX;
        if (n + 1 >= size)
            return RC_LIMIT;
        to[n++] = c;
    }
    if (n && to[n - 1] == '\r')
        n--;
    to[n] = '\0';
    return n ? RC_OK : RC_EOF;
}

/* What would end the process while the terminal is silent comes here instead; ^Z waits. */
static int catch_signals(sigset_t *out_caught, sigset_t *out_before)
{
    static const int ending[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP};
    sigset_t blocked;
    sigemptyset(out_caught);
    for (size_t i = 0; i < sizeof ending / sizeof *ending; i++)
        sigaddset(out_caught, ending[i]);
    blocked = *out_caught;
    sigaddset(&blocked, SIGTSTP);
    sigprocmask(SIG_BLOCK, &blocked, out_before);
    return signalfd(-1, out_caught, SFD_CLOEXEC);
}

/* True: there is something to read. False: a signal has come. */
static bool wait_for_input(int signals)
{
    struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                           {.fd = signals, .events = POLLIN}};
    while (poll(fds, 2, -1) < 0 && errno == EINTR)
        ;
    return !fds[1].revents;
}

/* The terminal hands over whole lines, so one wait is enough. */
static enum rc ask(const char *prompt, char *to, size_t size)
{
    struct termios before, silent;
    sigset_t caught, mask;
    if (tcgetattr(STDIN_FILENO, &before) != 0)
        return RC_TEMP;
    silent = before;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    int signals = catch_signals(&caught, &mask);
    enum rc rc = RC_TEMP;
    if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) == 0) {
        fputs(prompt, stderr); /* only now: what is typed earlier is thrown away */
        if (wait_for_input(signals))
            rc = read_line(STDIN_FILENO, to, size);
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        fputc('\n', stderr);
    }
    if (signals >= 0)
        close(signals);
    sigprocmask(SIG_SETMASK, &mask, NULL); /* a signal that has come ends the process here */
    return rc;
}

enum rc ctl_read_password(bool from_stdin, char *to, size_t size)
{
    char again[AUTH_PASSWORD_MAX + 2];
    enum rc rc;
    if (from_stdin || !isatty(STDIN_FILENO)) {
        if (!from_stdin) {
            fprintf(stderr,
                    "penfold: password: standard input is no terminal: use --password-stdin\n");
            return RC_SYNTAX;
        }
        rc = read_line(STDIN_FILENO, to, size);
    } else {
        rc = ask("New password: ", to, size);
        if (rc == RC_OK)
            rc = ask("Again: ", again, sizeof again);
        if (rc == RC_OK && strcmp(to, again) != 0) {
            fprintf(stderr, "penfold: password: the two are different\n");
            rc = RC_PERM;
        }
        explicit_bzero(again, sizeof again);
        if (rc == RC_PERM)
            return rc;
    }
    if (rc != RC_OK)
        fprintf(stderr, "penfold: password: %s\n",
                rc == RC_EOF      ? "it is empty"
                : rc == RC_LIMIT  ? "it is too long"
                : rc == RC_SYNTAX ? "it has a NUL byte in it"
                                  : "cannot be read");
    return rc == RC_SYNTAX ? RC_PERM : rc;
}

const char *ctl_weak_password(struct str password)
{
    bool has_letter = false, has_other = false;
    for (size_t i = 0; i < password.n; i++) {
        has_letter |= ascii_is_alpha(password.p[i]);
        has_other |= !ascii_is_alpha(password.p[i]);
    }
    if (password.n < 8)
        return "it has fewer than 8 characters";
    if (password.n < 12 && !(has_letter && has_other))
        return "it is short and of one kind of characters";
    return NULL;
}
