/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmnetd goes to the background by itself and tells through a pipe how it went, so its first process
 * is a child of this program for a moment only.
 *
 * The program may be anybody's (libopenvmnet): its signals and descriptors stay as they are, and the
 * daemon gets neither its descriptors nor the signals that it has blocked or ignored.
 */
#include "client/start.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/descriptor.h"
#include "base/paths.h"
#include "base/process.h"
#include "client/client.h"

#define READY_FD 3
#define ARGUMENTS_MAX (64 + 2 * NET_DHCP_HOSTS_MAX)

extern char **environ;

/* The command line, and the texts in it that are made here. */
struct command {
    const char *arguments[ARGUMENTS_MAX];
    int len;
    char start[IP_TEXT_MAX], end[IP_TEXT_MAX], mask[IP_TEXT_MAX], prefix6[IP_TEXT_MAX], mtu[16];
    char workers[16], host_ports[PORT_SET_TEXT_MAX], switches[NET_SWITCHES][20];
    char range[NET_RANGE_TEXT_MAX], dhcp_hosts[NET_DHCP_HOSTS_MAX][NET_DHCP_HOST_TEXT_MAX];
    char host_ip[IP_TEXT_MAX], host_mask[IP_TEXT_MAX], host_ipv6[IP_TEXT_MAX];
};

/*
 * vmnetd lies beside the running program, or is found as programs are. A program that only uses the
 * library has it where it was installed.
 */
static int find_daemon(char path[NET_PATH_MAX], struct err *err)
{
    char *slash;

    process_path(path);
    slash = strrchr(path, '/');
    if (slash && (size_t)(slash - path) + sizeof("/vmnetd") <= NET_PATH_MAX) {
        memcpy(slash, "/vmnetd", sizeof("/vmnetd"));
        if (access(path, X_OK) == 0)
            return 0;
    }
    if (path_find_program("vmnetd", path) == 0)
        return 0;
    if (access(OPENVMNET_BINDIR "/vmnetd", X_OK) == 0) {
        snprintf(path, NET_PATH_MAX, "%s", OPENVMNET_BINDIR "/vmnetd");
        return 0;
    }
    return err_set(err, -ENOENT,
                   "vmnetd: not found beside this program, in PATH or in " OPENVMNET_BINDIR
                   "; is openvmnet installed as a whole?");
}

/* Reads what the daemon tells: "ok" and a warning or nothing, or a negative errno and the reason. */
static int read_ready(int fd, struct err *warning, struct err *err)
{
    uint64_t deadline_ms = clock_now_ms() + CLIENT_TIMEOUT_MS;
    char text[ERR_TEXT_MAX + 16] = "";
    size_t len = 0;

    while (!memchr(text, '\n', len) && len < sizeof(text) - 1) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        uint64_t now_ms = clock_now_ms();
        ssize_t got;

        if (now_ms >= deadline_ms)
            return err_set(err, -ETIMEDOUT, "vmnetd did not start the network within %d s",
                           CLIENT_TIMEOUT_MS / 1000);
        if (poll(&poll_fd, 1, (int)(deadline_ms - now_ms)) <= 0)
            continue;
        got = read(fd, text + len, sizeof(text) - 1 - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return err_set(err, -EIO,
                           "vmnetd ended without a word; run it in the foreground to see "
                           "why: vmnetd NET");
        len += (size_t)got;
    }
    text[len] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (strncmp(text, "ok ", 3) == 0)
        return err_set(warning, 0, "%s", text + 3);

    char *reason;
    long code = strtol(text, &reason, 10);

    return err_set(err, code < 0 ? (int)code : -EIO, "%s", *reason == ' ' ? reason + 1 : reason);
}

static void add_option(struct command *command, const char *option, const char *value)
{
    command->arguments[command->len++] = option;
    command->arguments[command->len++] = value;
}

static void make_command(const struct net_spec *spec, bool lasting, struct command *ret_command)
{
    *ret_command = (struct command){.arguments = {"vmnetd", "--background"}, .len = 2};
    if (lasting)
        ret_command->arguments[ret_command->len++] = "--lasting";
    if (spec->mode_given)
        add_option(ret_command, "--mode", net_mode_name(spec->mode));
    if (spec->start_address.family) {
        add_option(ret_command, "--start-address",
                   ip_format(&spec->start_address, ret_command->start));
        add_option(ret_command, "--end-address", ip_format(&spec->end_address, ret_command->end));
        add_option(ret_command, "--subnet-mask", ip_format(&spec->subnet_mask, ret_command->mask));
    }
    if (spec->nat66_prefix.family)
        add_option(ret_command, "--nat66-prefix",
                   ip_format(&spec->nat66_prefix, ret_command->prefix6));
    if (spec->net_uuid[0])
        add_option(ret_command, "--net-uuid", spec->net_uuid);
    if (spec->ifname[0])
        add_option(ret_command, "--ifname", spec->ifname);
    if (spec->host_ip_address.family) {
        add_option(ret_command, "--host-ip-address",
                   ip_format(&spec->host_ip_address, ret_command->host_ip));
        add_option(ret_command, "--host-subnet-mask",
                   ip_format(&spec->host_subnet_mask, ret_command->host_mask));
    }
    if (spec->host_ipv6_address.family)
        add_option(ret_command, "--host-ipv6-address",
                   ip_format(&spec->host_ipv6_address, ret_command->host_ipv6));
    if (spec->range_first.family)
        add_option(ret_command, "--dhcp-range", net_spec_format_range(spec, ret_command->range));
    for (unsigned i = 0; i < spec->dhcp_hosts_len; i++)
        add_option(ret_command, "--dhcp-host",
                   net_dhcp_host_format(&spec->dhcp_hosts[i], ret_command->dhcp_hosts[i]));
    if (spec->mtu) {
        snprintf(ret_command->mtu, sizeof(ret_command->mtu), "%u", spec->mtu);
        add_option(ret_command, "--mtu", ret_command->mtu);
    }
    if (spec->workers) {
        snprintf(ret_command->workers, sizeof(ret_command->workers), "%u", spec->workers);
        add_option(ret_command, "--workers", ret_command->workers);
    }
    for (enum net_switch which = 0; which < NET_SWITCHES; which++) {
        snprintf(ret_command->switches[which], sizeof(ret_command->switches[which]), "--%s",
                 net_switch_option(which));
        if (spec->switches[which] != NET_NOT_GIVEN)
            add_option(ret_command, ret_command->switches[which],
                       net_spec_is_on(spec, which) ? "on" : "off");
    }
    if (spec->host_ports.given)
        add_option(ret_command, "--host-ports",
                   port_set_format(&spec->host_ports, ret_command->host_ports));
    add_option(ret_command, "--", spec->name);
}

/* 0, or -errno of the program itself. */
static int spawn(const char *program, const struct command *command, int ready_fd, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int result;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ready_fd, READY_FD);
    result = -posix_spawn(ret_pid, program, &actions, &attributes,
                          (char *const *)command->arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return result;
}

/* Starts it, and waits for its word. */
static int run(const struct command *command, struct err *warning, struct err *err)
{
    char program[NET_PATH_MAX];
    int pipe_fd[2], result = find_daemon(program, err);
    pid_t pid;

    if (result < 0)
        return result;
    result = descriptor_pipe(false, pipe_fd);
    if (result < 0)
        return err_set(err, result, "cannot open a pipe: %s", strerror(-result));
    result = spawn(program, command, pipe_fd[1], &pid);
    close(pipe_fd[1]);
    if (result < 0) {
        err_set(err, result, "%s: %s", program, strerror(-result));
    } else {
        result = read_ready(pipe_fd[0], warning, err);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    close(pipe_fd[0]);
    return result;
}

int start_daemon(const struct net_spec *spec, bool lasting, struct err *warning, struct err *err)
{
    struct command command;

    make_command(spec, lasting, &command);
    return run(&command, warning, err);
}

int start_removal(const char *network, bool force, struct err *err)
{
    struct command command = {.arguments = {"vmnetd", "--background", "--remove"}, .len = 3};
    struct err warning;

    if (force)
        command.arguments[command.len++] = "--force";
    add_option(&command, "--", network);
    return run(&command, &warning, err);
}
