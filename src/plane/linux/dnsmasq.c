/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/dnsmasq.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/resolv_conf.h"

#define RA_INTERVAL_S 60
/* What a guest may take over UDP where it asks for it: fragments of that are on the bridge alone. */
#define EDNS_BYTES 4096
/*
 * At once. More than the engine's relay takes: that gives up the oldest then, while dnsmasq would refuse all new
 * ones, whoever's they are.
 */
#define QUERIES_MAX 1024
/* In the configuration, for dnsmasq_was_router6(). */
#define MARK_ROUTER6 "# router6\n"

extern char **environ;

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
    return snprintf(ret_path, NET_PATH_MAX + 64, "%s/dnsmasq/%s/%.32s", config->run_dir, directory,
                    name);
}

/* Letters, digits and @more: what comes from a file of the user's must not begin a line of its own in ours. */
static bool is_plain(const char *text, const char *more)
{
    for (; *text; text++)
        if (!((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
              (*text >= '0' && *text <= '9') || strchr(more, *text)))
            return false;
    return true;
}

static void print_dns(FILE *file, const struct net_config *config, unsigned upstream_port)
{
    char gateway[IP_TEXT_MAX], subnet[IP_TEXT_MAX];
    struct ip_addr gateway4 = ip_from_u32(config->gateway);
    struct ip_addr subnet4 = ip_from_u32(net_config_subnet(config));

    /* Names of ours are answered here or not at all; others are the engine's, or refused. */
    fprintf(file, "no-resolv\nno-hosts\ndomain-needed\nedns-packet-max=%d\n", EDNS_BYTES);
    /* With all-servers it does not try its only one a second time when that says that it has failed. */
    if (net_config_has_way_out(config))
        fprintf(file, "server=127.0.0.1#%u\nall-servers\ndns-forward-max=%d\n", upstream_port,
                QUERIES_MAX);
    fprintf(file,
            "domain=%2$s\nlocal=/" NET_DOMAIN_ALL "/\nexpand-hosts\n"
            "hostsdir=%1$s/dnsmasq/names\n"
            "rev-server=%4$s/%5$u\n"
            "host-record=gateway.%2$s,%3$s\n",
            config->run_dir, config->domain, ip_format(&gateway4, gateway),
            ip_format(&subnet4, subnet), config->prefix_len);
    if (config->prefix6.family)
        fprintf(file, "rev-server=%s/64\nhost-record=gateway.%s,%s\n",
                ip_format(&config->prefix6, subnet), config->domain,
                ip_format(&config->gateway6, gateway));
}

static void print_records(FILE *file, const struct net_config *config)
{
    const struct net_file *given = config->file;
    char address[IP_TEXT_MAX];

    for (unsigned i = 0; given && i < given->records_len; i++) {
        const struct net_record *record = &given->records[i];

        if (!record->name[0] || !record->address.family || !is_plain(record->name, "-._")) {
            log_warn("the record '%s' is left out: it is no name with an address", record->name);
            continue;
        }
        ip_format(&record->address, address);
        if (strchr(record->name, '.'))
            fprintf(file, "host-record=%s,%s\n", record->name, address);
        else
            fprintf(file, "host-record=%1$s.%2$s,%1$s,%3$s\n", record->name, config->domain,
                    address);
    }
}

static void print_options(FILE *file, const struct net_config *config)
{
    const struct net_file *given = config->file;

    for (unsigned i = 0; given && i < given->dhcp_options_len; i++) {
        const struct net_dhcp_option *option = &given->dhcp_options[i];

        /* A comma is right there: it separates the values of a list. */
        if (!option->name[0] || !is_plain(option->name, "-") ||
            !is_plain(option->value, " !$%&()*+,-./:;<=>?@[]^_{|}~")) {
            log_warn("the DHCP option '%s' is left out: it has a character that dnsmasq would take "
                     "for something else",
                     option->name);
            continue;
        }
        fprintf(file, "dhcp-option=%s%s,%s\n",
                strspn(option->name, "0123456789") == strlen(option->name) ? "" : "option:",
                option->name, option->value);
    }
}

static void print_dhcp(FILE *file, const struct net_config *config, unsigned lease_time_s)
{
    char subnet[IP_TEXT_MAX], mask[IP_TEXT_MAX];
    struct ip_addr subnet4 = ip_from_u32(net_config_subnet(config));
    struct ip_addr mask4 = ip_from_u32(ip_mask_u32(config->prefix_len));

    /* Only the addresses that were allotted to ports, each by MAC alone. */
    fprintf(file,
            "dhcp-leasefile=%1$s/dnsmasq/leases\n"
            "dhcp-range=%2$s,static,%3$s,%4$u\n"
            "dhcp-hostsdir=%1$s/dnsmasq/hosts\n"
            "dhcp-optsfile=%1$s/dnsmasq/options\n"
            "dhcp-ignore-clid\ndhcp-rapid-commit\nno-ping\n"
            /*
             * Of machines that are attached here it is the authority, also for a lease that another host gave before they
             * moved; to all others it says nothing: they are another host's.
             */
            "dhcp-authoritative\ndhcp-ignore=tag:!known\n"
            "dhcp-option=option:mtu,%5$u\n",
            config->run_dir, ip_format(&subnet4, subnet), ip_format(&mask4, mask), lease_time_s,
            config->mtu);
    /* An option without a value is not sent. */
    if (!config->on[NET_NAT44])
        fprintf(file, "dhcp-option=option:router\n");
    print_options(file, config);
}

static void print_advertisements(FILE *file, const struct net_config *config, const char *bridge,
                                 bool router6, unsigned lease_time_s)
{
    char prefix6[IP_TEXT_MAX];

    fprintf(file,
            "enable-ra\ndhcp-range=%s,ra-names,64,%u\n"
            /* A router lifetime of 0: an address, but no way out (RFC 4861 4.2). */
            "ra-param=%s,mtu:%u,%d,%d\n",
            ip_format(&config->prefix6, prefix6), lease_time_s, bridge, config->mtu, RA_INTERVAL_S,
            router6 ? DNSMASQ_ROUTER6_LIFETIME_S : 0);
    /* It only reads the file of options for DHCP: without, the host's own domains are not told. */
    if (config->on[NET_DNS] && !config->on[NET_DHCP])
        fprintf(file, "dhcp-option=option6:domain-search,%s\n", config->domain);
}

static void print_configuration(FILE *file, const struct net_config *config, const char *bridge,
                                unsigned upstream_port, bool router6)
{
    unsigned lease_time_s = config->lease_time_s ? config->lease_time_s : NET_LEASE_TIME_DEFAULT_S;

    fprintf(file,
            "# Written by vmnetd; changes are lost.\n"
            "%3$s"
            "keep-in-foreground\n"
            /* Not its own user, who could not reach its files; confine_files() keeps it to them. */
            "user=root\ngroup=root\n"
            "log-facility=-\n"
            "quiet-dhcp\nquiet-dhcp6\nquiet-ra\n"
            "pid-file=%1$s/dnsmasq/pid\n"
            "interface=%2$s\nexcept-interface=lo\nbind-dynamic\n",
            config->run_dir, bridge, router6 ? MARK_ROUTER6 : "");
    if (config->on[NET_DNS]) {
        print_dns(file, config, upstream_port);
        print_records(file, config);
    } else {
        /* Nor does it tell guests of a server then. */
        fprintf(file, "port=0\n");
    }
    if (config->on[NET_DHCP])
        print_dhcp(file, config, lease_time_s);
    if (config->on[NET_RA] && config->prefix6.family)
        print_advertisements(file, config, bridge, router6, lease_time_s);
}

/* Whether the network's file says itself what guests are to search. */
static bool gives_search(const struct net_file *file)
{
    for (unsigned i = 0; file && i < file->dhcp_options_len; i++)
        if (strcmp(file->dhcp_options[i].name, "domain-search") == 0 ||
            strcmp(file->dhcp_options[i].name, "119") == 0)
            return true;
    return false;
}

int dnsmasq_set_search(const struct net_config *config, const char *search, struct err *err)
{
    /* Encoded each domain takes two bytes more; the option has 255 (RFC 2132 2). */
    size_t left = 255 - (strlen(config->domain) + 2), len;
    char path[NET_PATH_MAX + 64], domain[RESOLV_DOMAIN_MAX + 1];
    char list[NET_DOMAIN_MAX + 255], text[2 * sizeof(list) + 64];
    int result;

    len = (size_t)snprintf(list, sizeof(list), "%s", config->domain);
    while (resolv_search_next(&search, domain) && strlen(domain) + 2 <= left) {
        if (strcasecmp(domain, config->domain) == 0)
            continue;
        left -= strlen(domain) + 2;
        len += (size_t)snprintf(list + len, sizeof(list) - len, ",%s", domain);
    }
    len = 0;
    if (config->on[NET_DNS] && !gives_search(config->file))
        len = (size_t)snprintf(text, sizeof(text), "option:domain-search,%s\n", list);
    if (config->on[NET_DNS])
        len += (size_t)snprintf(text + len, sizeof(text) - len, "option6:domain-search,%s\n", list);
    host_path(path, config, "", "options");
    result = path_write_file(path, text, len, 0600, false);
    return result < 0 ? err_set(err, result, "%s: %s", path, strerror(-result)) : 0;
}

static void configuration_path(const struct net_config *config, char path[NET_PATH_MAX + 64])
{
    snprintf(path, NET_PATH_MAX + 64, "%s/dnsmasq/conf", config->run_dir);
}

int dnsmasq_configure(const struct net_config *config, const char *bridge, unsigned upstream_port,
                      bool router6, struct err *err)
{
    char path[NET_PATH_MAX + 64], *text = NULL;
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
    /* dnsmasq wants the file to be there; what the host's domains are is told later. */
    host_path(path, config, "", "options");
    if (access(path, F_OK) < 0 && dnsmasq_set_search(config, "", err) < 0)
        return -EIO;
    file = open_memstream(&text, &len_bytes);
    if (!file)
        return err_set(err, -ENOMEM, "out of memory");
    print_configuration(file, config, bridge, upstream_port, router6);
    if (fclose(file) != 0) {
        free(text);
        return err_set(err, -ENOMEM, "out of memory");
    }
    configuration_path(config, path);
    result = path_write_file(path, text, len_bytes, 0600, false);
    free(text);
    return result < 0 ? err_set(err, result, "%s: %s", path, strerror(-result)) : 0;
}

bool dnsmasq_was_router6(const struct net_config *config)
{
    char path[NET_PATH_MAX + 64], line[NET_PATH_MAX + 64];
    bool router6 = false;
    FILE *file;

    configuration_path(config, path);
    file = fopen(path, "re");
    if (!file)
        return config->host_has_ipv6;
    while (!router6 && fgets(line, sizeof(line), file))
        router6 = strcmp(line, MARK_ROUTER6) == 0;
    fclose(file);
    return router6;
}

void dnsmasq_pid_path(const struct net_config *config, char ret_path[NET_PATH_MAX + 64])
{
    snprintf(ret_path, NET_PATH_MAX + 64, "%s/dnsmasq/pid", config->run_dir);
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

/* "bad dhcp-option at line 23 of PATH" to what stands in that line; "" where it says no line. */
static void find_line(const char *path, const char *reason, char *ret_line, size_t size)
{
    const char *at = strstr(reason, "at line ");
    int number = at ? atoi(at + strlen("at line ")) : 0;
    FILE *file = fopen(path, "re");

    ret_line[0] = '\0';
    while (file && number-- > 0)
        if (!fgets(ret_line, (int)size, file))
            ret_line[0] = '\0';
    ret_line[strcspn(ret_line, "\n")] = '\0';
    if (file)
        fclose(file);
}

int dnsmasq_test(const struct net_config *config, struct err *err)
{
    char path[NET_PATH_MAX + 64], said_path[NET_PATH_MAX + 64], program[NET_PATH_MAX];
    char option[NET_PATH_MAX + 80], reason[256] = "", line[NET_DHCP_VALUE_MAX + 96];
    char *arguments[] = {program, (char *)"--test", option, NULL};
    posix_spawn_file_actions_t actions;
    int result, status = 0;
    FILE *said;
    pid_t pid;

    if (path_find_program("dnsmasq", program) < 0)
        return dnsmasq_check(err);
    configuration_path(config, path);
    snprintf(option, sizeof(option), "--conf-file=%s", path);
    host_path(said_path, config, "hosts", "../said");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, said_path,
                                     O_WRONLY | O_CREAT | O_TRUNC, 0600);
    result = -posix_spawn(&pid, program, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (result < 0)
        return err_set(err, result, "cannot start dnsmasq: %s", strerror(-result));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    said = fopen(said_path, "re");
    if (said) {
        /* An empty line comes first. */
        while (reason[0] < ' ' && fgets(reason, sizeof(reason), said))
            ;
        fclose(said);
        unlink(said_path);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    reason[strcspn(reason, "\n")] = '\0';
    find_line(path, reason, line, sizeof(line));
    return err_set(
        err, -EINVAL,
        "%s: dnsmasq does not take '%s' (%s); 'dnsmasq --help dhcp' lists the names of options",
        config->file ? config->file->path : config->name, line, reason);
}

int dnsmasq_add_host(const struct net_config *config, const struct plane_port *port,
                     struct err *err)
{
    char path[NET_PATH_MAX + 64], line[256], mac[MAC_TEXT_MAX], ipv4[IP_TEXT_MAX];
    char ipv6[IP_TEXT_MAX];
    struct ip_addr addr = ip_from_u32(port->ipv4), addr6;
    int len, result;

    if (!port->ipv4)
        return 0;
    host_path(path, config, "names", port->interface);
    len = snprintf(line, sizeof(line), "%s %s\n", ip_format(&addr, ipv4), port->name);
    /* A program as a machine asks for no lease, from which dnsmasq would know the address that it has. */
    if (port->kind == PORT_VETH && config->prefix6.family) {
        addr6 = ip_from_mac(&config->prefix6, &port->mac);
        len += snprintf(line + len, sizeof(line) - (size_t)len, "%s %s\n", ip_format(&addr6, ipv6),
                        port->name);
    }
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

static bool is_kept(const char *interface, const struct plane_port *ports, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (strcmp(ports[i].interface, interface) == 0)
            return true;
    return false;
}

void dnsmasq_keep_hosts(const struct net_config *config, const struct plane_port *ports, size_t len,
                        pid_t pid)
{
    char path[NET_PATH_MAX + 64];
    struct dirent *entry;
    DIR *directory;

    host_path(path, config, "hosts", "");
    directory = opendir(path);
    while (directory && (entry = readdir(directory)))
        if (entry->d_name[0] != '.' && !is_kept(entry->d_name, ports, len))
            dnsmasq_remove_host(config, entry->d_name, pid);
    if (directory)
        closedir(directory);
}
