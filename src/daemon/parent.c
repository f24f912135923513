/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/parent.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/confine.h"
#include "base/log.h"
#include "base/process.h"
#include "daemon/channel.h"
#include "daemon/engine.h"
#include "daemon/rights.h"
#include "daemon/router.h"
#include "uplink/uplink.h"

#define START_TIMEOUT_MS 10000
#define START_LOOK_MS 20 /* between two looks whether a starting child still lives */
#define STOP_TIMEOUT_MS 2000
/* A child that ends more often than this has a fault that starting it again does not mend. */
#define RESTARTS_MAX 20
#define RESTARTS_WINDOW_MS 10000

enum role {
    ROLE_ROUTER,
    ROLE_ENGINE,
    ROLES
};
static const char *const role_names[] = {"router", "engine"};

struct parent {
    const struct net_config *config;
    int control_fd, stream_fd, private_fd;
    int raw_fd[2];
    bool has_handles;
    struct plane_handles handles;
    int channel[ROLES][2];           /* [0] is ours, [1] the child's */
    int middle[2];                   /* [0] is the engine's, [1] the router's */
    int sockets[NET_WORKERS_MAX][2]; /* of each worker; the same */
    pid_t pid[ROLES];
    unsigned restarts;
    uint64_t window_start_ms;
    sigset_t signals;
};

/* A child keeps only what is its own: each descriptor is open where it is used, and nowhere else. */
static void close_foreign(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void close_foreign_channels(struct parent *parent, enum role role)
{
    close_foreign(parent->middle[role == ROLE_ROUTER ? 0 : 1]);
    for (int i = 0; i < NET_WORKERS_MAX; i++)
        close_foreign(parent->sockets[i][role == ROLE_ROUTER ? 0 : 1]);
    for (int other = 0; other < ROLES; other++)
        for (int end = 0; end < 2; end++)
            if (other != (int)role || end == 0)
                close_foreign(parent->channel[other][end]);
}

#ifdef OPENVMNET_SANITIZED
/* Not in a sanitizer that knows nothing of leaks. */
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

/* What exit(3) does by itself and _exit(2) does not; but the exit code is to stay what it is. */
static void look_for_leaks(void)
{
    if (__lsan_do_recoverable_leak_check)
        __lsan_do_recoverable_leak_check();
}
#else
static void look_for_leaks(void)
{
}
#endif

static void __attribute__((noreturn))
run_child(struct parent *parent, enum role role, pid_t parent_pid)
{
    int code;

    close_foreign_channels(parent, role);
    close_foreign(parent->private_fd);
    if (role == ROLE_ROUTER) {
        if (parent->config->system)
            confine_effective(true); /* the parent that starts it anew has them not in effect */
        struct router_args args = {
            .config = parent->config,
            .handles = parent->has_handles ? &parent->handles : NULL,
            .parent_pid = parent_pid,
            .parent_fd = parent->channel[ROLE_ROUTER][1],
            .engine_fd = parent->middle[1],
        };

        for (int i = 0; i < NET_WORKERS_MAX; i++)
            args.sockets_fd[i] = parent->sockets[i][1];

        process_set_name("vmnetd:router");
        log_init("vmnetd router", false);
        close_foreign(parent->control_fd);
        close_foreign(parent->stream_fd);
        close_foreign(parent->raw_fd[0]);
        close_foreign(parent->raw_fd[1]);
        for (int i = PLANE_ROUTER_HANDLES; i < PLANE_HANDLES && parent->has_handles; i++)
            close_foreign(parent->handles.fd[i]);
        code = router_main(&args);
        if (code == 0)
            look_for_leaks();
        _exit(code);
    } else {
        struct engine_args args = {
            .config = parent->config,
            .parent_pid = parent_pid,
            .router_pid = parent->pid[ROLE_ROUTER],
            .parent_fd = parent->channel[ROLE_ENGINE][1],
            .router_fd = parent->middle[0],
            .control_fd = parent->control_fd,
            .stream_fd = parent->stream_fd,
            .raw4_fd = parent->raw_fd[0],
            .raw6_fd = parent->raw_fd[1],
        };

        for (int i = 0; i < NET_WORKERS_MAX; i++)
            args.sockets_fd[i] = parent->sockets[i][0];

        process_set_name("vmnetd:engine");
        log_init("vmnetd engine", false);
        /* It is given them: the first engine is older than they are. */
        for (int i = 0; i < PLANE_HANDLES && parent->has_handles; i++)
            close_foreign(parent->handles.fd[i]);
        code = engine_main(&args);
        if (code == ENGINE_EXIT_ENDED)
            look_for_leaks();
        _exit(code);
    }
}

/* Waits for a child's word. Takes the plane's handles from a router that made the network. */
static int wait_ready(struct parent *parent, enum role role, struct err *err)
{
    struct pollfd poll_fd = {.fd = parent->channel[role][0], .events = POLLIN};
    uint64_t deadline_ms = clock_now_ms() + START_TIMEOUT_MS;
    int fds[PLANE_HANDLES], result;
    struct message message;
    unsigned fds_len = 0;

    /* Both ends of the channel are open here, so that a child's end says nothing by itself. */
    while (poll(&poll_fd, 1, START_LOOK_MS) <= 0) {
        if (waitpid(parent->pid[role], NULL, WNOHANG) == parent->pid[role]) {
            parent->pid[role] = 0;
            err_set(err, -EIO, "the network's %s process ended as it started", role_names[role]);
            /* Its last word may have come since. */
            if (poll(&poll_fd, 1, 0) <= 0)
                return -EIO;
            break;
        }
        if (clock_now_ms() >= deadline_ms)
            return err_set(err, -ETIMEDOUT, "the network's %s process did not start within %d s",
                           role_names[role], START_TIMEOUT_MS / 1000);
    }
    result = channel_receive(poll_fd.fd, &message, fds, PLANE_HANDLES, &fds_len);
    if (result < 0)
        return err_set(err, result, "the network's %s process: %s", role_names[role],
                       strerror(-result));
    if (message.type != MESSAGE_READY) {
        err_set(err, message.result, "%s", message.err.text);
        result = message.result < 0 ? message.result : -EIO;
    } else if (!parent->pid[role]) {
        result = -EIO;
    }
    if (result < 0) {
        while (fds_len)
            close(fds[--fds_len]);
        return result;
    }
    if (role != ROLE_ROUTER || parent->has_handles)
        return 0;
    channel_take_handles(&message, fds, fds_len, &parent->handles);
    parent->has_handles = true;
    return 0;
}

/* What a child said that was given up is not the next one's word, nor what it was told the next one's. */
static void forget_words(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    int fds[PLANE_HANDLES];
    struct message message;
    unsigned fds_len = 0;

    while (poll(&poll_fd, 1, 0) > 0 &&
           channel_receive(fd, &message, fds, PLANE_HANDLES, &fds_len) == 0)
        while (fds_len)
            close(fds[--fds_len]);
}

static int fork_child(struct parent *parent, enum role role, struct err *err)
{
    pid_t parent_pid = getpid(), pid;

    for (int end = 0; end < 2; end++)
        forget_words(parent->channel[role][end]);
    pid = fork();
    if (pid < 0)
        return err_set(err, -errno, "cannot start the %s process: %s", role_names[role],
                       strerror(errno));
    if (pid == 0)
        run_child(parent, role, parent_pid);
    parent->pid[role] = pid;
    return 0;
}

static void kill_child(struct parent *parent, enum role role)
{
    if (parent->pid[role] <= 0)
        return;
    kill(parent->pid[role], SIGKILL);
    waitpid(parent->pid[role], NULL, 0);
    parent->pid[role] = 0;
}

/* Gives the engine its handles, and waits until it has begun. */
static int await_child(struct parent *parent, enum role role, struct err *err)
{
    struct message message = {.type = MESSAGE_HANDLES};
    int fds[PLANE_HANDLES], result = 0;
    unsigned fds_len;

    if (role == ROLE_ENGINE) {
        fds_len = channel_put_handles(&parent->handles, &message, fds);
        result = channel_send(parent->channel[role][0], &message, fds, fds_len);
    }
    if (result < 0)
        err_set(err, result, "the network's %s process: %s", role_names[role], strerror(-result));
    else
        result = wait_ready(parent, role, err);
    if (result < 0)
        kill_child(parent, role);
    return result;
}

static int restart_child(struct parent *parent, enum role role, struct err *err)
{
    int result = fork_child(parent, role, err);

    return result < 0 ? result : await_child(parent, role, err);
}

/* Waits until a child may have ended: at worst one pause too long. */
static void wait_for_children(void)
{
    struct timespec pause = {.tv_nsec = 5000000};
    sigset_t child;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigtimedwait(&child, NULL, &pause);
}

static bool has_ended(pid_t pid, uint64_t deadline_ms)
{
    while (waitpid(pid, NULL, WNOHANG) == 0) {
        if (clock_now_ms() >= deadline_ms)
            return false;
        wait_for_children();
    }
    return true;
}

static void stop_child(struct parent *parent, enum role role)
{
    pid_t pid = parent->pid[role];

    if (pid <= 0)
        return;
    kill(pid, SIGTERM);
    if (!has_ended(pid, clock_now_ms() + STOP_TIMEOUT_MS)) {
        log_warn("the %s process does not end and is killed", role_names[role]);
        kill_child(parent, role);
    }
    parent->pid[role] = 0;
}

static void parent_stop(struct parent *parent)
{
    uint64_t deadline_ms = clock_now_ms() + STOP_TIMEOUT_MS;

    stop_child(parent, ROLE_ENGINE);
    stop_child(parent, ROLE_ROUTER);
    /* What a router left behind is ours now (confine_adopt_orphans()) and is ending by itself. */
    while (clock_now_ms() < deadline_ms) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);

        if (pid < 0)
            break;
        if (pid == 0)
            wait_for_children();
    }
}

static void parent_free(struct parent *parent)
{
    for (int role = 0; role < ROLES; role++)
        for (int i = 0; i < 2; i++)
            if (parent->channel[role][i] >= 0)
                close(parent->channel[role][i]);
    for (int i = 0; i < 2; i++) {
        if (parent->middle[i] >= 0)
            close(parent->middle[i]);
        if (parent->raw_fd[i] >= 0)
            close(parent->raw_fd[i]);
        for (int worker = 0; worker < NET_WORKERS_MAX; worker++)
            if (parent->sockets[worker][i] >= 0)
                close(parent->sockets[worker][i]);
    }
    for (int i = 0; i < PLANE_HANDLES && parent->has_handles; i++)
        if (parent->handles.fd[i] >= 0)
            close(parent->handles.fd[i]);
    free(parent);
}

static int parent_open(struct parent *parent)
{
    int *pairs[3 + NET_WORKERS_MAX] = {parent->channel[ROLE_ROUTER], parent->channel[ROLE_ENGINE],
                                       parent->middle};
    unsigned len = 3;

    for (unsigned i = 0; i < parent->config->workers; i++)
        pairs[len++] = parent->sockets[i];
    for (unsigned i = 0; i < len; i++)
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pairs[i]) < 0)
            return -errno;
    sigemptyset(&parent->signals);
    sigaddset(&parent->signals, SIGCHLD);
    sigaddset(&parent->signals, SIGTERM);
    sigaddset(&parent->signals, SIGINT);
    sigaddset(&parent->signals, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &parent->signals, NULL) < 0)
        return -errno;
    signal(SIGPIPE, SIG_IGN);
    confine_adopt_orphans();
    if (parent->config->system)
        return 0;
    /* Where root starts the network, guests' echo requests can be sent in any case. */
    parent->raw_fd[0] = uplink_open_raw(AF_INET);
    parent->raw_fd[1] = uplink_open_raw(AF_INET6);
    return 0;
}

/*
 * Beside the router, which has most to do, what the services read is written and the engine begins: one after the
 * other, for where there are two processors the router keeps one.
 */
static int start_children(struct parent *parent, struct err *err)
{
    int result = fork_child(parent, ROLE_ROUTER, err);

    if (result == 0)
        result = plane_prepare(parent->config, err);
    if (result == 0)
        result = fork_child(parent, ROLE_ENGINE, err);
    if (result == 0)
        result = await_child(parent, ROLE_ROUTER, err);
    if (result == 0)
        result = await_child(parent, ROLE_ENGINE, err);
    /* An engine without handles knows no signal but this. */
    if (result < 0)
        kill_child(parent, ROLE_ENGINE);
    return result;
}

int parent_start(const struct net_config *config, const struct parent_sockets *sockets,
                 int private_fd, struct parent **ret_parent, struct err *err)
{
    struct parent *parent = calloc(1, sizeof(*parent));
    int result;

    if (!parent)
        return err_set(err, -ENOMEM, "out of memory");
    parent->config = config;
    parent->control_fd = sockets->control_fd;
    parent->stream_fd = sockets->stream_fd;
    parent->private_fd = private_fd;
    memset(parent->channel, -1, sizeof(parent->channel));
    memset(parent->middle, -1, sizeof(parent->middle));
    memset(parent->sockets, -1, sizeof(parent->sockets));
    memset(parent->raw_fd, -1, sizeof(parent->raw_fd));
    result = parent_open(parent);
    if (result < 0)
        err_set(err, result, "cannot start the network's processes: %s", strerror(-result));
    if (result == 0 && config->system)
        result = rights_take(config, err);
    if (result == 0)
        result = start_children(parent, err);
    if (result == 0 && config->system && confine_effective(false) < 0)
        log_warn("the parent process keeps its capabilities");
    if (result < 0) {
        parent_stop(parent);
        parent_free(parent);
        return result;
    }
    parent->private_fd = -1; /* from here on the caller may have closed it */
    *ret_parent = parent;
    return 0;
}

/* True where one more start is not too many. */
static bool may_restart(struct parent *parent)
{
    uint64_t now_ms = clock_now_ms();

    if (now_ms - parent->window_start_ms >= RESTARTS_WINDOW_MS) {
        parent->window_start_ms = now_ms;
        parent->restarts = 0;
    }
    return ++parent->restarts <= RESTARTS_MAX;
}

/* Collects ended children. False where the network is over; then *ret_code is the exit code. */
static bool parent_reap(struct parent *parent, int *ret_code)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        enum role role = pid == parent->pid[ROLE_ENGINE] ? ROLE_ENGINE : ROLE_ROUTER;
        struct err err;
        int result;

        if (pid != parent->pid[role])
            continue; /* an orphan */
        parent->pid[role] = 0;
        if (role == ROLE_ENGINE && WIFEXITED(status) && WEXITSTATUS(status) == ENGINE_EXIT_ENDED) {
            *ret_code = 0;
            return false;
        }
        log_warn("the %s process ended (%s %d); starting it again", role_names[role],
                 WIFSIGNALED(status) ? "signal" : "status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        *ret_code = 1;
        do {
            if (!may_restart(parent)) {
                log_error("the %s process ended %d times within %d s; the network ends",
                          role_names[role], RESTARTS_MAX, RESTARTS_WINDOW_MS / 1000);
                return false;
            }
            err.text[0] = '\0';
            result = restart_child(parent, role, &err);
            if (result < 0)
                log_error("%s", err.text);
        } while (result < 0);
    }
    return true;
}

int parent_run(struct parent *parent)
{
    int code = 0, signal;

    do {
        signal = sigwaitinfo(&parent->signals, NULL);
    } while ((signal < 0 && errno == EINTR) || signal == SIGHUP ||
             (signal == SIGCHLD && parent_reap(parent, &code)));
    parent_stop(parent);
    parent_free(parent);
    return code;
}
