/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libopenvmnet: networks for virtual machines, without privileges. For VM monitors, test programs and
 * whatever else wants a network card's other end as a descriptor.
 *
 *   const char *options[] = {"network=lab", "hostname=web", NULL};
 *   struct openvmnet_error error;
 *   struct openvmnet_port *port = openvmnet_attach(options, &error);
 *
 *   if (!port)
 *       errx(1, "%s", error.text);
 *   printf("%s %s\n", openvmnet_port_get(port, "mac"), openvmnet_port_get(port, "ipv4"));
 *   run_machine(openvmnet_port_fd(port));
 *   openvmnet_port_free(&port);
 *
 * Options are texts "NAME=VALUE", with the names that `vmnet run` knows (vmnet(1)); "NAME" alone is
 * "NAME=on". They end with NULL; a list that is NULL or empty asks for the network "shared".
 *
 *   a network's:  network mode start-address end-address subnet-mask dhcp-range dhcp-host (may repeat)
 *                 nat66-prefix net-uuid host-ip-address host-subnet-mask host-ipv6-address mtu dhcp dns
 *                 ra nat44 nat66 host-loopback host-ports
 *   a port's:     hostname mac interface-id isolated anti-spoof forward (may repeat), and
 *     kind=tap      a tap descriptor, the default; macOS has none, and dgram is its default
 *     kind=stream   a stream socket: 4 bytes of length, big-endian, then the frame
 *     kind=dgram    a datagram socket, a frame each
 *     path=on       of kind=dgram: a socket at a path, openvmnet_port_get(port, "socket")
 *     kind=veth     an interface "eth0" in another network namespace, with netns=PATH
 *
 * A frame of a tap descriptor has a struct virtio_net_hdr (10 bytes, linux/virtio_net.h) before it;
 * all zero is right for a whole frame with its checksums.
 *
 * Errors: a function returns NULL, or a negative errno value, and the caller's struct openvmnet_error
 * says the rest; it may be NULL. Options that are wrong are -EINVAL, a name or address that is taken
 * -EEXIST, a network that does not run -ENOENT.
 *
 * Ownership: what is returned belongs to the caller, descriptors too, but for openvmnet_port_fd() and
 * openvmnet_port_get(), which lend. Arguments are never kept. All descriptors are close-on-exec.
 *
 * Threads: all functions may be called by several threads at once; of one port, openvmnet_port_free()
 * and openvmnet_port_take_fd() by no two, and not beside others. The environment (XDG_RUNTIME_DIR,
 * PATH) is read, so nobody may change it meanwhile. Calls block, for about 15 seconds at most.
 *
 * The library prints nothing, ends nothing, and touches neither signals nor their handlers. A network that
 * does not run is started as a process vmnetd, which goes to the background by itself: for a moment the
 * program has a child, and a SIGCHLD at its end. Not for set-user-ID programs: vmnetd is looked for beside
 * the program and in PATH before it is taken from where it was installed.
 *
 * Stability: within one OPENVMNET_VERSION_MAJOR, which is also that of the library's file name, functions,
 * options and keys are added, and none changed or removed. There is no structure that could grow.
 */
#ifndef OPENVMNET_H
#define OPENVMNET_H

/* Those of this header; openvmnet_version() is that of the library. */
#define OPENVMNET_VERSION_MAJOR 0
#define OPENVMNET_VERSION_MINOR 1
#define OPENVMNET_VERSION_PATCH 0
#define OPENVMNET_VERSION_NUMBER                                                                   \
    (OPENVMNET_VERSION_MAJOR * 1000000 + OPENVMNET_VERSION_MINOR * 1000 + OPENVMNET_VERSION_PATCH)

#if defined(__GNUC__)
#define OPENVMNET_API __attribute__((visibility("default")))
#else
#define OPENVMNET_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define OPENVMNET_ERROR_TEXT_MAX 1024

/* Its layout never changes. Each function that takes one fills it, whatever happens. */
struct openvmnet_error {
    int code; /* a negative errno value, or 0 */
    /*
     * For people: what was asked, what is wrong, what to do. With code 0 it is empty, or a warning that
     * the user should see.
     */
    char text[OPENVMNET_ERROR_TEXT_MAX];
};

struct openvmnet_port;

/* OPENVMNET_VERSION_NUMBER of the library that runs. */
OPENVMNET_API int openvmnet_version(void);

/* ---- ports */

/*
 * Attaches a port, and starts its network where it does not run; that ends with its last port. NULL on
 * error, and then nothing is left attached.
 */
OPENVMNET_API struct openvmnet_port *openvmnet_attach(const char *const *options,
                                                      struct openvmnet_error *ret_error);

/*
 * What the port got: "network", "mode", "interface", "hostname", "domain", "mac", "ipv4"
 * (192.168.64.2/24), "gateway", "ipv6-prefix" (a /64), "gateway6", "ipv4-default" and
 * "ipv6-default" (on: the gateway is a way out for it), "dns" (the server's address), "mtu", "interface-id", "socket". An empty text where the port has no such thing,
 * NULL for a key that is not known. The text is the port's and goes with it.
 */
OPENVMNET_API const char *openvmnet_port_get(const struct openvmnet_port *port, const char *key);

/*
 * The port's descriptor, still the port's. The port lives as long as a copy of it is open anywhere: in a
 * child that inherited it, or after dup(2). -1: kind=veth, which has none and lives as long as its
 * namespace, or a descriptor that was taken.
 */
OPENVMNET_API int openvmnet_port_fd(const struct openvmnet_port *port);

/* The same, and from now on the caller's: it outlives openvmnet_port_free(). */
OPENVMNET_API int openvmnet_port_take_fd(struct openvmnet_port *port);

/* Frees *port and sets it to NULL; the port ends unless its descriptor is open elsewhere. */
OPENVMNET_API void openvmnet_port_free(struct openvmnet_port **port);

/* ---- networks */

/*
 * Makes a lasting network: it stays until openvmnet_stop(). Options are those of a network. 0, also where
 * a network that ports have started is made lasting; -EEXIST where it is a lasting one already.
 */
OPENVMNET_API int openvmnet_start(const char *const *options, struct openvmnet_error *ret_error);

/*
 * Ends a network and waits until it is gone. -EBUSY while ports are attached, unless @force is not 0.
 */
OPENVMNET_API int openvmnet_stop(const char *network, int force, struct openvmnet_error *ret_error);

/*
 * JSON texts, to be freed by free(3): the names of the user's networks that run, as an array of strings;
 * what one is and has (the object that `vmnet status --json` prints for it).
 */
OPENVMNET_API char *openvmnet_list(struct openvmnet_error *ret_error);
OPENVMNET_API char *openvmnet_status(const char *network, struct openvmnet_error *ret_error);

/*
 * The interfaces of the host, in the calling process's network namespace, and which of them machines could be bridged
 * to: a JSON text as `vmnet interfaces --json` prints it, to be freed by free(3).
 */
OPENVMNET_API char *openvmnet_interfaces(struct openvmnet_error *ret_error);

/*
 * A TCP connection from the network's gateway to a name or address on the network, as a descriptor; or a
 * negative errno value. No packet of it leaves the network.
 */
OPENVMNET_API int openvmnet_connect(const char *network, const char *host, int port,
                                    struct openvmnet_error *ret_error);

/*
 * The namespaces of a network, for setns(2), first that of the user, which is -1 where root made the
 * network. Starts the network where needed; it ends after some seconds if nobody attaches a port.
 * Options are those of a network.
 */
OPENVMNET_API int openvmnet_namespaces(const char *const *options, int *ret_user_fd,
                                       int *ret_net_fd, struct openvmnet_error *ret_error);

/* ---- port forwards of a running network */

/*
 * @forward: PROTO:[HOSTADDR]:HOSTPORT[-LASTPORT]-GUEST:GUESTPORT, such as "tcp::8080-web:80". One that
 * belongs to a port is an option of openvmnet_attach() instead, and goes with it.
 */
OPENVMNET_API int openvmnet_forward_add(const char *network, const char *forward,
                                        struct openvmnet_error *ret_error);
/* One that belongs to @port, as its option would, and goes with it. */
OPENVMNET_API int openvmnet_port_forward_add(const struct openvmnet_port *port, const char *forward,
                                             struct openvmnet_error *ret_error);
/* @forward as it is listed, or only PROTO:[HOSTADDR]:HOSTPORT. */
OPENVMNET_API int openvmnet_forward_remove(const char *network, const char *forward,
                                           struct openvmnet_error *ret_error);
/* A JSON array of {"forward", "guest", "interface"}, to be freed by free(3). */
OPENVMNET_API char *openvmnet_forwards(const char *network, struct openvmnet_error *ret_error);

#ifdef __cplusplus
}
#endif

#endif
