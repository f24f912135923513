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
#include "base/netconfig.h"
#include "base/netspec.h"
#include "base/portspec.h"

#define CLIENT_TIMEOUT_MS 15000

/* How a port is to be reached. NULL in its place: a tap descriptor. */
struct client_way {
    enum port_kind kind;
    bool
        path; /* PORT_DGRAM only: a socket at a path, port->socket; its fd then only keeps the port */
    int peer_fd; /* PORT_VETH only: the network namespace that gets the interface "eth0" (borrowed) */
};

/* A port as it was attached. Addresses are text, ready to be printed. */
struct client_port {
    /*
     * The tap descriptor or the socket, owned by the caller: the port lives as long as a copy is open. -1 of
     * a PORT_VETH, which lives as long as its namespace.
     */
    int fd;
    char network[NET_NAME_MAX + 1];
    char interface[16];
    char mac[MAC_TEXT_MAX];
    char ipv4[IP_TEXT_MAX + 4];        /* with prefix length: 192.168.64.2/24 */
    char ipv6_prefix[IP_TEXT_MAX + 4]; /* fd12:3456:789a:1::/64 */
    char gateway[IP_TEXT_MAX];
    char gateway6[IP_TEXT_MAX];
    char dns[IP_TEXT_MAX]; /* of the network's DNS server; "" where it has none */
    char name[NET_HOSTNAME_MAX + 1];
    char domain[NET_DOMAIN_MAX + 1];
    char interface_id[NET_UUID_LEN + 1];
    char socket[NET_PATH_MAX]; /* or "" */
    char mode[16];
    unsigned mtu;
    bool ipv4_default, ipv6_default; /* the gateway has a way out for it */
};

/*
 * Attaches a port to the network that @spec describes; starts the network where it does not run yet
 * (it then ends with its last port). Safe against any number of others that do the same at the same
 * time. Returns 0, or -errno with the reason in @err; on error nothing is left attached.
 */
int client_attach(const struct net_spec *spec, const struct port_spec *port,
                  const struct client_way *way, struct client_port *ret_port, struct err *err);

/*
 * The namespaces of a network that this user may join (setns(2)): its user namespace (-1 where root made
 * the network) and its network namespace, as descriptors, the caller's. Starts the network where needed.
 */
int client_namespaces(const struct net_spec *spec, int *ret_user_fd, int *ret_net_fd,
                      struct err *err);

/*
 * A TCP connection from the network's gateway to @host (a name or address on the network) port @port, as a
 * descriptor, the caller's. The socket is inside the network and works as any other.
 */
int client_connect(const char *network, const char *host, unsigned port, int *ret_fd,
                   struct err *err);

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
 * Names of the networks that run, of this user's and the system's, as a sorted JSON array of strings, owned by
 * the caller. A name that both have is the user's: see connection.h.
 */
int client_list(json_t **ret_names, struct err *err);
/* The same of the system's that do not run, but start for who connects: a service manager listens for them. Starts none. */
int client_list_listening(json_t **ret_names, struct err *err);

/*
 * The interfaces of the calling process's network namespace, as `vmnet interfaces --json` prints them; the caller's.
 * 0 or -errno.
 */
int client_interfaces(json_t **ret_interfaces, struct err *err);

#endif
