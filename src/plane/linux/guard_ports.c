/* SPDX-License-Identifier: Apache-2.0 */
/* Ports, as elements of the guard's sets; the rules that look into these are in guard.c. */
#include "plane/linux/guard.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "plane/linux/elements.h"

/* A concatenation: each part fills up words. */
static void put_key(struct element *element, const void *part, size_t len)
{
    memcpy(element->key + element->key_len, part, len);
    element->key_len = (uint16_t)(element->key_len + (len + 3) / 4 * 4);
}

static void put_interface(struct element *element, const struct plane_port *port)
{
    put_key(element, port->interface, sizeof(port->interface));
}

/* Each of these writes what follows the interface in the element that @port is of a set. False: it is none. */

static bool is_learning(const struct place *place, const struct plane_port *port,
                        struct element *element)
{
    return mac_is_zero(&port->mac);
}

static bool is_unguarded(const struct place *place, const struct plane_port *port,
                         struct element *element)
{
    return !port->anti_spoof && !mac_is_zero(&port->mac);
}

static bool is_isolated(const struct place *place, const struct plane_port *port,
                        struct element *element)
{
    return port->isolated;
}

static bool is_sender(const struct place *place, const struct plane_port *port,
                      struct element *element)
{
    put_key(element, port->mac.bytes, sizeof(port->mac.bytes));
    return port->anti_spoof && !mac_is_zero(&port->mac);
}

/* Without DHCP the address is one that the guest may take, not one that it must have. */
static bool must_have_ipv4(const struct place *place, const struct plane_port *port)
{
    return port->anti_spoof && port->ipv4 && place->config->on[NET_DHCP];
}

static bool is_sender4(const struct place *place, const struct plane_port *port,
                       struct element *element)
{
    uint32_t ipv4 = htonl(port->ipv4);

    put_key(element, port->mac.bytes, sizeof(port->mac.bytes));
    put_key(element, &ipv4, sizeof(ipv4));
    return must_have_ipv4(place, port);
}

/* Of a frame from its source on, as one part: the protocol is IPv4's. */
static bool is_own4(const struct place *place, const struct plane_port *port,
                    struct element *element)
{
    uint8_t frame[8] = {[6] = 0x08};
    uint32_t ipv4 = htonl(port->ipv4);

    memcpy(frame, port->mac.bytes, sizeof(port->mac.bytes));
    put_key(element, frame, sizeof(frame));
    put_key(element, &ipv4, sizeof(ipv4));
    return must_have_ipv4(place, port);
}

static bool is_any4(const struct place *place, const struct plane_port *port,
                    struct element *element)
{
    return port->anti_spoof && !mac_is_zero(&port->mac) &&
           (!port->ipv4 || !place->config->on[NET_DHCP]);
}

static bool is_labelled(const struct place *place, const struct plane_port *port,
                        struct element *element)
{
    uint16_t label = htons((uint16_t)net_config_guest(place->config, port->ipv4));

    memcpy(element->value, &label, sizeof(label));
    element->value_len = sizeof(label);
    return port->ipv4;
}

static bool is_machine(const struct place *place, const struct plane_port *port,
                       struct element *element)
{
    /* No concatenation, so nothing fills up words. */
    memcpy(element->key, port->mac.bytes, sizeof(port->mac.bytes));
    element->key_len = sizeof(port->mac.bytes);
    return !mac_is_zero(&port->mac);
}

static bool is_alone(const struct place *place, const struct plane_port *port,
                     struct element *element)
{
    return is_machine(place, port, element) && port->isolated;
}

/* How a set knows a port. Its index is compared more quickly than its name, which tells more and is what a rate is kept by. */
enum port_key {
    KEY_NAME,
    KEY_INDEX,
    KEY_NONE /* where ports are apart (guard.c) there are two sets of MAC addresses alone */
};

static const struct set {
    const char *name;
    bool (*read)(const struct place *place, const struct plane_port *port, struct element *element);
    enum port_key key;
} sets[] = {
    {"learning", is_learning, KEY_NAME}, {"unguarded", is_unguarded, KEY_NAME},
    {"isolated", is_isolated, KEY_NAME}, {"senders", is_sender, KEY_INDEX},
    {"macs", is_sender, KEY_INDEX},      {"senders4", is_sender4, KEY_INDEX},
    {"own4", is_own4, KEY_INDEX},        {"any4", is_any4, KEY_NAME},
    {"labels", is_labelled, KEY_NAME},   {"machines", is_machine, KEY_NONE},
    {"alone", is_alone, KEY_NONE},
};
#define SETS_LEN (sizeof(sets) / sizeof(sets[0]))
#define SETS_OF_APART 2 /* the last ones */

static size_t sets_len(const struct place *place)
{
    return place->apart ? SETS_LEN : SETS_LEN - SETS_OF_APART;
}

/* False: @port is none of @set. */
static bool make_element(const struct set *set, const struct place *place,
                         const struct plane_port *port, struct element *ret_element)
{
    *ret_element = (struct element){0};
    if (set->key == KEY_NAME)
        put_interface(ret_element, port);
    else if (set->key == KEY_INDEX)
        put_key(ret_element, &port->ifindex, sizeof(port->ifindex));
    return set->read(place, port, ret_element);
}

/* Set by set, for elements that follow each other share a message. */
static void put_ports(struct elements *batch, uint16_t type, const struct place *place,
                      const struct plane_port *ports, size_t len)
{
    for (size_t i = 0; i < sets_len(place); i++) {
        for (size_t k = 0; k < len; k++) {
            struct element element;

            if (make_element(&sets[i], place, &ports[k], &element))
                elements_put(batch, type, sets[i].name, &element);
        }
    }
}

static void write_number(FILE *text, const uint8_t *bytes, size_t len)
{
    fputs("0x", text);
    for (size_t i = 0; i < len; i++)
        fprintf(text, "%02x", bytes[i]);
}

/*
 * An element of @set as nftables reads it. Of "macs" and "own4" what follows the interface are numbers, for the sets' types
 * have no other words.
 */
static void write_element(FILE *text, const struct set *set, const struct element *element)
{
    const uint8_t *key = element->key;
    char mac_text[MAC_TEXT_MAX], ipv4[IP_TEXT_MAX];
    struct ip_addr addr = {.family = AF_INET};
    struct mac_addr mac;
    unsigned ifindex;

    if (set->key == KEY_NAME) {
        fprintf(text, "\"%.16s\"", (const char *)key);
        if (element->value_len)
            fprintf(text, " : 0x%02x%02x", element->value[0], element->value[1]);
        return;
    }
    if (set->key == KEY_INDEX) {
        memcpy(&ifindex, key, sizeof(ifindex));
        fprintf(text, "%u . ", ifindex);
        key += sizeof(ifindex);
    }
    if (set->read == is_own4) {
        write_number(text, key, 8);
        fputs(" . ", text);
        write_number(text, key + 8, 4);
        return;
    }
    memcpy(mac.bytes, key, sizeof(mac.bytes));
    if (strcmp(set->name, "macs") == 0)
        write_number(text, key, sizeof(mac.bytes));
    else
        fputs(mac_format(&mac, mac_text), text);
    if (set->read == is_sender4) {
        memcpy(addr.bytes, key + 8, 4);
        fprintf(text, " . %s", ip_format(&addr, ipv4));
    }
}

void guard_write_ports(FILE *text, const struct place *place, const struct plane_port *ports,
                       size_t len)
{
    for (size_t i = 0; i < sets_len(place); i++) {
        bool any = false;

        for (size_t k = 0; k < len; k++) {
            struct element element;

            if (!make_element(&sets[i], place, &ports[k], &element))
                continue;
            if (any)
                fputs(", ", text);
            else
                fprintf(text, "add element bridge %s %s { ", place->table, sets[i].name);
            any = true;
            write_element(text, &sets[i], &element);
        }
        if (any)
            fputs(" }\n", text);
    }
}

/* Only what is there can be deleted, so that comes after an add, which is also right where it is there. */
static void put_forget_drops(struct elements *batch, const struct plane_port *port)
{
    static const uint16_t types[] = {NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM};

    for (int type = 0; type < 2; type++) {
        for (uint32_t reason = 0; reason < PLANE_DROPS_LEN; reason++) {
            struct element element = {0};

            put_interface(&element, port);
            put_key(&element, &reason, sizeof(reason));
            elements_put(batch, types[type], "drops", &element);
        }
    }
}

static int send_ports(struct elements *batch, struct mnl_socket *socket, struct err *err)
{
    int result = elements_send(batch, socket);

    return result < 0
               ? err_set(err, result, "cannot change the guard's rules: %s", strerror(-result))
               : 0;
}

int guard_add(struct mnl_socket *socket, const struct place *place, const struct plane_port *port,
              bool forget, struct err *err)
{
    struct elements batch;

    elements_begin(&batch, place->table, 2 * PLANE_DROPS_LEN + SETS_LEN);
    if (forget)
        put_forget_drops(&batch, port);
    put_ports(&batch, NFT_MSG_NEWSETELEM, place, port, 1);
    return send_ports(&batch, socket, err);
}

int guard_settle(struct mnl_socket *socket, const struct place *place,
                 const struct plane_port *port, struct err *err)
{
    static const uint16_t types[] = {NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM};
    struct elements batch;

    elements_begin(&batch, place->table, 2 + SETS_LEN);
    for (int type = 0; type < 2; type++) {
        struct element element = {0};

        put_interface(&element, port);
        elements_put(&batch, types[type], "learning", &element);
    }
    put_ports(&batch, NFT_MSG_NEWSETELEM, place, port, 1);
    return send_ports(&batch, socket, err);
}

int guard_remove(struct mnl_socket *socket, const struct place *place,
                 const struct plane_port *port, struct err *err)
{
    struct elements batch;

    elements_begin(&batch, place->table, 2 * SETS_LEN);
    put_ports(&batch, NFT_MSG_NEWSETELEM, place, port, 1);
    put_ports(&batch, NFT_MSG_DELSETELEM, place, port, 1);
    return send_ports(&batch, socket, err);
}

int guard_replace(struct mnl_socket *socket, const struct place *place,
                  const struct plane_port *ports, size_t len, struct err *err)
{
    struct elements batch;

    elements_begin(&batch, place->table, (len + 1) * SETS_LEN);
    for (size_t i = 0; i < sets_len(place); i++)
        elements_put(&batch, NFT_MSG_DELSETELEM, sets[i].name, NULL);
    put_ports(&batch, NFT_MSG_NEWSETELEM, place, ports, len);
    return send_ports(&batch, socket, err);
}

/* ---- what was dropped */

/* An element that was only added for a moment has no counter, and is an array instead of an object. */
static void read_element(json_t *drops, json_t *element)
{
    const char *interface;
    json_int_t reason, packets;
    char key[32];

    if (json_unpack(element, "{s:{s:{s:[s, I]}, s:{s:I}}}", "elem", "val", "concat", &interface,
                    &reason, "counter", "packets", &packets) < 0)
        return;
    snprintf(key, sizeof(key), "%.15s %d", interface, (int)reason);
    json_object_set_new(drops, key, json_integer(packets));
}

json_t *guard_read_drops(struct nft_ctx *nft, const struct place *place)
{
    char command[PLACE_TABLE_MAX + 32];
    json_t *root, *drops, *item, *element;
    const char *output;
    size_t i, k;

    snprintf(command, sizeof(command), "list set bridge %s drops", place->table);
    output = ruleset_list(nft, command);
    root = output ? json_loads(output, 0, NULL) : NULL;
    drops = root ? json_object() : NULL;

    json_array_foreach(json_object_get(root, "nftables"), i, item)
        json_array_foreach(json_object_get(json_object_get(item, "set"), "elem"), k, element)
            read_element(drops, element);
    json_decref(root);
    return drops;
}

void guard_port_drops(const json_t *drops, const char *interface,
                      uint64_t ret_drops[PLANE_DROPS_LEN])
{
    char key[32];

    for (int i = 0; i < PLANE_DROPS_LEN; i++) {
        snprintf(key, sizeof(key), "%.15s %d", interface, i);
        ret_drops[i] = (uint64_t)json_integer_value(json_object_get(drops, key));
    }
}
