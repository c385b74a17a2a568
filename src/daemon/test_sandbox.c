/* What the sandbox forbids is tried in a child that has entered it; the same is tried outside
 * first, where it must work. */
#include "daemon/daemon_int.h"

#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int open_outside(void)
{
    int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? 0 : errno;
}

static int open_named(void)
{
    int fd = open("/etc/hostname", O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? 0 : errno;
}

static int open_inside(void)
{
    int fd = open("inside", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, "x", 1) != 1 || rename("inside", "other") != 0 || unlink("other") != 0)
        return errno;
    return 0;
}

static int run_program(void)
{
    execl("/bin/true", "true", (char *)NULL);
    return errno;
}

static int trace_parent(void)
{
    return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) == 0 ? 0 : errno;
}

/* A connection that is refused has been made as far as the sandbox goes. */
static int connect_out(void)
{
    const struct sockaddr_in nobody = {
        .sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int error = connect(fd, (const struct sockaddr *)&nobody, sizeof nobody) == 0 ? 0 : errno;
    close(fd);
    return error == ECONNREFUSED ? 0 : error;
}

static int listen_out(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any) != 0)
        return errno;
    return listen(fd, 1) == 0 ? 0 : errno;
}

static int make_datagrams(void)
{
    return socket(AF_INET, SOCK_DGRAM, 0) >= 0 ? 0 : errno;
}

static int make_local_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0) >= 0 ? 0 : errno;
}

static int make_process(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid > 0 ? 0 : errno;
}

static void *nothing(void *arg)
{
    return arg;
}

static int make_thread(void)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, nothing, NULL);
    if (error == 0)
        pthread_join(thread, NULL);
    return error;
}

enum outcome { WORKS, FAILS, KILLED };

/* Runs `attempt` in a child in a folder of its own: the exit status is its errno, or 0 when it
 * worked. */
static enum outcome try_it(int (*attempt)(void), bool sandboxed, enum sandbox_role role)
{
    const char *const readable[] = {role == SANDBOX_CONNECTING_SERVER ? "/etc/hostname" : NULL,
                                    NULL};
    char folder[] = "/tmp/penfold-sandbox-XXXXXX";
    assert_non_null(mkdtemp(folder));
    pid_t pid = fork();
    if (pid == 0) {
        if (chdir(folder) != 0 || (sandboxed && sandbox_enter(role, readable, NULL) != RC_OK))
            _exit(120);
        _exit(attempt());
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    rmdir(folder);
    if (WIFSIGNALED(status))
        return KILLED;
    assert_int_not_equal(WEXITSTATUS(status), 120);
    return WEXITSTATUS(status) == 0 ? WORKS : FAILS;
}

static void only_what_is_needed_works_inside(void **state)
{
    const struct {
        const char *what;
        int (*attempt)(void);
        enum outcome server, connecting, signer;
    } cases[] = {
        {"open inside", open_inside, WORKS, WORKS, FAILS},
        {"open outside", open_outside, FAILS, FAILS, FAILS},
        {"open what is named", open_named, FAILS, WORKS, FAILS},
        {"thread", make_thread, WORKS, WORKS, FAILS},
        {"connect", connect_out, FAILS, WORKS, FAILS},
        {"listen", listen_out, FAILS, FAILS, FAILS},
        {"datagrams", make_datagrams, FAILS, WORKS, FAILS},
        {"local socket", make_local_socket, FAILS, WORKS, FAILS},
        {"exec", run_program, KILLED, KILLED, KILLED},
        {"ptrace", trace_parent, KILLED, KILLED, KILLED},
        {"process", make_process, FAILS, FAILS, FAILS},
    };
    const char *why;
    pid_t pid = fork();
    if (pid == 0)
        _exit(sandbox_enter(SANDBOX_SERVER, NULL, &why) != RC_OK || why != NULL);
    int status;
    waitpid(pid, &status, 0);
    if (status != 0) {
        print_message("no sandbox here: a sanitizer, or a kernel without Landlock\n");
        skip();
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("%s\n", cases[i].what);
        if (cases[i].attempt != trace_parent)
            assert_int_equal(try_it(cases[i].attempt, false, SANDBOX_SERVER), WORKS);
        assert_int_equal(try_it(cases[i].attempt, true, SANDBOX_SERVER), cases[i].server);
        assert_int_equal(try_it(cases[i].attempt, true, SANDBOX_CONNECTING_SERVER),
                         cases[i].connecting);
        assert_int_equal(try_it(cases[i].attempt, true, SANDBOX_SIGNER), cases[i].signer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(only_what_is_needed_works_inside)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
