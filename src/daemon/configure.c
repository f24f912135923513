/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/configure.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/process.h"
#include "plane/plane.h"

#define SUBNET_FIRST 0xc0a84000      /* 192.168.64.0, where vmnet begins too */
#define SUBNET_FIRST_HOST 0xc0a88000 /* 192.168.128.0, the same for host mode */
#define SUBNET_LAST 0xc0a8ff00       /* 192.168.255.0 */
#define SUBNET_STEP 0x100
#define SUBNET_PREFIX_LEN 24

static const uint64_t prefix_key[2] = {0x6f70656e766d6e65, 0x7420756c61207072};
static const uint64_t bridge_key[2] = {0x6f70656e766d6e65, 0x7420627269646765};

/* The first of @routes that has addresses in common with a subnet, or NULL. */
static const struct plane_route *find_overlap(uint32_t subnet, unsigned prefix_len,
                                              const struct plane_route *routes, int routes_len)
{
    for (int i = 0; i < routes_len; i++) {
        unsigned shorter = routes[i].prefix_len < prefix_len ? routes[i].prefix_len : prefix_len;

        if (((subnet ^ routes[i].address) & ip_mask_u32(shorter)) == 0)
            return &routes[i];
    }
    return NULL;
}

static bool is_used(uint32_t subnet, const struct plane_route *routes, int routes_len)
{
    return find_overlap(subnet, SUBNET_PREFIX_LEN, routes, routes_len) != NULL;
}

/* The network keeps its subnet: guests have addresses in it, and what they reach of it is their own. */
static void warn_of_overlap(const struct net_config *config, const struct plane_route *route,
                            struct err *warning)
{
    struct ip_addr subnet = ip_from_u32(net_config_subnet(config));
    struct ip_addr address = ip_from_u32(route->address);
    char subnet_text[IP_TEXT_MAX], route_text[IP_TEXT_MAX];

    err_set(warning, 0,
            "its subnet %s/%u has addresses in common with the host's route to %s/%u; guests "
            "cannot reach what is behind that route",
            ip_format(&subnet, subnet_text), config->prefix_len, ip_format(&address, route_text),
            route->prefix_len);
}

/* PATH_SUBNET of a network, in its runtime directory while it runs and in its state directory. */
static int read_subnet(const char *directory, struct plane_route *ret_subnet)
{
    char path[NET_PATH_MAX + 16];
    struct ip_addr addr;
    const char *text;
    json_int_t prefix_len;
    int result = -ENOENT;
    json_t *root;

    if (!directory[0])
        return result;
    snprintf(path, sizeof(path), "%s/" PATH_SUBNET, directory);
    root = json_load_file(path, 0, NULL);
    text = json_string_value(json_object_get(root, "subnet"));
    prefix_len = json_integer_value(json_object_get(root, "prefixLength"));
    if (text && ip_parse(text, &addr) == 0 && addr.family == AF_INET && prefix_len > 0 &&
        prefix_len <= 32) {
        *ret_subnet = (struct plane_route){ntohl(addr.v4.s_addr), (unsigned)prefix_len};
        result = 0;
    }
    json_decref(root);
    return result;
}

static void write_subnet(const struct net_config *config, const char *directory, bool durable)
{
    char path[NET_PATH_MAX + 16], text[IP_TEXT_MAX], json[96];
    struct ip_addr addr = ip_from_u32(net_config_subnet(config));
    struct plane_route known;
    int len, result;

    if (!directory[0])
        return;
    /* It hardly ever changes, and a disk takes its time for what is to be durable. */
    if (read_subnet(directory, &known) == 0 && known.address == net_config_subnet(config) &&
        known.prefix_len == config->prefix_len)
        return;
    len = snprintf(json, sizeof(json), "{\"subnet\": \"%s\", \"prefixLength\": %u}\n",
                   ip_format(&addr, text), config->prefix_len);
    snprintf(path, sizeof(path), "%s/" PATH_SUBNET, directory);
    result = path_write_file(path, json, (size_t)len, 0600, durable);
    if (result < 0)
        log_warn("%s: %s; the network may have another subnet the next time", path,
                 strerror(-result));
}

/* Appends the subnets of this user's other networks, which have directories beside @directory. */
static void add_neighbours(const char *directory, struct plane_route *routes, int *routes_len)
{
    char above[NET_PATH_MAX], path[2 * NET_PATH_MAX];
    const char *name = strrchr(directory, '/');
    struct dirent *entry;
    DIR *opened;

    if (!name)
        return;
    snprintf(above, sizeof(above), "%.*s", (int)(name - directory), directory);
    opened = opendir(above);
    while (opened && *routes_len < PLANE_ROUTES_MAX && (entry = readdir(opened))) {
        if (net_name_check(entry->d_name, NULL) < 0 || strcmp(entry->d_name, name + 1) == 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", above, entry->d_name);
        if (read_subnet(path, &routes[*routes_len]) == 0)
            ++*routes_len;
    }
    if (opened)
        closedir(opened);
}

static uint32_t first_free_subnet(uint32_t first, const struct plane_route *routes, int routes_len)
{
    uint32_t subnet = first;

    do {
        if (!is_used(subnet, routes, routes_len))
            return subnet;
        subnet = subnet == SUBNET_LAST ? SUBNET_FIRST : subnet + SUBNET_STEP;
    } while (subnet != first);
    return 0;
}

static int choose_subnet(struct net_config *config, struct plane_route *routes, int routes_len,
                         struct err *err)
{
    uint32_t first = config->mode == NET_MODE_HOST ? SUBNET_FIRST_HOST : SUBNET_FIRST, subnet = 0;
    int running_len = routes_len, known_len;
    struct plane_route own;

    /* Only one that could have been chosen here: the file may be damaged, or of other addresses. */
    if (read_subnet(config->state_dir, &own) == 0 && own.prefix_len == SUBNET_PREFIX_LEN &&
        own.address >= SUBNET_FIRST && own.address <= SUBNET_LAST && own.address % SUBNET_STEP == 0)
        subnet = own.address;
    /* A VM may be on several networks: no two have the same subnet. Where those that were ever used
     * leave none, those that run must do. */
    add_neighbours(config->run_dir, routes, &running_len);
    known_len = running_len;
    add_neighbours(config->state_dir, routes, &known_len);
    if (!subnet)
        subnet = first_free_subnet(first, routes, known_len);
    if (!subnet)
        subnet = first_free_subnet(first, routes, running_len);
    if (!subnet)
        return err_set(
            err, -EADDRNOTAVAIL,
            "network '%s': routes of the host and other networks use all of 192.168.64.0 "
            "to 192.168.255.255; give the network addresses of its own (start-address=, "
            "end-address=, subnet-mask=)",
            config->name);
    config->gateway = subnet + 1;
    config->pool_start = config->gateway + 1;
    config->pool_end = subnet + SUBNET_STEP - 2;
    config->prefix_len = SUBNET_PREFIX_LEN;
    return 0;
}

/* Networks that start at the same time choose one after the other. */
static int lock_choice(const struct net_config *config)
{
    char above[NET_PATH_MAX + 4];
    int fd;

    /* Others may open, and so lock, the directory that all networks of the system run below. */
    if (config->system && !config->state_dir[0])
        return -1;
    snprintf(above, sizeof(above), "%s/..", config->system ? config->state_dir : config->run_dir);
    fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        flock(fd, LOCK_EX);
    return fd;
}

/* What is the same on each run and differs from machine to machine and user to user. */
static size_t identity(const struct net_config *config, char text[256])
{
    char machine[64] = "";
    FILE *file = fopen("/etc/machine-id", "re");
    int len;

    if (file) {
        if (!fgets(machine, sizeof(machine), file))
            machine[0] = '\0';
        fclose(file);
    }
    if (!machine[0] && gethostname(machine, sizeof(machine) - 1) < 0)
        machine[0] = '\0';
    len = snprintf(text, 256, "%.63s/%u/%s", machine, config->system ? 0 : geteuid(), config->name);
    return (size_t)len;
}

static void choose_prefix6(struct net_config *config, const struct net_spec *spec, const char *id,
                           size_t id_len)
{
    const struct ip_addr *host = &spec->host_ipv6_address;
    uint64_t hash = hash_bytes(prefix_key, id, id_len);
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);

    if (fd < 0)
        return; /* a kernel without IPv6 */
    close(fd);
    config->prefix6 = (struct ip_addr){.family = AF_INET6};
    config->prefix6.bytes[0] = 0xfd;
    for (int i = 1; i < 8; i++, hash >>= 8)
        config->prefix6.bytes[i] = (uint8_t)hash;
    if (spec->nat66_prefix.family)
        config->prefix6 = spec->nat66_prefix;
    if (host->family)
        memcpy(config->prefix6.bytes, host->bytes, 8);
    config->gateway6 = config->prefix6;
    config->gateway6.bytes[15] = 1;
    if (host->family)
        config->gateway6 = *host;
}

/* The addresses that were asked for; false: none were. */
static bool take_subnet(const struct net_spec *spec, struct net_config *config)
{
    bool is_host = spec->host_ip_address.family != 0;
    const struct ip_addr *start = is_host ? &spec->host_ip_address : &spec->start_address;
    uint32_t mask = ntohl((is_host ? &spec->host_subnet_mask : &spec->subnet_mask)->v4.s_addr);

    if (!start->family)
        return false;
    config->gateway = ntohl(start->v4.s_addr);
    config->prefix_len = (unsigned)__builtin_popcount(mask);
    config->pool_start = config->gateway + 1;
    config->pool_end = is_host ? (config->gateway | ~mask) - 1 : ntohl(spec->end_address.v4.s_addr);
    /* The host has the last one: then guests are below it. */
    if (config->pool_start > config->pool_end) {
        config->pool_start = (config->gateway & mask) + 1;
        config->pool_end = config->gateway - 1;
    }
    return true;
}

/* An address outside of the pool could not be reached. */
static int check_reservations(const struct net_config *config, struct err *err)
{
    const struct net_file *file = config->file;
    struct ip_addr first = ip_from_u32(config->pool_start), last = ip_from_u32(config->pool_end);
    char text[IP_TEXT_MAX], first_text[IP_TEXT_MAX], last_text[IP_TEXT_MAX];
    char where[NET_PATH_MAX + 16], mac[MAC_TEXT_MAX];

    for (unsigned i = 0; file && i < file->reservations_len; i++) {
        const struct net_reservation *reservation = &file->reservations[i];
        if (!reservation->address.family ||
            net_config_in_pool(config, ntohl(reservation->address.v4.s_addr)))
            continue;
        snprintf(where, sizeof(where), "%s:%u", file->path, reservation->line);
        return err_set(err, -EINVAL,
                       "%s: address %s of '%s' is not in the pool, %s to %s; write another, or "
                       "start-address, end-address and subnet-mask that include it",
                       reservation->line ? where : "dhcp-host",
                       ip_format(&reservation->address, text),
                       reservation->line ? reservation->name : mac_format(&reservation->mac, mac),
                       ip_format(&first, first_text), ip_format(&last, last_text));
    }
    return 0;
}

int configure_look_at_routes(const struct net_config *config, bool *ret_has_ipv6,
                             struct err *ret_warning)
{
    struct plane_route *routes = calloc(PLANE_ROUTES_MAX, sizeof(*routes));
    const struct plane_route *overlap;
    int result =
        routes ? plane_host_routes(config, routes, PLANE_ROUTES_MAX, ret_has_ipv6) : -ENOMEM;

    ret_warning->text[0] = '\0';
    if (result > 0 && config->gateway) {
        overlap = find_overlap(net_config_subnet(config), config->prefix_len, routes, result);
        if (overlap)
            warn_of_overlap(config, overlap, ret_warning);
    }
    free(routes);
    return result < 0 ? result : 0;
}

int configure(const struct net_spec *spec, struct net_config *config, struct err *warning,
              struct err *err)
{
    const struct plane_route *overlap;
    struct plane_route *routes = calloc(PLANE_ROUTES_MAX, sizeof(*routes));
    struct err state_err;
    char id[256];
    size_t id_len;
    uint64_t hash;
    int result, routes_len, lock_fd;

    if (!routes)
        return err_set(err, -ENOMEM, "out of memory");
    snprintf(config->name, sizeof(config->name), "%s", spec->name);
    config->mode = spec->mode;
    config->mtu = spec->mtu ? spec->mtu : NET_MTU_DEFAULT;
    config->mtu_asked = spec->mtu;
    config->workers = spec->workers ? spec->workers : process_cpus();
    if (config->workers > NET_WORKERS_MAX)
        config->workers = NET_WORKERS_MAX;
    for (enum net_switch which = 0; which < NET_SWITCHES; which++)
        config->on[which] = net_spec_is_on(spec, which);
    snprintf(config->net_uuid, sizeof(config->net_uuid), "%s", spec->net_uuid);
    snprintf(config->ifname, sizeof(config->ifname), "%s", spec->ifname);
    /* The host's kernel is the way out: what is left for a worker is forwards from its loopback. */
    if (config->system)
        config->workers = 1;
    config->host_ports = spec->host_ports;
    config->lease_time_s = config->file && config->file->lease_time_s ? config->file->lease_time_s
                                                                      : NET_LEASE_TIME_DEFAULT_S;
    snprintf(config->domain, sizeof(config->domain), "%s." NET_DOMAIN_ALL, config->name);
    warning->text[0] = '\0';
    if (path_state(config->system ? NET_OF_SYSTEM : NET_OF_USER, config->name, config->state_dir,
                   &state_err) < 0) {
        err_set(warning, 0, "%.900s; the network works, but its addresses may change the next time",
                state_err.text);
        config->state_dir[0] = '\0';
    }
    id_len = identity(config, id);
    hash = hash_bytes(bridge_key, id, id_len);
    config->mac = (struct mac_addr){{0x52, 0x55, (uint8_t)(hash >> 24), (uint8_t)(hash >> 16),
                                     (uint8_t)(hash >> 8), (uint8_t)hash}};
    if (config->mode == NET_MODE_BRIDGED) {
        free(routes);
        result = plane_complete_bridged(spec, config, err);
        /* It has no subnet, and so takes none from other networks; that the file is there says that it runs. */
        if (result == 0)
            write_subnet(config, config->run_dir, false);
        return result;
    }
    choose_prefix6(config, spec, id, id_len);
    lock_fd = lock_choice(config);
    result = plane_host_routes(config, routes, PLANE_ROUTES_MAX, &config->host_has_ipv6);
    config->host_has_ipv6 = config->host_has_ipv6 && config->on[NET_NAT66];
    if (result < 0) {
        log_warn("cannot read the host's routes: %s", strerror(-result));
        result = 0;
    }
    routes_len = result;
    result = take_subnet(spec, config) ? 0 : choose_subnet(config, routes, routes_len, err);
    config->host_asked = spec->host_ip_address.family;
    config->host6_asked = spec->host_ipv6_address.family;
    config->range_start = config->pool_start;
    config->range_end = config->pool_end;
    if (spec->range_first.family) {
        config->range_start = ntohl(spec->range_first.v4.s_addr);
        config->range_end = ntohl(spec->range_last.v4.s_addr);
    }
    overlap = result == 0
                  ? find_overlap(net_config_subnet(config), config->prefix_len, routes, routes_len)
                  : NULL;
    if (overlap)
        warn_of_overlap(config, overlap, warning);
    if (result == 0)
        result = check_reservations(config, err);
    if (result == 0) {
        write_subnet(config, config->run_dir, false);
        write_subnet(config, config->state_dir, true);
    }
    if (lock_fd >= 0)
        close(lock_fd);
    free(routes);
    return result;
}
