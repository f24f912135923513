/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/place.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"

/* Of a name that is too long for an interface's (netdevice(7)): so many characters and a hash are left of it. */
#define NAME_CHARS_MAX (IFNAMSIZ - sizeof(PLACE_PREFIX))
#define HASH_CHARS 6

static const uint64_t name_key[2] = {0x6f70656e766d6e65, 0x742069666e616d65};

static unsigned name_hash(const struct net_config *config)
{
    return hash_bytes(name_key, config->name, strlen(config->name)) & 0xffffff;
}

static void write_link_name(const struct net_config *config, char ret_name[IFNAMSIZ])
{
    if (strlen(config->name) <= NAME_CHARS_MAX)
        snprintf(ret_name, IFNAMSIZ, PLACE_PREFIX "%.9s", config->name);
    else
        snprintf(ret_name, IFNAMSIZ, PLACE_PREFIX "%.*s%0*x", (int)NAME_CHARS_MAX - HASH_CHARS,
                 config->name, HASH_CHARS, name_hash(config));
}

static void write_port_prefix(const struct net_config *config, char ret_prefix[IFNAMSIZ])
{
    snprintf(ret_prefix, IFNAMSIZ, "vm%0*x-", HASH_CHARS, name_hash(config));
}

static void init_host(struct place *place, const struct net_config *config)
{
    place->host = true;
    place->network = config->name;
    snprintf(place->table, sizeof(place->table), PLACE_PREFIX "%s", config->name);
    write_port_prefix(config, place->tap);
    memcpy(place->veth, place->tap, sizeof(place->veth));
}

void place_init(struct place *place, const struct net_config *config)
{
    if (config->system && config->mode != NET_MODE_BRIDGED) {
        *place = (struct place){.config = config};
        init_host(place, config);
        write_link_name(config, place->bridge);
        return;
    }
    *place = (struct place){
        .config = config,
        .network = "",
        .bridge = "br0",
        .table = "openvmnet",
        .tap = "tap",
        .veth = "veth",
    };
    write_link_name(config, place->leg);
    write_port_prefix(config, place->outside);
}

void place_on_bridge(struct place *place, const struct net_config *config, const char *bridge)
{
    *place = (struct place){.config = config};
    init_host(place, config);
    snprintf(place->bridge, sizeof(place->bridge), "%s", bridge);
}

bool place_is_port(const struct place *place, const char *name)
{
    const char *const prefixes[] = {place->tap, place->veth};

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        size_t len = strlen(prefixes[i]);

        if (strncmp(name, prefixes[i], len) == 0 && name[len] &&
            strspn(name + len, "0123456789") == strlen(name + len))
            return true;
    }
    return false;
}

bool place_is_ours(const char *name)
{
    if (strncmp(name, PLACE_PREFIX, strlen(PLACE_PREFIX)) == 0)
        return true;
    return strncmp(name, "vm", 2) == 0 && strspn(name + 2, "0123456789abcdef") == HASH_CHARS &&
           name[2 + HASH_CHARS] == '-';
}
