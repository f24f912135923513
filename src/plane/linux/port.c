/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CUT_OFF_ALIAS_MAX (NET_NAME_MAX + 64)

enum field {
    FIELD_MAC,
    FIELD_IPV4,
    FIELD_NAME,
    FIELD_ID,
    FIELD_KIND,
    FIELD_FLAGS,
    FIELD_OWNER,
    FIELDS
};

/* Fills the port's flags from their letters; each letter at most once, in this order. */
static bool read_flags(const char *text, struct plane_port *port)
{
    if (strcmp(text, "-") == 0)
        return true;
    if (!*text)
        return false;
    port->isolated = *text == 'i';
    text += port->isolated;
    port->anti_spoof = *text == 'a';
    text += port->anti_spoof;
    return !*text;
}

/* A number from 0 to @max, and then @end. */
static bool read_number(const char **text, long max, char end, long *ret_value)
{
    char *rest;

    if (**text < '0' || **text > '9')
        return false;
    errno = 0;
    *ret_value = strtol(*text, &rest, 10);
    *text = rest + 1;
    return *rest == end && errno == 0 && *ret_value <= max;
}

static bool read_owner(const char *text, struct plane_port *port)
{
    long pid, uid;

    if (!read_number(&text, INT32_MAX, ':', &pid) || !read_number(&text, UINT32_MAX, '\0', &uid))
        return false;
    port->owner_pid = (int32_t)pid;
    port->owner_uid = (uint32_t)uid;
    return true;
}

static bool read_fields(char *const *fields, struct plane_port *port)
{
    struct ip_addr addr;
    enum port_kind kind;

    if (mac_parse(fields[FIELD_MAC], &port->mac) < 0 || ip_parse(fields[FIELD_IPV4], &addr) < 0 ||
        addr.family != AF_INET || net_hostname_check(fields[FIELD_NAME], NULL) < 0 ||
        net_uuid_check(fields[FIELD_ID], NULL) < 0 ||
        port_kind_parse(fields[FIELD_KIND], &kind) < 0 || !read_flags(fields[FIELD_FLAGS], port) ||
        !read_owner(fields[FIELD_OWNER], port))
        return false;
    port->ipv4 = ntohl(addr.v4.s_addr);
    port->kind = (uint8_t)kind;
    snprintf(port->name, sizeof(port->name), "%s", fields[FIELD_NAME]);
    snprintf(port->interface_id, sizeof(port->interface_id), "%s", fields[FIELD_ID]);
    return true;
}

bool port_read_alias(const char *alias, const char *network, struct plane_port *ret_port)
{
    char text[PORT_ALIAS_MAX + 1], *rest = text, *fields[FIELDS];
    size_t len_bytes = strlen(alias);

    memset(ret_port, 0, sizeof(*ret_port));
    if (len_bytes > PORT_ALIAS_MAX)
        return false;
    memcpy(text, alias, len_bytes + 1);
    for (int i = 0; i < FIELDS; i++)
        fields[i] = strsep(&rest, " ");
    /* strsep() gives NULL for each field that is missing, and leaves a rest where there are more. */
    return fields[FIELDS - 1] && (*network ? rest && strcmp(rest, network) == 0 : !rest) &&
           read_fields(fields, ret_port);
}

int port_write_alias(const struct plane_port *port, const char *network,
                     char ret_alias[PORT_ALIAS_MAX + 1])
{
    char mac[MAC_TEXT_MAX], ipv4[IP_TEXT_MAX];
    struct ip_addr addr = ip_from_u32(port->ipv4);
    struct plane_port read;
    int len;

    if (port->kind >= PORT_KINDS)
        return -EINVAL;
    len = snprintf(ret_alias, PORT_ALIAS_MAX + 1, "%s %s %s %s %s %s%s%s %d:%u%s%s",
                   mac_format(&port->mac, mac), ip_format(&addr, ipv4), port->name,
                   port->interface_id, port_kind_name((enum port_kind)port->kind),
                   port->isolated ? "i" : "", port->anti_spoof ? "a" : "",
                   port->isolated || port->anti_spoof ? "" : "-", port->owner_pid, port->owner_uid,
                   *network ? " " : "", network);
    return len > 0 && len <= PORT_ALIAS_MAX && port_read_alias(ret_alias, network, &read) ? 0
                                                                                          : -EINVAL;
}

bool port_read_link(const struct nlmsghdr *header, const struct place *place,
                    struct plane_port *ret_port, struct plane_port_stats *ret_stats)
{
    const struct ifinfomsg *link = mnl_nlmsg_get_payload(header);
    struct rtnl_link_stats64 counted = {0};
    char alias[PORT_ALIAS_MAX + 1] = "", name[IFNAMSIZ] = "";
    const struct nlattr *attr;

    /* A port that leaves a bridge is told a second time, in the bridge's own family. */
    if (link->ifi_family != AF_UNSPEC)
        return false;
    mnl_attr_for_each(attr, header, sizeof(*link))
    {
        size_t len = mnl_attr_get_payload_len(attr);

        switch (mnl_attr_get_type(attr)) {
        case IFLA_IFNAME: snprintf(name, sizeof(name), "%s", mnl_attr_get_str(attr)); break;
        case IFLA_IFALIAS:
            snprintf(alias, sizeof(alias), "%.*s", (int)len, mnl_attr_get_str(attr));
            break;
        case IFLA_STATS64:
            /* As much as kernel and compiler both know of. */
            memcpy(&counted, mnl_attr_get_payload(attr),
                   len < sizeof(counted) ? len : sizeof(counted));
            break;
        default: break;
        }
    }
    if (!place_is_port(place, name) || !port_read_alias(alias, place->network, ret_port))
        return false;
    memcpy(ret_port->interface, name, sizeof(ret_port->interface));
    ret_port->ifindex = (unsigned)link->ifi_index;
    /* What we receive the guest has sent. */
    if (ret_stats)
        *ret_stats = (struct plane_port_stats){
            .up_packets = counted.rx_packets,
            .up_bytes = counted.rx_bytes,
            .down_packets = counted.tx_packets,
            .down_bytes = counted.tx_bytes,
            .down_dropped = counted.tx_dropped,
        };
    return true;
}

struct list_walk {
    const struct place *place;
    struct port_list *list;
};

static int on_listed_link(const struct nlmsghdr *header, void *context)
{
    struct list_walk *walk = context;
    struct port_list *list = walk->list;

    if (list->len < PLANE_PORTS_MAX &&
        port_read_link(header, walk->place, &list->ports[list->len], NULL))
        list->len++;
    return MNL_CB_OK;
}

static void forget_listed_links(void *context)
{
    ((struct list_walk *)context)->list->len = 0;
}

int port_list_read(struct netlink *netlink, const struct place *place, struct port_list *ret_list,
                   struct err *err)
{
    struct port_list list = {calloc(PLANE_PORTS_MAX, sizeof(*list.ports)), 0};
    struct list_walk walk = {place, &list};
    int result;

    *ret_list = (struct port_list){0};
    if (!list.ports)
        return err_set(err, -ENOMEM, "out of memory");
    result =
        netlink_dump(netlink, RTM_GETLINK, AF_UNSPEC, on_listed_link, forget_listed_links, &walk);
    if (result < 0) {
        free(list.ports);
        return err_set(err, result, "cannot list the network's links: %s", strerror(-result));
    }
    *ret_list = list;
    return 0;
}

int port_list_set_mtu(struct netlink *netlink, const struct place *place, unsigned mtu,
                      struct err *err)
{
    struct port_list list;
    int result = port_list_read(netlink, place, &list, err);

    for (size_t i = 0; i < list.len; i++)
        netlink_set_mtu(netlink, (int)list.ports[i].ifindex, mtu);
    free(list.ports);
    return result;
}

static void write_cut_off(const char *network, char ret_alias[CUT_OFF_ALIAS_MAX])
{
    snprintf(ret_alias, CUT_OFF_ALIAS_MAX, "openvmnet: cut off from network %s", network);
}

int port_cut_off(struct netlink *netlink, const struct plane_port *port, const char *network)
{
    int ifindex = (int)if_nametoindex(port->interface);
    char alias[CUT_OFF_ALIAS_MAX];

    if (!ifindex)
        return -ENODEV;
    write_cut_off(network, alias);
    return port->kind == PORT_VETH ? netlink_delete_link(netlink, ifindex)
                                   : netlink_cut_off(netlink, ifindex, alias);
}

int port_list_cut_off(struct netlink *netlink, const struct port_list *list, const char *network,
                      struct err *err)
{
    int first = 0;

    for (size_t i = 0; i < list->len; i++) {
        int result = port_cut_off(netlink, &list->ports[i], network);

        if (result < 0 && result != -ENODEV && first == 0)
            first = err_set(err, result, "cannot take port %s down: %s", list->ports[i].interface,
                            strerror(-result));
    }
    return first;
}

struct cut_off_walk {
    char alias[CUT_OFF_ALIAS_MAX];
    int count;
};

static int on_maybe_cut_off(const struct nlmsghdr *header, void *context)
{
    struct cut_off_walk *walk = context;
    const struct nlattr *attr;

    mnl_attr_for_each(attr, header, sizeof(struct ifinfomsg))
    {
        if (mnl_attr_get_type(attr) == IFLA_IFALIAS &&
            mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
            walk->count += strcmp(mnl_attr_get_str(attr), walk->alias) == 0;
    }
    return MNL_CB_OK;
}

static void forget_cut_off(void *context)
{
    ((struct cut_off_walk *)context)->count = 0;
}

int port_count_cut_off(struct netlink *netlink, const char *network)
{
    struct cut_off_walk walk = {.count = 0};
    int result;

    write_cut_off(network, walk.alias);
    result = netlink_dump(netlink, RTM_GETLINK, AF_UNSPEC, on_maybe_cut_off, forget_cut_off, &walk);
    return result < 0 ? result : walk.count;
}
