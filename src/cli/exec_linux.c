/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmnet exec`: a program as one more machine on a network.
 *
 *   this process, outside:  asks for the network's user namespace, has a network namespace made that
 *                           belongs to it, has the network put an interface there (PORT_VETH)
 *   then, inside of both:   takes address, routes, resolver and host name, gives up every right,
 *                           and becomes the program
 *
 * Only then does this process move: as long as anything can fail it is still outside, where it may begin
 * again, or start the network. It becomes the program without another process between, so terminal, job
 * control, signals and exit status are the program's own. The interface goes with its namespace, and
 * that with the last process in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/paths.h"
#include "base/resolv_conf.h"
#include "cli/cli.h"
#include "cli/join_linux.h"
#include "cli/output.h"
#include "client/client.h"

/* The network may end, and begin as another, between two questions; not each time. */
#define TRIES_MAX 5
#define RESOLV_CONF RESOLV_CONF_PATH

/* ---- what is asked for */

/* A network by its name alone is as its file says, else shared; the one called "host" is of that mode. */
static int read_network(const char *name, struct net_spec *spec, struct err *err)
{
    int rc = net_spec_set(spec, "network", name, err);

    if (rc == 0 && strcmp(name, net_mode_name(NET_MODE_HOST)) == 0 &&
        !path_config_exists(NET_OF_USER, name) && !path_config_exists(NET_OF_SYSTEM, name))
        rc = net_spec_set(spec, "mode", name, err);
    return rc == 0 ? net_spec_complete(spec, err) : rc;
}

static int read_port(const struct cli_args *args, struct port_spec *port, struct err *err)
{
    const char *name = cli_value(args, "name"), *forward;
    int rc = 0;

    if (name)
        rc = port_spec_set(port, "hostname", name, err);
    if (rc < 0)
        return err_prefix(err, rc, "--name");
    if (cli_value(args, "isolated"))
        rc = port_spec_set(port, "isolated", "on", err);
    for (int i = 0; rc == 0 && (forward = cli_value_at(args, "forward", i)); i++)
        rc = port_spec_set(port, "forward", forward, err);
    return rc < 0 ? err_prefix(err, rc, "--forward") : 0;
}

/* ---- the port */

struct attached {
    int user_fd, net_fd;
    struct client_port port;
};

static bool is_same_namespace(int fd, int other_fd)
{
    struct stat status, other;

    if (fd < 0 || other_fd < 0)
        return fd == other_fd;
    return fstat(fd, &status) == 0 && fstat(other_fd, &other) == 0 &&
           status.st_ino == other.st_ino && status.st_dev == other.st_dev;
}

static void close_namespaces(int user_fd, int net_fd)
{
    if (user_fd >= 0)
        close(user_fd);
    if (net_fd >= 0)
        close(net_fd);
}

/* True where the network is not the one any more whose user namespace this is. */
static bool has_changed(const struct net_spec *spec, int user_fd)
{
    int now_fd, net_fd;
    bool changed;

    if (client_namespaces(spec, &now_fd, &net_fd, NULL) < 0)
        return false;
    changed = !is_same_namespace(user_fd, now_fd);
    close_namespaces(now_fd, net_fd);
    return changed;
}

static int attach(const struct net_spec *spec, const struct port_spec *port,
                  struct attached *ret_attached, struct err *err)
{
    struct err warning = {""};

    for (int i = 1;; i++) {
        struct client_way way = {.kind = PORT_VETH, .peer_fd = -1};
        int user_fd, network_fd, rc = client_namespaces(spec, &user_fd, &network_fd, err);

        if (rc < 0)
            return rc;
        if (err->text[0])
            warning = *err;
        close(network_fd);
        rc = join_new_namespace(user_fd, &way.peer_fd, err);
        if (rc == 0)
            rc = client_attach(spec, port, &way, &ret_attached->port, err);
        if (rc == 0) {
            ret_attached->user_fd = user_fd;
            ret_attached->net_fd = way.peer_fd;
            if (!err->text[0])
                *err = warning;
            return 0;
        }
        if (i == TRIES_MAX || !has_changed(spec, user_fd)) {
            close_namespaces(user_fd, way.peer_fd);
            return rc;
        }
        close_namespaces(user_fd, way.peer_fd);
    }
}

/* ---- what of the host's files would lead past the network */

/*
 * Sockets of resolvers that the C library asks before it looks at resolv.conf: nscd, and systemd-resolved
 * by nss-resolve(8). They know the host's names, not this network's.
 */
static const char *const resolver_directories[] = {"/var/run/nscd", "/run/systemd/resolve"};

static int hide_resolvers(struct err *err)
{
    size_t count = sizeof(resolver_directories) / sizeof(resolver_directories[0]);

    for (size_t i = 0; i < count; i++) {
        const char *path = resolver_directories[i];

        if (mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=64k") <
                0 &&
            errno != ENOENT && errno != ENOTDIR)
            return err_set(err, -errno, "cannot hide %s: %s", path, strerror(errno));
    }
    return 0;
}

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), error = 0;
    size_t len = strlen(text);

    if (fd < 0)
        return -errno;
    if (write(fd, text, len) != (ssize_t)len)
        error = errno ? -errno : -EIO;
    close(fd);
    return error;
}

/*
 * Puts a file with @text over the one that @target_fd is, in this mount namespace alone. It has to lie
 * somewhere to be mounted: on a file system in memory that covers /etc for this moment, and then has no
 * name any more.
 */
static int cover_file(int target_fd, const char *text)
{
    char target[32];
    int rc;

    if (mount("tmpfs", "/etc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=64k") < 0)
        return -errno;
    rc = write_file(RESOLV_CONF, text);
    snprintf(target, sizeof(target), "/proc/self/fd/%d", target_fd);
    if (rc == 0 && mount(RESOLV_CONF, target, NULL, MS_BIND, NULL) < 0)
        rc = -errno;
    if (umount2("/etc", MNT_DETACH) < 0 && rc == 0)
        rc = -errno;
    return rc;
}

static int set_resolver(const struct client_port *port, struct err *err)
{
    char text[IP_TEXT_MAX + NET_DOMAIN_MAX + RESOLV_SEARCH_BYTES + 32] = "";
    char *path = realpath(RESOLV_CONF, NULL);
    struct resolv_conf host;
    size_t len = 0;
    int target_fd, rc;

    if (!path)
        err_set(err, 0, RESOLV_CONF ": %s; the network's names are not found without this file",
                strerror(errno));
    resolv_conf_read(RESOLV_CONF, &host);
    /* The host's own domains are for names outside, and known where there is a way to ask. */
    if (!port->dns[0] || !(port->ipv4_default || port->ipv6_default))
        host.search[0] = '\0';
    rc = hide_resolvers(err);
    if (rc < 0 || !path) {
        free(path);
        return rc;
    }
    if (port->dns[0])
        len = (size_t)snprintf(text, sizeof(text), "nameserver %s\n", port->dns);
    if (len > 0 && port->domain[0])
        snprintf(text + len, sizeof(text) - len, "search %s%s%s\n", port->domain,
                 host.search[0] ? " " : "", host.search);
    /* It may have been a link into what is hidden now. */
    target_fd = open(path, O_PATH | O_CLOEXEC);
    if (target_fd < 0 && write_file(path, "") == 0)
        target_fd = open(path, O_PATH | O_CLOEXEC);
    rc = target_fd < 0 ? -errno : cover_file(target_fd, text);
    if (target_fd >= 0)
        close(target_fd);
    if (rc < 0)
        err_set(err, rc, "cannot put the network's resolver in place of %s: %s", path,
                strerror(-rc));
    free(path);
    return rc;
}

/* ---- inside */

/*
 * No right, and none to be had. The bounding set stays: where it lacks a capability that a program's file
 * names, as ping's does, execve() refuses that program, and given no_new_privs it gives none of them.
 */
static int give_up_rights(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_capset, &header, none) < 0)
        return -errno;
    return 0;
}

/* What went well enough to go on is said now, where the program's name for it is still "exec". */
static int settle(const char *network, struct attached *attached, struct err *err)
{
    const struct client_port *port = &attached->port;
    int rc = join_enter(attached->user_fd, attached->net_fd, err);

    if (rc < 0)
        return rc;
    if (unshare(CLONE_NEWNS | CLONE_NEWUTS) < 0)
        return err_set(err, -errno, "cannot make a mount namespace: %s", strerror(errno));
    /* What the host mounts later is seen here too; what is mounted here is not seen there. */
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return err_set(err, -errno, "cannot part the mounts from the host's: %s", strerror(errno));
    rc = join_configure(port, err);
    if (rc == 0) {
        cli_warn("exec", network, err);
        err->text[0] = '\0';
        rc = set_resolver(port, err);
    }
    if (rc < 0)
        return rc;
    cli_warn("exec", network, err);
    if (port->name[0] && sethostname(port->name, strlen(port->name)) < 0)
        return err_set(err, -errno, "cannot set the host name: %s", strerror(errno));
    rc = give_up_rights();
    return rc < 0 ? err_set(err, rc, "cannot give up capabilities: %s", strerror(-rc)) : 0;
}

enum cli_exit cmd_exec(const struct cli_args *args)
{
    char **command = args->argv + 1;
    struct net_spec spec = {0};
    struct port_spec port = {0};
    struct attached attached = {.user_fd = -1, .net_fd = -1};
    struct err err = {0};

    if (*command && strcmp(*command, "--") == 0)
        command++;
    if (!*command)
        return cli_fail(CLI_USAGE, "exec: no command given; the usage is: vmnet exec %s",
                        args->command->arguments);
    if (read_network(args->argv[0], &spec, &err) < 0 || read_port(args, &port, &err) < 0)
        return cli_fail(CLI_USAGE, "exec: %s", err.text);
    if (attach(&spec, &port, &attached, &err) < 0)
        return cli_fail(CLI_FAILED, "exec: network '%s': %s", spec.name, err.text);
    cli_warn("exec", spec.name, &err);
    if (settle(spec.name, &attached, &err) < 0)
        return cli_fail(CLI_FAILED, "exec: network '%s': %s", spec.name, err.text);
    if (!cli_value(args, "quiet"))
        cli_print_port(&attached.port);
    execvp(command[0], command);
    return errno == ENOENT ? cli_fail(CLI_NOT_FOUND, "exec: %s: not found%s", command[0],
                                      strchr(command[0], '/') ? "" : " in PATH")
                           : cli_fail(CLI_CANNOT_RUN, "exec: %s: cannot be run: %s", command[0],
                                      strerror(errno));
}
