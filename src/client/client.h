/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program asks of a network: find it, start it where it does not run, attach a port, ask for its
 * state. This is the base of libopenvmnet; the command line stands on it alone.
 *
 * All calls block, with a bound of CLIENT_TIMEOUT_MS. None of them prints. Where client_attach() and
 * client_start() return 0, the text of @err is empty, or says what the user should know all the same.
 */
#ifndef OPENVMNET_CLIENT_CLIENT_H
#define OPENVMNET_CLIENT_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/netspec.h"

#define CLIENT_TIMEOUT_MS 15000

/* What a port is asked for. An empty string, or mac_given false, leaves the choice to the network. */
struct client_port_request {
    char name[NET_HOSTNAME_MAX + 1];     /* host name within the network's domain */
    char interface_id[NET_UUID_LEN + 1]; /* the same id always gets the same MAC */
    bool mac_given;
    struct mac_addr mac;
};

/* A port as it was attached. Addresses are text, ready to be printed. */
struct client_port {
    int fd; /* the tap descriptor, owned by the caller. The port lives as long as a copy is open. */
    char network[NET_NAME_MAX + 1];
    char interface[16];
    char mac[MAC_TEXT_MAX];
    char ipv4[IP_TEXT_MAX + 4];        /* with prefix length: 192.168.64.2/24 */
    char ipv6_prefix[IP_TEXT_MAX + 4]; /* fd12:3456:789a:1::/64 */
    char gateway[IP_TEXT_MAX];
    char gateway6[IP_TEXT_MAX];
    char name[NET_HOSTNAME_MAX + 1];
    char domain[NET_DOMAIN_MAX + 1];
    unsigned mtu;
};

/*
 * Attaches a port to the network that @spec describes; starts the network where it does not run yet
 * (it then ends with its last port). Safe against any number of others that do the same at the same
 * time. Returns 0, or -errno with the reason in @err; on error nothing is left attached.
 */
int client_attach(const struct net_spec *spec, const struct client_port_request *request,
                  struct client_port *ret_port, struct err *err);

/*
 * Makes a lasting network: it stays until client_stop(). 0; -EEXIST where it runs already (a network
 * that had been started by a port is made lasting, and that is 0); or -errno with the reason.
 */
int client_start(const struct net_spec *spec, struct err *err);

/*
 * Ends a network and waits until it is gone. -EBUSY while ports are attached and @force is false;
 * -ENOENT where no such network runs.
 */
int client_stop(const char *network, bool force, struct err *err);

/*
 * One call of method "io.openvmnet.<method>" on a running network. @parameters is taken over and may be
 * NULL. *ret_reply is the reply's "parameters" object, owned by the caller. -ENOENT where no such
 * network runs. For "Describe" and "Status", whose replies are what `--json` prints.
 */
int client_call(const char *network, const char *method, json_t *parameters, json_t **ret_reply,
                struct err *err);

/*
 * Names of the networks of this user that run, as a sorted JSON array of strings, owned by the caller.
 */
int client_list(json_t **ret_names, struct err *err);

#endif
