/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/bridged_shortcut.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <stdlib.h>
#include <string.h>

#include "plane/linux/bridged_frames.h"
#include "plane/linux/bridged_shortcut_maps.h"
#include "plane/shortcut_object.h" /* what bridged_shortcut.bpf.c has become */

/* The links are the network's own, and have no other filters. */
#define PRIORITY 1
#define HANDLE 1

_Static_assert(SHORTCUT_MACHINES_MAX > FRAMES_MACS_MAX, "room for all machines of an interface");

/*
 * libbpf since 1.0, when functions began to return -errno. It is looked for when a network wants it: all others, and so
 * most, would start with it for nothing.
 */
#define LIBRARY "libbpf.so.1"
#define FUNCTIONS(X)                                                                               \
    X(libbpf_set_print)                                                                            \
    X(bpf_object__open_mem)                                                                        \
    X(bpf_object__load)                                                                            \
    X(bpf_object__close)                                                                           \
    X(bpf_object__find_map_fd_by_name)                                                             \
    X(bpf_object__find_program_by_name)                                                            \
    X(bpf_program__fd)                                                                             \
    X(bpf_map_update_elem)                                                                         \
    X(bpf_map_delete_elem)

static struct {
#define MEMBER(name) __typeof__(name) *(name);
    FUNCTIONS(MEMBER)
} library;

struct shortcut {
    struct netlink *inside;
    struct tc_owner owner;
    struct bpf_object *object;
    int machines, globals; /* maps */
    int from_machine, from_outside, to_machine;
    struct shortcut_links links;
};

/* For as long as the process lives. */
static int load_library(void)
{
    void *handle = dlopen(LIBRARY, RTLD_NOW);
    bool all = handle != NULL;

#define FIND(name) all = all && (library.name = (__typeof__(name) *)dlsym(handle, #name)) != NULL;
    FUNCTIONS(FIND)
    return all ? 0 : -ELIBACC;
}

static int write_links(struct shortcut *shortcut)
{
    const uint32_t only = 0;

    return library.bpf_map_update_elem(shortcut->globals, &only, &shortcut->links, BPF_ANY);
}

static int find_program(struct bpf_object *object, const char *name)
{
    return library.bpf_program__fd(library.bpf_object__find_program_by_name(object, name));
}

static int load(struct shortcut *shortcut)
{
    int result = load_library();

    if (result < 0)
        return result;
    /* It is no news where the kernel has no such thing, or gives no right to it. */
    library.libbpf_set_print(NULL);
    shortcut->object = library.bpf_object__open_mem(shortcut_object, sizeof(shortcut_object), NULL);
    if (!shortcut->object)
        return -errno;
    result = library.bpf_object__load(shortcut->object);
    if (result < 0)
        return result;
    shortcut->machines = library.bpf_object__find_map_fd_by_name(shortcut->object, "machines");
    shortcut->globals = library.bpf_object__find_map_fd_by_name(shortcut->object, ".bss");
    shortcut->from_machine = find_program(shortcut->object, "from_machine");
    shortcut->from_outside = find_program(shortcut->object, "from_outside");
    shortcut->to_machine = find_program(shortcut->object, "to_machine");
    return shortcut->machines < 0 || shortcut->globals < 0 ? -EINVAL : 0;
}

int shortcut_new(struct netlink *inside, const struct tc_owner *owner,
                 struct shortcut **ret_shortcut)
{
    struct shortcut *shortcut = calloc(1, sizeof(*shortcut));
    int result;

    if (!shortcut)
        return -ENOMEM;
    shortcut->inside = inside;
    shortcut->owner = *owner;
    result = load(shortcut);
    if (result < 0)
        shortcut_free(shortcut);
    else
        *ret_shortcut = shortcut;
    return result;
}

void shortcut_free(struct shortcut *shortcut)
{
    if (!shortcut)
        return;
    if (shortcut->object)
        library.bpf_object__close(shortcut->object);
    free(shortcut);
}

int shortcut_from_outside(const struct shortcut *shortcut)
{
    return shortcut->from_outside;
}

static int attach(struct shortcut *shortcut, int ifindex, int program_fd)
{
    const struct tc_filter filter = {
        .hook = TC_INGRESS,
        .handle = HANDLE,
        .program_fd = program_fd,
    };
    int result = tc_add_clsact(shortcut->inside, ifindex);

    return result < 0 && result != -EEXIST
               ? result
               : tc_set_filter(shortcut->inside, ifindex, PRIORITY, &shortcut->owner, &filter);
}

int shortcut_set_ends(struct shortcut *shortcut, const struct shortcut_ends *ends)
{
    struct shortcut_links *links = &shortcut->links;
    int result;

    memcpy(links->host.parts, ends->host.bytes, sizeof(ends->host.bytes));
    links->leg = (uint32_t)ends->leg;
    links->inside = (uint32_t)ends->inside;
    links->frame_max = ETH_HLEN + ends->mtu;
    result = write_links(shortcut);
    return result < 0 ? result : attach(shortcut, ends->inside, shortcut->to_machine);
}

int shortcut_open(struct shortcut *shortcut, bool open)
{
    shortcut->links.open = open;
    return write_links(shortcut);
}

static struct shortcut_mac key_of(const struct mac_addr *mac)
{
    struct shortcut_mac key = {{0}};

    memcpy(key.parts, mac->bytes, sizeof(mac->bytes));
    return key;
}

int shortcut_add(struct shortcut *shortcut, const struct mac_addr *mac, int port_ifindex)
{
    const struct shortcut_mac key = key_of(mac);
    const uint32_t port = (uint32_t)port_ifindex;
    int result = library.bpf_map_update_elem(shortcut->machines, &key, &port, BPF_ANY);

    if (result < 0)
        return result;
    return port ? attach(shortcut, port_ifindex, shortcut->from_machine) : 0;
}

void shortcut_remove(struct shortcut *shortcut, const struct mac_addr *mac)
{
    const struct shortcut_mac key = key_of(mac);

    library.bpf_map_delete_elem(shortcut->machines, &key);
}
