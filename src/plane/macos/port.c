/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/macos/port.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <vmnet/vmnet.h>

#include "base/descriptor.h"
#include "plane/macos/tap.h"

struct vmnet_port *vmnet_port_new(const struct net_config *config, const struct plane_port *port,
                                  int event_fd)
{
    struct vmnet_port *made = calloc(1, sizeof(*made));

    if (!made)
        return NULL;
    made->config = config;
    made->port = *port;
    made->event_fd = event_fd;
    list_init(&made->list);
    made->wake_fd[0] = made->wake_fd[1] = -1;
    made->batch = calloc(1, sizeof(*made->batch));
    made->queue = dispatch_queue_create("openvmnet.port", DISPATCH_QUEUE_SERIAL);
    if (!made->batch || !made->queue || descriptor_pipe(true, made->wake_fd) < 0) {
        vmnet_port_free(made);
        return NULL;
    }
    return made;
}

void vmnet_port_free(struct vmnet_port *port)
{
    if (!port)
        return;
    list_remove(&port->list);
    if (port->queue)
        dispatch_release((dispatch_queue_t)port->queue);
    for (int i = 0; i < 2; i++)
        if (port->wake_fd[i] >= 0)
            close(port->wake_fd[i]);
    free(port->batch);
    free(port);
}

void vmnet_port_tell(struct vmnet_port *port, enum vmnet_event event, uint32_t status,
                     uint32_t ipv4)
{
    const struct vmnet_message message = {port, event, status, ipv4};

    /* So small a write is whole. The pipe holds some thousand, and the owner does nothing that lasts. */
    while (write(port->event_fd, &message, sizeof(message)) < 0 && errno == EINTR)
        ;
}

void vmnet_port_wake(struct vmnet_port *port)
{
    if (!atomic_exchange(&port->awake, true))
        (void)!write(port->wake_fd[1], "", 1);
}

static dispatch_queue_t queue_of(struct vmnet_port *port)
{
    return (dispatch_queue_t)port->queue;
}

void vmnet_port_start(struct vmnet_port *port, struct vmnet_net *net)
{
    xpc_object_t options = vmnet_options(net ? NULL : port->config, &port->port);
    __block bool told = false;
    vmnet_start_interface_completion_handler_t handler = ^(vmnet_return_t status,
                                                           xpc_object_t params) {
      told = true;
      if (status == VMNET_SUCCESS)
          vmnet_read_facts(params, &port->facts);
      vmnet_port_tell(port, status == VMNET_SUCCESS ? VMNET_PORT_UP : VMNET_PORT_FAILED, status, 0);
    };

    port->interface = NULL;
    if (options)
        port->interface = net ? vmnet_net_start(net, options, queue_of(port), handler)
                              : vmnet_start_interface(options, queue_of(port), handler);
    if (options)
        xpc_release(options);
    /* Whether the block is called for a description that is refused right away is not written anywhere. */
    if (!port->interface)
        dispatch_async(queue_of(port), ^{
          if (!told)
              vmnet_port_tell(port, VMNET_PORT_FAILED,
                              options ? VMNET_INVALID_ARGUMENT : VMNET_MEM_FAILURE, 0);
        });
}

void vmnet_port_stop(struct vmnet_port *port)
{
    interface_ref interface = port->interface;
    vmnet_return_t status = VMNET_INVALID_ARGUMENT;

    port->interface = NULL;
    if (interface) {
        vmnet_interface_set_event_callback(interface, VMNET_INTERFACE_PACKETS_AVAILABLE, NULL,
                                           NULL);
        status = vmnet_stop_interface(interface, queue_of(port), ^(vmnet_return_t result) {
          vmnet_port_tell(port, VMNET_PORT_DOWN, result, 0);
        });
    }
    /* One that was never there, or that the framework has dropped by itself, is down. */
    if (status != VMNET_SUCCESS)
        dispatch_async(queue_of(port), ^{
          vmnet_port_tell(port, VMNET_PORT_DOWN, VMNET_SUCCESS, 0);
        });
}

void vmnet_port_lend(struct vmnet_port *port)
{
    atomic_store(&port->recalled, false);
    atomic_store(&port->lent, port->interface);
    vmnet_interface_set_event_callback(port->interface, VMNET_INTERFACE_PACKETS_AVAILABLE,
                                       queue_of(port),
                                       ^(interface_event_t event, xpc_object_t facts) {
                                         (void)event;
                                         (void)facts;
                                         vmnet_port_wake(port);
                                       });
    /* What came before the callback. */
    vmnet_port_wake(port);
}

void vmnet_port_recall(struct vmnet_port *port)
{
    atomic_store(&port->recalled, true);
    vmnet_port_wake(port);
}
