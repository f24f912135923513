/* SPDX-License-Identifier: Apache-2.0 */
/* Only for src/plane/macos: what the pump has of a port, and how an interface starts on a network object. */
#ifndef OPENVMNET_PLANE_MACOS_TAP_H
#define OPENVMNET_PLANE_MACOS_TAP_H

#include <vmnet/vmnet.h>

#include "plane/macos/network.h"
#include "plane/macos/port.h"

/* Frames on their way to the framework; they lie in the pump's buffer. */
struct vmnet_batch {
    struct vmpktdesc packets[VMNET_BATCH_MAX];
    struct iovec parts[VMNET_BATCH_MAX];
    unsigned len;
    uint64_t bytes;
};

/* As vmnet_start_interface(). */
interface_ref vmnet_net_start(struct vmnet_net *net, xpc_object_t options, dispatch_queue_t queue,
                              vmnet_start_interface_completion_handler_t handler);

#endif
