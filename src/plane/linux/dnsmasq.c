/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/dnsmasq.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/log.h"
#include "base/paths.h"

#define LEASE_TIME "1h"

/*
 * The last one only counts where root made the network: dnsmasq started by uid 0 insists on calling
 * setgroups() and setgid(). (Made by an ordinary user, the namespace maps that user to itself, because
 * as uid 0 of a namespace with a single id dnsmasq would fail there.)
 */
const int dnsmasq_capabilities[DNSMASQ_CAPABILITIES] = {CAP_NET_ADMIN, CAP_NET_RAW,
                                                        CAP_NET_BIND_SERVICE, CAP_SETGID};

int dnsmasq_check(struct err *err)
{
    char program[NET_PATH_MAX];

    if (path_find_program("dnsmasq", program) < 0)
        return err_set(
            err, -ENOENT,
            "dnsmasq: not found in PATH or the sbin directories; install it (Debian, "
            "Ubuntu: apt install dnsmasq-base; Fedora: dnf install dnsmasq; Arch: pacman "
            "-S dnsmasq)");
    return 0;
}

static int host_path(char ret_path[NET_PATH_MAX + 64], const struct net_config *config,
                     const char *directory, const char *name)
{
    return snprintf(ret_path, NET_PATH_MAX + 64, "%s/dnsmasq/%s/%s", config->run_dir, directory,
                    name);
}

int dnsmasq_configure(const struct net_config *config, const char *bridge, struct err *err)
{
    char path[NET_PATH_MAX + 64], gateway[IP_TEXT_MAX], gateway6[IP_TEXT_MAX], subnet[IP_TEXT_MAX];
    char mask[IP_TEXT_MAX], prefix6[IP_TEXT_MAX];
    struct ip_addr gateway4 = ip_from_u32(config->gateway);
    struct ip_addr subnet4 = ip_from_u32(net_config_subnet(config));
    struct ip_addr mask4 = ip_from_u32(ip_mask_u32(config->prefix_len));
    char *text = NULL;
    size_t len_bytes;
    FILE *file;
    int result;

    host_path(path, config, "hosts", "");
    result = path_make(path, 0700);
    host_path(path, config, "names", "");
    if (result == 0)
        result = path_make(path, 0700);
    if (result < 0)
        return err_set(err, result, "%s: %s", path, strerror(-result));
    file = open_memstream(&text, &len_bytes);
    if (!file)
        return err_set(err, -ENOMEM, "out of memory");
    ip_format(&gateway4, gateway);
    ip_format(&config->gateway6, gateway6);
    ip_format(&subnet4, subnet);
    ip_format(&mask4, mask);
    fprintf(file,
            "# Written by vmnetd; changes are lost.\n"
            "keep-in-foreground\n"
            /* Not its own user, who could not reach its files; confine_files() keeps it to them. */
            "user=root\ngroup=root\n"
            "log-facility=-\n"
            "quiet-dhcp\nquiet-dhcp6\nquiet-ra\n"
            "pid-file=%1$s/dnsmasq/pid\n"
            "dhcp-leasefile=%1$s/dnsmasq/leases\n"
            "interface=%2$s\nexcept-interface=lo\nbind-dynamic\n"
            /* DNS: names of ours are answered here or not at all; others are the engine's. */
            "no-resolv\nno-hosts\nserver=127.0.0.1#%3$d\n"
            "domain-needed\nrev-server=%6$s/%9$u\n"
            "domain=%4$s\nlocal=/" NET_DOMAIN_ALL "/\nexpand-hosts\n"
            "hostsdir=%1$s/dnsmasq/names\n"
            "host-record=gateway.%4$s,%5$s\n"
            /* DHCP: only the addresses that were allotted to ports, each by MAC alone. */
            "dhcp-range=%6$s,static,%7$s," LEASE_TIME "\n"
            "dhcp-hostsdir=%1$s/dnsmasq/hosts\n"
            "dhcp-authoritative\ndhcp-ignore-clid\ndhcp-rapid-commit\nno-ping\n"
            "dhcp-option=option:mtu,%8$u\n",
            config->run_dir, bridge, DNSMASQ_UPSTREAM_PORT, config->domain, gateway, subnet, mask,
            config->mtu, config->prefix_len);
    if (config->prefix6.family)
        fprintf(file,
                "enable-ra\nrev-server=%3$s/64\nhost-record=gateway.%1$s,%2$s\n"
                "dhcp-range=%3$s,ra-names,64," LEASE_TIME "\n"
                /* A router lifetime of 0: an address, but no way out (RFC 4861 4.2). */
                "ra-param=%4$s,mtu:%5$u,60,%6$d\n",
                config->domain, gateway6, ip_format(&config->prefix6, prefix6), bridge, config->mtu,
                config->host_has_ipv6 ? 1800 : 0);
    if (fclose(file) != 0) {
        free(text);
        return err_set(err, -ENOMEM, "out of memory");
    }
    snprintf(path, sizeof(path), "%s/dnsmasq/conf", config->run_dir);
    result = path_write_file(path, text, len_bytes, 0600, false);
    free(text);
    return result < 0 ? err_set(err, result, "%s: %s", path, strerror(-result)) : 0;
}

/* The child's side: gives up what dnsmasq does not need, and becomes it. Never returns. */
static void __attribute__((noreturn))
dnsmasq_exec(const char *program, const char *directory, const char *option, pid_t parent)
{
    const char *const readable[] = {"/usr",
                                    "/lib",
                                    "/lib64",
                                    "/lib32",
                                    "/bin",
                                    "/sbin",
                                    "/proc",
                                    "/dev",
                                    "/nix",
                                    "/etc/ld.so.cache",
                                    "/etc/ld.so.preload",
                                    "/etc/passwd",
                                    "/etc/group",
                                    "/etc/nsswitch.conf",
                                    "/etc/localtime",
                                    program,
                                    NULL};
    const char *const writable[] = {directory, "/dev/null", NULL};
    char *const arguments[] = {(char *)program, (char *)option, NULL};
    sigset_t none;
    int error;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (confine_die_with_parent(parent, SIGKILL) < 0)
        _exit(127);
    error = confine_capabilities(dnsmasq_capabilities, DNSMASQ_CAPABILITIES, true);
    if (error < 0)
        log_warn("dnsmasq keeps all capabilities of its namespace: %s", strerror(-error));
    error = confine_files(readable, writable);
    if (error < 0)
        log_debug("dnsmasq is not confined to its directory: %s", strerror(-error));
    execv(program, arguments);
    log_error("%s: %s", program, strerror(errno));
    _exit(127);
}

int dnsmasq_start(const struct net_config *config, pid_t *ret_pid, struct err *err)
{
    char program[NET_PATH_MAX], directory[NET_PATH_MAX + 16], option[NET_PATH_MAX + 64];
    pid_t parent = getpid(), pid;

    if (path_find_program("dnsmasq", program) < 0)
        return dnsmasq_check(err);
    snprintf(directory, sizeof(directory), "%s/dnsmasq", config->run_dir);
    snprintf(option, sizeof(option), "--conf-file=%s/conf", directory);
    /* Not posix_spawn: between fork and exec the child must give up capabilities and bind its life to
     * ours, which posix_spawn cannot say. */
    pid = fork();
    if (pid < 0)
        return err_set(err, -errno, "cannot start dnsmasq: %s", strerror(errno));
    if (pid == 0)
        dnsmasq_exec(program, directory, option, parent);
    *ret_pid = pid;
    return 0;
}

int dnsmasq_add_host(const struct net_config *config, const struct plane_port *port,
                     struct err *err)
{
    char path[NET_PATH_MAX + 64], line[256], mac[MAC_TEXT_MAX], ipv4[IP_TEXT_MAX];
    struct ip_addr addr = ip_from_u32(port->ipv4);
    int len, result;

    host_path(path, config, "names", port->interface);
    len = snprintf(line, sizeof(line), "%s %s\n", ip_format(&addr, ipv4), port->name);
    result = path_write_file(path, line, (size_t)len, 0600, false);
    if (result == 0) {
        host_path(path, config, "hosts", port->interface);
        len = snprintf(line, sizeof(line), "%s,%s,%s\n", mac_format(&port->mac, mac), ipv4,
                       port->name);
        result = path_write_file(path, line, (size_t)len, 0600, false);
    }
    return result < 0 ? err_set(err, result, "%s: %s", path, strerror(-result)) : 0;
}

void dnsmasq_remove_host(const struct net_config *config, const char *interface, pid_t pid)
{
    char path[NET_PATH_MAX + 64];

    host_path(path, config, "names", interface);
    unlink(path);
    host_path(path, config, "hosts", interface);
    unlink(path);
    /* It notices new files by itself, but forgets what was in a removed one only when told. */
    if (pid > 0)
        kill(pid, SIGHUP);
}
