/* SPDX-License-Identifier: Apache-2.0 */
/* The framework's port forwards: on all of the host's addresses, and the guest sees who calls. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <vmnet/vmnet.h>

#include "plane/macos/port.h"

#define WAIT_NS (3 * (int64_t)NSEC_PER_SEC)

/* What a call waits for. The block may come after the call has given up: the last one frees it. */
struct waiting {
    atomic_uint refs;
    dispatch_semaphore_t done;
    vmnet_return_t status;
};

static struct waiting *waiting_new(void)
{
    struct waiting *waiting = calloc(1, sizeof(*waiting));

    if (!waiting)
        return NULL;
    atomic_init(&waiting->refs, 2); /* the caller's and the block's */
    waiting->done = dispatch_semaphore_create(0);
    if (waiting->done)
        return waiting;
    free(waiting);
    return NULL;
}

static void waiting_release(struct waiting *waiting)
{
    if (atomic_fetch_sub(&waiting->refs, 1) != 1)
        return;
    dispatch_release(waiting->done);
    free(waiting);
}

/* @started: what the call itself has said, whose block is waited for. */
static int finish(struct vmnet_port *port, struct waiting *waiting, vmnet_return_t started,
                  struct err *err)
{
    vmnet_return_t status = started;

    if (started != VMNET_SUCCESS) {
        waiting_release(waiting); /* the block's */
    } else if (dispatch_semaphore_wait(waiting->done, dispatch_time(DISPATCH_TIME_NOW, WAIT_NS))) {
        waiting_release(waiting);
        return err_set(err, -ETIMEDOUT, "vmnet.framework does not answer within 3 s");
    } else {
        status = waiting->status;
    }
    waiting_release(waiting);
    return vmnet_explain(status, port->config, err);
}

/* Of the block: what it does when the framework has done. */
static void done(struct waiting *waiting, vmnet_return_t status)
{
    waiting->status = status;
    dispatch_semaphore_signal(waiting->done);
    waiting_release(waiting);
}

static uint8_t protocol(bool udp)
{
    return udp ? IPPROTO_UDP : IPPROTO_TCP;
}

int vmnet_rule_add(struct vmnet_port *port, bool udp, uint16_t outside,
                   const struct ip_endpoint *guest, struct err *err)
{
    struct waiting *waiting = waiting_new();
    vmnet_return_t status;

    if (!waiting)
        return err_set(err, -ENOMEM, "out of memory");
    status = vmnet_interface_add_ip_port_forwarding_rule(port->interface, protocol(udp), outside,
                                                         guest->addr.family, guest->addr.bytes,
                                                         guest->port, ^(vmnet_return_t result) {
                                                           done(waiting, result);
                                                         });
    return finish(port, waiting, status, err);
}

int vmnet_rule_remove(struct vmnet_port *port, bool udp, uint16_t outside, uint8_t family,
                      struct err *err)
{
    struct waiting *waiting = waiting_new();
    vmnet_return_t status;

    if (!waiting)
        return err_set(err, -ENOMEM, "out of memory");
    status = vmnet_interface_remove_ip_port_forwarding_rule(port->interface, protocol(udp), outside,
                                                            family, ^(vmnet_return_t result) {
                                                              done(waiting, result);
                                                            });
    return finish(port, waiting, status, err);
}
