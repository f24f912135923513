/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports whose machine has not said its MAC: a VM monitor that gets its tap from a program which knows no more than the
 * network's name (libvirt's bridge helper). The MAC is that of the machine's first frame.
 *
 * Until then the guard lets nothing pass. A packet socket, which sees a frame before the bridge and the guard, takes
 * the first one and is closed; whoever decides about MACs (the engine) is told, and gives it to the port or does not.
 * Where it does not, or its word is lost, the next frame is looked at after LEARN_AGAIN_MS: a machine that sends
 * from whatever comes to its mind costs one frame's work a second.
 */
#ifndef OPENVMNET_PLANE_LINUX_LEARN_H
#define OPENVMNET_PLANE_LINUX_LEARN_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/loop.h"
#include "base/table.h"

#define LEARN_AGAIN_MS 1000

struct learn {
    struct list learners; /* one a port at most, so as many as there are ports */
    void (*on_mac)(void *context, const char *interface, const struct mac_addr *mac);
    void *context;
};

void learn_init(struct learn *learn,
                void (*on_mac)(void *context, const char *interface, const struct mac_addr *mac),
                void *context);
void learn_done(struct learn *learn);

/* Looks at what comes from @interface until learn_forget(), anew where it does already. 0, or -ENOMEM with the reason. */
int learn_add(struct learn *learn, struct loop *loop, const char *interface, struct err *err);
/* Whether it does. */
bool learn_has(const struct learn *learn, const char *interface);
/* Does nothing where it does not. */
void learn_forget(struct learn *learn, const char *interface);

#endif
