/* SPDX-License-Identifier: Apache-2.0 */
#include "helper/bridge_args.h"

#include <stdio.h>
#include <string.h>

#include "cli/keyvalue.h"
#include "cli/qemu_args.h"

#define DEFAULT_BRIDGE "br0" /* QEMU's, where br= is missing */

/* QEMU's own MAC for the first NIC that was given none; the next ones count up from it. */
static const struct mac_addr first_default = {{0x52, 0x54, 0x00, 0x12, 0x34, 0x56}};

struct netdev {
    char id[64];
    bool known;
    struct mac_addr mac;
};

struct scan {
    const char *bridge;
    struct netdev netdevs[BRIDGE_NICS_MAX];
    size_t len;
    unsigned defaults; /* NICs without a MAC so far */
};

static struct mac_addr next_default(struct scan *scan)
{
    struct mac_addr mac = first_default;

    mac.bytes[5] = (uint8_t)(mac.bytes[5] + scan->defaults++);
    return mac;
}

static struct mac_addr mac_of(struct scan *scan, const struct kv_list *options)
{
    const char *text = kv_get(options, "mac");
    struct mac_addr mac;

    return text && mac_parse(text, &mac) == 0 ? mac : next_default(scan);
}

static bool is_ours(const struct scan *scan, const struct kv_list *options)
{
    const char *type = kv_get(options, "type"), *bridge = kv_get(options, "br");

    return type && strcmp(type, "bridge") == 0 &&
           strcmp(bridge ? bridge : DEFAULT_BRIDGE, scan->bridge) == 0;
}

static void take_netdev(struct scan *scan, const struct kv_list *options)
{
    const char *id = kv_get(options, "id");

    if (id && is_ours(scan, options) && scan->len < BRIDGE_NICS_MAX)
        snprintf(scan->netdevs[scan->len++].id, sizeof(scan->netdevs[0].id), "%s", id);
}

/* Any NIC counts for the default MACs, whatever it is connected to. */
static void take_nic(struct scan *scan, const struct kv_list *options)
{
    const char *type = kv_get(options, "type");
    struct mac_addr mac;

    if (type && strcmp(type, "none") == 0)
        return;
    mac = mac_of(scan, options);
    if (is_ours(scan, options) && scan->len < BRIDGE_NICS_MAX)
        scan->netdevs[scan->len++] = (struct netdev){.known = true, .mac = mac};
}

static void take_device(struct scan *scan, const struct kv_list *options)
{
    const char *id = kv_get(options, "netdev");
    struct mac_addr mac;

    if (!id)
        return;
    mac = mac_of(scan, options);
    for (size_t i = 0; i < scan->len; i++) {
        struct netdev *netdev = &scan->netdevs[i];

        if (!netdev->known && strcmp(netdev->id, id) == 0) {
            netdev->mac = mac;
            netdev->known = true;
        }
    }
}

static void each(struct scan *scan, char *const *argv, const char *option, const char *implied,
                 void (*take)(struct scan *scan, const struct kv_list *options))
{
    for (; argv[0] && argv[1]; argv++) {
        struct kv_list options = {0};

        if (!qemu_args_option_is(argv[0], option))
            continue;
        if (kv_parse(argv[1], implied, &options, NULL) == 0)
            take(scan, &options);
        kv_done(&options);
    }
}

static void read_name(char *const *argv, char ret_name[NET_HOSTNAME_MAX + 1])
{
    for (; argv[0] && argv[1]; argv++) {
        struct kv_list options = {0};

        if (!qemu_args_option_is(argv[0], "name"))
            continue;
        if (kv_parse(argv[1], "guest", &options, NULL) == 0 && kv_get(&options, "guest"))
            qemu_args_hostname(kv_get(&options, "guest"), ret_name);
        kv_done(&options);
    }
}

void bridge_args_read(char *const *argv, const char *bridge, struct bridge_nics *ret_nics)
{
    struct scan scan = {.bridge = bridge};

    memset(ret_nics, 0, sizeof(*ret_nics));
    each(&scan, argv, "netdev", "type", take_netdev);
    each(&scan, argv, "nic", "type", take_nic);
    each(&scan, argv, "device", "driver", take_device);
    for (size_t i = 0; i < scan.len; i++)
        if (scan.netdevs[i].known)
            ret_nics->macs[ret_nics->len++] = scan.netdevs[i].mac;
    read_name(argv, ret_nics->name);
    ret_nics->arriving = qemu_args_is_arriving(argv);
}
