/* The sandbox: what a process that reads bytes from outside can still do after they have taken it
 * over.
 *
 * Landlock leaves it the current folder and a few files to read, nothing else of the file system;
 * seccomp (through libseccomp, which is met in this file alone) a list of system calls. A call
 * outside the list fails with EPERM; those that only an attacker makes end the process. What the
 * list must hold is found by running the tests with the sandbox on.
 *
 * Builds with a sanitizer have no sandbox: their run-time libraries need what it forbids.
 */
#include "daemon/daemon_int.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#define SANITIZED 1
#elif defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum rc sandbox_become(uid_t uid, gid_t gid)
{
    if (geteuid() != 0)
        return geteuid() == uid ? RC_OK : RC_DENIED;
    if (uid == 0)
        return RC_OK; /* the operator asked for it: the configuration says user = "root" */
    if (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
        return RC_DENIED;
    return setuid(0) == 0 ? RC_DENIED : RC_OK; /* there must be no way back */
}

/* --- files ------------------------------------------------------------------------------------ */

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

enum { FS_OF_ABI_1 = (1 << 13) - 1, SOCK_TYPE = 0xf };

static uint64_t rights_of(long abi)
{
    uint64_t rights = FS_OF_ABI_1;
    if (abi >= 2)
        rights |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= 3)
        rights |= LANDLOCK_ACCESS_FS_TRUNCATE;
    return rights;
}

static const uint64_t folder_rights =
    LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
    LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
    LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REFER | LANDLOCK_ACCESS_FS_TRUNCATE;

/* What is not there needs no rule. */
static bool allow(int rules, const char *path, uint64_t rights)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = rights};
    rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
    if (rule.parent_fd < 0)
        return errno == ENOENT || errno == EACCES;
    long error = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(rule.parent_fd);
    return error == 0;
}

static bool confine_files(enum sandbox_role role, const char *const *readable)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1)
        return false;
    struct landlock_ruleset_attr attr = {.handled_access_fs = rights_of(abi)};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr.handled_access_fs, 0);
    if (rules < 0)
        return false;
    bool ok = role == SANDBOX_SIGNER || allow(rules, ".", folder_rights & attr.handled_access_fs);
    for (; ok && readable && *readable; readable++)
        ok = allow(rules, *readable, LANDLOCK_ACCESS_FS_READ_FILE);
    ok = ok && syscall(SYS_landlock_restrict_self, rules, 0) == 0;
    close(rules);
    return ok;
}

/* --- system calls ----------------------------------------------------------------------------- */

static const int for_both[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(close),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(mprotect),
    SCMP_SYS(madvise),
    SCMP_SYS(mlock),
    SCMP_SYS(brk),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigtimedwait),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(futex),
    SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getppid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(tgkill),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendto),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendmsg),
    SCMP_SYS(getrandom),
    SCMP_SYS(sched_yield),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(getrusage),
    SCMP_SYS(arch_prctl),
};

static const int for_server[] = {
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(preadv),
    SCMP_SYS(pwritev),
    SCMP_SYS(preadv2),
    SCMP_SYS(pwritev2),
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(close_range),
    SCMP_SYS(stat),
    SCMP_SYS(lstat),
    SCMP_SYS(statx),
    SCMP_SYS(statfs),
    SCMP_SYS(fstatfs),
    SCMP_SYS(lseek),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_setscheduler),
    SCMP_SYS(setpriority),
    SCMP_SYS(getpriority),
    SCMP_SYS(ioprio_set),
    SCMP_SYS(getcpu),
    SCMP_SYS(set_tid_address),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(eventfd2),
    SCMP_SYS(timerfd_create),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(select),
    SCMP_SYS(pselect6),
    SCMP_SYS(accept),
    SCMP_SYS(accept4),
    SCMP_SYS(shutdown),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(fcntl),
    SCMP_SYS(flock),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(sync_file_range),
    SCMP_SYS(fallocate),
    SCMP_SYS(ftruncate),
    SCMP_SYS(rename),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(link),
    SCMP_SYS(linkat),
    SCMP_SYS(mkdir),
    SCMP_SYS(mkdirat),
    SCMP_SYS(rmdir),
    SCMP_SYS(getdents64),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(getcwd),
    SCMP_SYS(umask),
    SCMP_SYS(uname),
    SCMP_SYS(sysinfo),
    SCMP_SYS(prlimit64),
    SCMP_SYS(membarrier),
    SCMP_SYS(mincore),
    SCMP_SYS(fadvise64),
    SCMP_SYS(copy_file_range),
    SCMP_SYS(sendfile),
    SCMP_SYS(times),
    SCMP_SYS(readahead),
    SCMP_SYS(utimensat),
    SCMP_SYS(pipe2),
};

/* Of the relay, of libunbound, libcurl and librados. Their sockets are looked at below. */
static const int for_connecting[] = {
    SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(epoll_create),
    SCMP_SYS(socketpair), /* by which libcurl is woken */
};
static const struct {
    int family, type;
} sockets[] = {
    {AF_INET, SOCK_STREAM}, {AF_INET6, SOCK_STREAM}, {AF_INET, SOCK_DGRAM}, /* DNS */
    {AF_INET6, SOCK_DGRAM}, {AF_UNIX, SOCK_STREAM},                         /* LMTP */
};

/* Nothing in Penfold makes these after the sandbox has closed. */
static const int deadly[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(bpf),
    SCMP_SYS(kexec_load),
    SCMP_SYS(init_module),
    SCMP_SYS(mount),
    SCMP_SYS(chroot),
    SCMP_SYS(setuid),
    SCMP_SYS(keyctl),
    SCMP_SYS(userfaultfd),
};

static int add_all(scmp_filter_ctx filter, uint32_t action, const int *calls, size_t n)
{
    int error = 0;
    for (size_t i = 0; i < n && error == 0; i++)
        error = seccomp_rule_add(filter, action, calls[i], 0);
    return error;
}

#define ADD_ALL(filter, action, calls) add_all(filter, action, calls, sizeof calls / sizeof *calls)

/* To other machines; not to listen there. */
static int add_connecting(scmp_filter_ctx filter)
{
    int error = ADD_ALL(filter, SCMP_ACT_ALLOW, for_connecting);
    for (size_t i = 0; i < sizeof sockets / sizeof *sockets && error == 0; i++)
        error =
            seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
                             SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)sockets[i].family, 0),
                             SCMP_A1(SCMP_CMP_MASKED_EQ, SOCK_TYPE, (scmp_datum_t)sockets[i].type));
    return error;
}

/* Threads, but no processes: clone3's flags cannot be looked at, so the C library is told to use
 * clone. */
static int add_server(scmp_filter_ctx filter)
{
    int error = ADD_ALL(filter, SCMP_ACT_ALLOW, for_server);
    if (error == 0)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                                 SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    return error;
}

static enum rc confine_calls(enum sandbox_role role)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!filter)
        return RC_PERM;
    int error = ADD_ALL(filter, SCMP_ACT_ALLOW, for_both);
    if (error == 0 && role != SANDBOX_SIGNER)
        error = add_server(filter);
    if (error == 0 && role == SANDBOX_CONNECTING_SERVER)
        error = add_connecting(filter);
    if (error == 0)
        error = ADD_ALL(filter, SCMP_ACT_KILL_PROCESS, deadly);
    if (error == 0)
        error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    if (error == 0)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
                                 SCMP_A0_64(SCMP_CMP_EQ, PR_SET_NAME, 0));
    if (error == 0)
        error = seccomp_load(filter);
    seccomp_release(filter);
    return error == 0 ? RC_OK : RC_PERM;
}

enum rc sandbox_enter(enum sandbox_role role, const char *const *readable, const char **out_why)
{
    const char *unused;
    const char **why = out_why ? out_why : &unused;
    *why = NULL;
    if (SANITIZED) {
        *why = "this build has a sanitizer";
        return RC_OK;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return RC_PERM;
    if (!confine_files(role, readable))
        *why = "this kernel has no Landlock";
    return confine_calls(role);
}
