/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/place.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"

#define PREFIX "vmnet-"
/* Of a name that is too long for an interface's (netdevice(7)): so many characters and a hash are left of it. */
#define NAME_CHARS_MAX (IFNAMSIZ - sizeof(PREFIX))
#define HASH_CHARS 6

static const uint64_t name_key[2] = {0x6f70656e766d6e65, 0x742069666e616d65};

void place_init(struct place *place, const struct net_config *config)
{
    unsigned hash = hash_bytes(name_key, config->name, strlen(config->name)) & 0xffffff;

    *place = (struct place){.config = config, .host = config->system, .network = ""};
    if (!place->host) {
        strcpy(place->bridge, "br0");
        strcpy(place->table, "openvmnet");
        strcpy(place->tap, "tap");
        strcpy(place->veth, "veth");
        return;
    }
    place->network = config->name;
    if (strlen(config->name) <= NAME_CHARS_MAX)
        snprintf(place->bridge, sizeof(place->bridge), PREFIX "%.9s", config->name);
    else
        snprintf(place->bridge, sizeof(place->bridge), PREFIX "%.*s%0*x",
                 (int)NAME_CHARS_MAX - HASH_CHARS, config->name, HASH_CHARS, hash);
    snprintf(place->table, sizeof(place->table), PREFIX "%s", config->name);
    snprintf(place->tap, sizeof(place->tap), "vm%0*x-", HASH_CHARS, hash);
    memcpy(place->veth, place->tap, sizeof(place->veth));
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
