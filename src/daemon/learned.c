/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port that was attached without a MAC gets that of its machine's first frame, once, if it may: no other port's, nor
 * the gateway's. The router says what it was (plane/linux/learn.h), and again a second later where nothing came of it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon/methods.h"

/* The port may be another by the time of the answer, or gone. */
struct settling {
    char interface[sizeof(((struct plane_port *)0)->interface)];
    struct mac_addr mac;
};

/* Whoever sends from what it may not have goes on with it, so this is said once. */
static void tell(struct network_port *port, const char *reason)
{
    if (!port->refused)
        log_warn("port %s: its machine has no network: %s", port->port.interface, reason);
    port->refused = true;
}

static void on_settled(struct engine *engine, const struct engine_request *request,
                       const struct message *answer, const int *fds, unsigned fds_len)
{
    struct settling *settling = request->context;
    struct network_port *port = network_find(&engine->network, settling->interface);

    if (!port || memcmp(&port->port.mac, &settling->mac, sizeof(settling->mac)) != 0) {
        free(settling);
        return;
    }
    free(settling);
    if (answer->result < 0) {
        network_unlearn(port);
        if (answer->result == -ETIMEDOUT) /* it may have been done all the same */
            engine_list_ports(engine);
        if (answer->result != -EAGAIN && answer->result != -ETIMEDOUT)
            tell(port, answer->err.text);
        return;
    }
    forwards_port_attached(engine->forwards);
    network_save(&engine->network);
}

void learned(struct engine *engine, const struct message *message)
{
    struct network_port *port = network_find(&engine->network, message->port.interface);
    struct message request = {.type = MESSAGE_SETTLE_PORT};
    struct settling *settling;
    struct err err;

    if (!port || !mac_is_zero(&port->port.mac))
        return;
    settling = malloc(sizeof(*settling));
    if (!settling)
        return;
    if (network_learn(&engine->network, port, &message->port.mac, &err) < 0) {
        tell(port, err.text);
        free(settling);
        return;
    }
    request.port = port->port;
    memcpy(settling->interface, port->port.interface, sizeof(settling->interface));
    settling->mac = port->port.mac;
    if (engine_request(engine, &request, -1, NULL, on_settled, settling) < 0) {
        network_unlearn(port);
        free(settling);
    }
}
