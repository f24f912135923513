/* SPDX-License-Identifier: Apache-2.0 */
#include "base/confine.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int confine_die_with_parent(int parent_pid, int signal)
{
    if (prctl(PR_SET_PDEATHSIG, signal) < 0)
        return -errno;
    /* The parent may have ended between fork() and here; then no signal comes. */
    return getppid() == parent_pid ? 0 : -ESRCH;
}

void confine_adopt_orphans(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}

int confine_capabilities(const int *capabilities, size_t len, int inherit)
{
    capng_type_t type = CAPNG_EFFECTIVE | CAPNG_PERMITTED;
    capng_select_t select = CAPNG_SELECT_CAPS;
    uint64_t kept = 0;

    if (capng_get_caps_process() < 0)
        return -EPERM;
    /* A process without CAP_SETPCAP may not touch its bounding set; without privileges to begin with
     * there is nothing in it that a program could use, given no_new_privs below. */
    if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP))
        select = CAPNG_SELECT_BOTH;
    for (size_t i = 0; i < len; i++)
        if (capng_have_capability(CAPNG_PERMITTED, (unsigned)capabilities[i]))
            kept |= 1ull << capabilities[i];
    capng_clear(CAPNG_SELECT_ALL);
    if (inherit) {
        type |= CAPNG_INHERITABLE | CAPNG_AMBIENT;
        select |= CAPNG_SELECT_AMBIENT;
    }
    for (size_t i = 0; i < len; i++)
        if ((kept & 1ull << capabilities[i]) &&
            capng_update(CAPNG_ADD, type | CAPNG_BOUNDING_SET, (unsigned)capabilities[i]) < 0)
            return -EINVAL;
    if (capng_apply(select) < 0)
        return -EPERM;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

int confine_user(unsigned uid, unsigned gid, const int *capabilities, size_t len)
{
    capng_clear(CAPNG_SELECT_BOTH);
    for (size_t i = 0; i < len; i++)
        if (capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET,
                         (unsigned)capabilities[i]) < 0)
            return -EINVAL;
    if (capng_apply(CAPNG_SELECT_BOUNDS) < 0 ||
        capng_change_id((int)uid, (int)gid, CAPNG_DROP_SUPP_GRP) < 0)
        return -EPERM;
    return 0;
}

int confine_effective(bool on)
{
    if (capng_get_caps_process() < 0)
        return -EPERM;
    for (unsigned i = 0; i <= CAP_LAST_CAP; i++)
        if (capng_have_capability(CAPNG_PERMITTED, i) &&
            capng_update(on ? CAPNG_ADD : CAPNG_DROP, CAPNG_EFFECTIVE, i) < 0)
            return -EPERM;
    return capng_apply(CAPNG_SELECT_CAPS) < 0 ? -EPERM : 0;
}

/* @calls ends with NULL; some of them do not exist on every architecture. */
static int add_calls(scmp_filter_ctx filter, uint32_t action, const char *const *calls)
{
    int error = 0;

    for (; *calls && error == 0; calls++) {
        int number = seccomp_syscall_resolve_name(*calls);

        if (number != __NR_SCMP_ERROR)
            error = seccomp_rule_add(filter, action, number, 0);
        if (error == -EDOM)
            error = 0;
    }
    return error;
}

int confine_service_calls(bool namespaces, struct err *err)
{
    const char *const calls[] = {"acct",
                                 "add_key",
                                 "adjtimex",
                                 "chroot",
                                 "clock_adjtime",
                                 "clock_settime",
                                 "create_module",
                                 "delete_module",
                                 "finit_module",
                                 "fsconfig",
                                 "fsmount",
                                 "fsopen",
                                 "fspick",
                                 "init_module",
                                 "ioperm",
                                 "iopl",
                                 "kcmp",
                                 "kexec_file_load",
                                 "kexec_load",
                                 "keyctl",
                                 "lookup_dcookie",
                                 "mount",
                                 "mount_setattr",
                                 "move_mount",
                                 "move_pages",
                                 "nfsservctl",
                                 "open_by_handle_at",
                                 "open_tree",
                                 "perf_event_open",
                                 "pivot_root",
                                 "process_madvise",
                                 "process_vm_readv",
                                 "process_vm_writev",
#ifndef OPENVMNET_SANITIZED /* by which the leak sanitizer stops the other threads */
                                 "ptrace",
#endif
                                 "quotactl",
                                 "quotactl_fd",
                                 "reboot",
                                 "request_key",
                                 "setdomainname",
                                 "sethostname",
                                 "settimeofday",
                                 "swapoff",
                                 "swapon",
                                 "syslog",
                                 "umount2",
                                 "userfaultfd",
                                 "vhangup",
                                 namespaces ? NULL : "bpf",
                                 "unshare",
                                 NULL};
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int error = filter ? add_calls(filter, SCMP_ACT_ERRNO(EPERM), calls) : -ENOMEM;

    if (error == 0)
        error = seccomp_load(filter); /* which sets no_new_privs */
    seccomp_release(filter);
    if (error < 0)
        return err_set(err, error, "cannot restrict system calls (seccomp): %s", strerror(-error));
    return 0;
}

#define LANDLOCK_READ                                                                              \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define LANDLOCK_WRITE                                                                             \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                               \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |  \
     LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SOCK | \
     LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM)
#define LANDLOCK_OF_A_FILE                                                                         \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE)

static int landlock_allow(int ruleset_fd, const char *const *paths, uint64_t access)
{
    for (; *paths; paths++) {
        struct landlock_path_beneath_attr beneath = {.allowed_access = access};
        struct stat status;
        long result;

        if (!**paths)
            continue;
        beneath.parent_fd = open(*paths, O_PATH | O_CLOEXEC);
        if (beneath.parent_fd < 0)
            continue;
        if (fstat(beneath.parent_fd, &status) == 0 && !S_ISDIR(status.st_mode))
            beneath.allowed_access &= LANDLOCK_OF_A_FILE;
        result =
            syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0);
        close(beneath.parent_fd);
        if (result < 0)
            return -errno;
    }
    return 0;
}

#ifdef OPENVMNET_SANITIZED
/* Where the tests want a sanitizer's reports, and the program, which its symbolizer reads. */
static int landlock_allow_sanitizer(int ruleset_fd)
{
    const char *reports = getenv("OPENVMNET_REPORTS");
    const char *const readable[] = {"/proc/self/exe", NULL};
    const char *const writable[] = {reports ? reports : "", NULL};
    int error = landlock_allow(ruleset_fd, readable, LANDLOCK_READ);

    return error ? error : landlock_allow(ruleset_fd, writable, LANDLOCK_READ | LANDLOCK_WRITE);
}
#else
static int landlock_allow_sanitizer(int ruleset_fd)
{
    return 0;
}
#endif

int confine_files(const char *const *readable, const char *const *writable)
{
    struct landlock_ruleset_attr attr = {.handled_access_fs = LANDLOCK_READ | LANDLOCK_WRITE};
    int ruleset_fd, error;

    ruleset_fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    if (ruleset_fd < 0)
        return errno == ENOSYS ? -EOPNOTSUPP : -errno;
    error = landlock_allow(ruleset_fd, readable, LANDLOCK_READ);
    if (error == 0)
        error = landlock_allow(ruleset_fd, writable, LANDLOCK_READ | LANDLOCK_WRITE);
    if (error == 0)
        error = landlock_allow_sanitizer(ruleset_fd);
    if (error == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        error = -errno;
    if (error == 0 && syscall(SYS_landlock_restrict_self, ruleset_fd, 0) < 0)
        error = -errno;
    close(ruleset_fd);
    return error;
}

int confine_engine_calls(struct err *err)
{
    /* clang-format off */
    static const char *const calls[] = {
        /* sockets and packets */
        "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "ioctl", "listen",
        "read", "readv", "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto",
        "setsockopt", "shutdown", "socket", "socketpair", "splice", "pipe2", "write", "writev",
        /* the event loop and threads */
        "clock_gettime", "clock_nanosleep", "clone3", "clone", "epoll_create1", "epoll_ctl",
        "epoll_pwait", "epoll_wait", "eventfd2", "futex", "gettid", "gettimeofday", "poll", "ppoll",
        "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_getaffinity",
        "sched_yield", "set_robust_list", "restart_syscall",
        /* memory */
        "brk", "madvise", "mmap", "mprotect", "mremap", "munmap", "sysinfo",
        /* files: the resolver's configuration and the network's state */
        "access", "close", "close_range", "dup", "dup2", "dup3", "faccessat", "faccessat2", "fcntl",
        "fstat", "fstatfs", "fsync", "ftruncate", "getdents64", "lseek", "memfd_create", "mkdir", "mkdirat",
        "newfstatat", "open", "openat", "pread64", "readlink", "readlinkat", "rename", "renameat",
        "renameat2", "rmdir", "stat", "lstat", "statx", "unlink", "unlinkat", "umask",
        "inotify_add_watch", "inotify_init1", "inotify_rm_watch",
        /* itself */
        "exit", "exit_group", "getegid", "geteuid", "getgid", "getpid", "getppid", "getrandom",
        "getrlimit", "getrusage", "getuid", "kill", "prctl", "prlimit64", "tgkill", "uname",
        /* sanitizers */
        "sigaltstack", "personality", NULL,
    };
    /* clang-format on */
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    int error;

    if (!filter)
        return err_set(err, -ENOMEM, "seccomp: out of memory");
    error = add_calls(filter, SCMP_ACT_ALLOW, calls);
    if (error == 0)
        error = seccomp_load(filter);
    seccomp_release(filter);
    if (error < 0)
        return err_set(err, error, "cannot restrict the engine's system calls (seccomp): %s",
                       strerror(-error));
    return 0;
}
