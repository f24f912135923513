/* SPDX-License-Identifier: Apache-2.0 */
/* vmnetd NET: one network, for as long as it lives. Usually started by vmnet. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/descriptor.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/process.h"
#include "daemon/configure.h"
#include "daemon/listen.h"
#include "daemon/parent.h"
#include "daemon/run_dir.h"
#include "plane/plane.h"

#define READY_FD 3

struct options {
    struct net_spec spec;
    bool system; /* whoever starts it: the network is the system's */
    bool lasting;
    bool remove;     /* start nothing: remove what a network that was killed has left, */
    bool force;      /* also where machines are attached */
    bool background; /* tell READY_FD how it went, and write messages to the network's log */
};

static const char usage[] =
    "usage: vmnetd NET [--mode MODE] [--start-address A --end-address A --subnet-mask M]\n"
    "              [--dhcp-range FIRST-LAST] [--dhcp-host MAC,ADDRESS]... [--nat66-prefix P]\n"
    "              [--net-uuid U [--host-ip-address A --host-subnet-mask M]\n"
    "              [--host-ipv6-address A]] [--ifname I] [--mtu N] [--workers N]\n"
    "              [--dhcp on|off] [--dns on|off] [--ra on|off] [--nat44 on|off] [--nat66 on|off]\n"
    "              [--host-loopback on|off] [--host-ports PORTS] [--lasting] [--system]\n"
    "       vmnetd --remove [--force] NET\n"
    "\n"
    "Runs the network NET until its last port is gone, or with --lasting until it is told to stop\n"
    "(vmnet down NET). What NET.conf says counts too: see openvmnet.conf(5). vmnet starts it by\n"
    "itself: see vmnet(1). A network with a file in /etc/openvmnet is the system's where root\n"
    "starts it, or --system is given. With --remove what a network of the system has left whose\n"
    "processes were killed is removed, with --force also where machines are attached.\n";

static int parse_options(int argc, char **argv, struct options *options, struct err *err)
{
    static const struct option long_options[] = {
        {"mode", required_argument, NULL, 'o'},
        {"start-address", required_argument, NULL, 'o'},
        {"end-address", required_argument, NULL, 'o'},
        {"subnet-mask", required_argument, NULL, 'o'},
        {"nat66-prefix", required_argument, NULL, 'o'},
        {"dhcp-range", required_argument, NULL, 'o'},
        {"dhcp-host", required_argument, NULL, 'o'},
        {"net-uuid", required_argument, NULL, 'o'},
        {"host-ip-address", required_argument, NULL, 'o'},
        {"host-subnet-mask", required_argument, NULL, 'o'},
        {"host-ipv6-address", required_argument, NULL, 'o'},
        {"ifname", required_argument, NULL, 'o'},
        {"mtu", required_argument, NULL, 'o'},
        {"workers", required_argument, NULL, 'o'},
        {"dhcp", required_argument, NULL, 'o'},
        {"dns", required_argument, NULL, 'o'},
        {"ra", required_argument, NULL, 'o'},
        {"nat44", required_argument, NULL, 'o'},
        {"nat66", required_argument, NULL, 'o'},
        {"host-loopback", required_argument, NULL, 'o'},
        {"host-ports", required_argument, NULL, 'o'},
        {"system", no_argument, NULL, 's'},
        {"lasting", no_argument, NULL, 'l'},
        {"remove", no_argument, NULL, 'r'},
        {"force", no_argument, NULL, 'f'},
        {"background", no_argument, NULL, 'b'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    int option, index = 0, result = 0;

    while (result == 0 && (option = getopt_long(argc, argv, "h", long_options, &index)) != -1) {
        switch (option) {
        case 'o':
            result = net_spec_set(&options->spec, long_options[index].name, optarg, err);
            break;
        case 's': options->system = true; break;
        case 'l': options->lasting = true; break;
        case 'r': options->remove = true; break;
        case 'f': options->force = true; break;
        case 'b': options->background = true; break;
        case 'h': fputs(usage, stdout); exit(0);
        case 'V': puts("vmnetd " OPENVMNET_VERSION); exit(0);
        default: exit(2);
        }
    }
    if (result == 0 && optind != argc - 1) {
        fputs(usage, stderr);
        exit(2);
    }
    if (result == 0 && options->force && !options->remove)
        result = err_set(err, -EINVAL, "--force goes with --remove");
    /* A network with an identity has the name that is made of it; others are given theirs. */
    if (result == 0 && !options->spec.net_uuid[0])
        result = net_spec_set(&options->spec, "network", argv[optind], err);
    if (result == 0)
        result = net_spec_complete(&options->spec, err);
    if (result == 0 && strcmp(options->spec.name, argv[optind]) != 0)
        result = err_set(err, -EINVAL, "a network with net-uuid %s is called '%s', not '%s'",
                         options->spec.net_uuid, options->spec.name, argv[optind]);
    return result;
}

/* The network's file, if it has one, and what it says put under the options. */
static int read_file(struct net_spec *spec, bool system, struct net_file *file,
                     const struct net_file **ret_file, struct err *err)
{
    char path[NET_PATH_MAX];
    int result = net_file_find(system ? NET_OF_SYSTEM : NET_OF_USER, spec->name, path, err);

    if (result == -ENOENT && system)
        return err_set(err, result,
                       "no network of the system is called '%s': there is no %s.conf in "
                       "/etc/openvmnet",
                       spec->name, spec->name);
    if (result < 0 && result != -ENOENT)
        return result;
    result = result == 0 ? net_file_read(path, spec->name, file, err) : 0;
    if (result == 0 && file->access.given && !system)
        return err_set(err, -EINVAL,
                       "%s: allow-user, allow-group, user-ports and user-forwards are for a "
                       "network of the system, whose file is in /etc/openvmnet: leave them out",
                       path);
    if (result == 0 && system && net_spec_is_on(&file->spec, NET_HOST_LOOPBACK))
        return err_set(err, -EINVAL,
                       "%s: host-loopback = on is not for a network of the system, whose gateway's "
                       "address is the host's own: leave it out, and let the service listen there",
                       path);
    if (result == 0)
        result = configure_merge(spec, file, err);
    *ret_file = file->path[0] || file->reservations_len ? file : NULL;
    return result;
}

/* From a program that has things to do: not its child, not on its terminal, none of its descriptors. */
static int go_to_background(char **argv, struct err *err)
{
    int null_fd, result = process_leave_parent(argv);

    if (result < 0)
        return err_set(err, result, "cannot go to the background: %s", strerror(-result));
    process_close_from(READY_FD + 1);
    fcntl(READY_FD, F_SETFD, FD_CLOEXEC);
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0 || chdir("/") < 0)
        return err_set(err, -errno, "/dev/null: %s", strerror(errno));
    dup2(null_fd, STDIN_FILENO);
    dup2(null_fd, STDOUT_FILENO);
    dup2(null_fd, STDERR_FILENO);
    close(null_fd);
    return 0;
}

static void open_log(const struct net_config *config)
{
    char path[NET_PATH_MAX + 8];
    int fd;

    snprintf(path, sizeof(path), "%s/log", config->run_dir);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    dup2(fd, STDERR_FILENO);
    close(fd);
}

static int make_lasting(const struct net_config *config)
{
    char path[NET_PATH_MAX + 16];

    snprintf(path, sizeof(path), "%s/" RUN_DIR_LASTING, config->run_dir);
    return path_write_file(path, "", 0, 0600, false);
}

/* "ok" and a warning or nothing, or the negative errno and the reason: what the client reads. */
static void tell_ready(const struct options *options, const struct net_config *config,
                       const struct parent_sockets *sockets, int result, const struct err *warning,
                       const struct err *err)
{
    if (result == 0 && warning->text[0])
        log_warn("network '%s': %s", options->spec.name, warning->text);
    if (!options->background) {
        if (result < 0)
            log_error("%s", err->text);
        if (result < 0 && config->activated)
            listen_refuse(sockets, result, err->text);
        return;
    }
    if (result < 0)
        dprintf(READY_FD, "%d %s\n", result, err->text);
    else
        dprintf(READY_FD, "ok %s\n", warning->text);
    close(READY_FD);
}

static int run_network(const struct options *options, struct net_config *config,
                       struct parent_sockets sockets, struct err *err)
{
    struct err warning = {""};
    struct parent *parent;
    int result, code;

    if (options->background)
        open_log(config);
    result = configure(&options->spec, config, &warning, err);
    if (result == 0)
        result = plane_check(config, err);
    if (result == 0 && !config->activated)
        result = listen_open(config, &sockets, err);
    if (result == 0 && options->lasting)
        result = make_lasting(config);
    if (result < 0 && !err->text[0])
        err_set(err, result, "%s: %s", config->run_dir, strerror(-result));
    if (result == 0)
        result = parent_start(config, &sockets, options->background ? READY_FD : -1, &parent, err);
    tell_ready(options, config, &sockets, result, &warning, err);
    code = result == 0 ? parent_run(parent) : 1;
    if (sockets.control_fd >= 0)
        close(sockets.control_fd);
    if (sockets.stream_fd >= 0)
        close(sockets.stream_fd);
    return code;
}

/*
 * For vmnet down. The lock says that none of its processes is left. Root's own network of this name has links of the
 * same name, and a service manager's sockets are not ours to remove.
 */
static int lock_left(struct net_config *config, int *ret_fd, struct err *err)
{
    const char *name = config->name;

    if (listen_is_done(NET_OF_SYSTEM, name))
        return err_set(err, -EBUSY,
                       "somebody listens for network '%s': if that is systemd, systemctl stop "
                       "openvmnet@%s.socket first; if the network runs, vmnet down %s ends it",
                       name, name, name);
    if (listen_is_done(NET_OF_USER, name))
        return err_set(err, -EBUSY, "network '%s' of root's own runs", name);
    return run_dir_lock_left(config, ret_fd, err);
}

static int remove_left(const struct options *options, struct net_config *config)
{
    const struct parent_sockets none = {-1, -1};
    struct err err = {""}, warning = {""};
    int lock_fd = -1, result;

    config->system = true;
    snprintf(config->name, sizeof(config->name), "%s", options->spec.name);
    result = lock_left(config, &lock_fd, &err);
    if (result == 0)
        result = plane_clean(config, options->force, &err);
    /* The directory above stays: the package made it, with the owner that networks need. */
    if (result == 0 || result == -ENOENT)
        path_remove_tree(config->run_dir);
    tell_ready(options, config, &none, result, &warning, &err);
    if (lock_fd >= 0)
        close(lock_fd);
    return result < 0;
}

int main(int argc, char **argv)
{
    static struct options options;
    static struct net_config config;
    static struct net_file file;
    struct parent_sockets sockets = {-1, -1};
    struct err err = {""};
    int lock_fd = -1, result, code;

    log_init("vmnetd", false);
    signal(SIGPIPE, SIG_IGN); /* vmnet may be gone when it is told how it went */
    result = parse_options(argc, argv, &options, &err);
    if (result < 0) {
        log_error("%s", err.text);
        return 2;
    }
    if (options.remove)
        return remove_left(&options, &config);
    /* For root the system's files come first: sudo may have left it somebody else's own. */
    config.system =
        options.system || (geteuid() == 0 && path_config_exists(NET_OF_SYSTEM, options.spec.name));
    snprintf(config.name, sizeof(config.name), "%s", options.spec.name);
    if (config.system && !options.background)
        result = listen_passed(config.name, &sockets, &err);
    config.activated = result > 0;
    if (result >= 0)
        result = read_file(&options.spec, config.system, &file, &config.file, &err);
    if (result >= 0 && options.background)
        result = go_to_background(argv, &err);
    process_set_name("vmnetd");
    if (result >= 0)
        result = run_dir_lock(&config, &lock_fd, &err);
    if (result < 0) {
        tell_ready(&options, &config, &sockets, result, NULL, &err);
        return 1;
    }
    code = run_network(&options, &config, sockets, &err);
    run_dir_remove(&config); /* still under the lock: nobody else is using it */
    close(lock_fd);
    return code;
}
