/* SPDX-License-Identifier: Apache-2.0 */
/* The methods of io.openvmnet, and the engine that they act on. Only for src/daemon. */
#ifndef OPENVMNET_DAEMON_METHODS_H
#define OPENVMNET_DAEMON_METHODS_H

#include "daemon/access.h"
#include "daemon/channel.h"
#include "daemon/control.h"
#include "daemon/engine.h"
#include "daemon/forwards.h"
#include "daemon/network.h"
#include "pump/pump.h"
#include "uplink/dns.h"
#include "uplink/uplink.h"

#define METHODS_INTERFACE "io.openvmnet"
#define METHODS_FAILED METHODS_INTERFACE ".Failed"

/* Requests to the router at one time: one of each control client, and those of the stream socket. */
#define ENGINE_REQUESTS_MAX (CONTROL_CLIENTS_MAX + 64)
/* Connections to guests under way for clients (Connect). */
#define CONNECTS_MAX 64

struct engine;
struct engine_request;
struct forward_host;

/*
 * The router's answer, or one made up where it did not come: answer->result and err. @fds are borrowed.
 * request->client is NULL where the client went away meanwhile.
 */
typedef void engine_answer_fn(struct engine *engine, const struct engine_request *request,
                              const struct message *answer, const int *fds, unsigned fds_len);

struct engine_request {
    bool used;
    uint32_t id;
    struct control_client *client; /* or NULL */
    engine_answer_fn *on_answer;
    void *context;
    uint64_t due_ms;
};

struct connects;
struct listener;
struct outside;

struct engine {
    const struct engine_args *args;
    struct plane_handles handles;
    struct loop *loop;
    struct control *control;
    struct pump *pump;
    struct forward_host *forward_host;
    struct forwards *forwards;
    struct connects *connects;
    struct listener *listener;
    struct network network;
    struct pump_counters pump_counters;
    struct loop_timer first_port_timer, request_timer;
    struct engine_request requests[ENGINE_REQUESTS_MAX];
    struct access_log denials;
    struct err warning; /* what the user should know of this network now, or "" */
    uint32_t next_id, next_socket;
    bool lasting, ended, has_ipv6, restored;
    char bridge[16]; /* the network's, or "" */

    /* Of a network of Linux's: its router, and the way out. */
    struct host *host;
    struct outside *outside;
    struct uplink *uplink;
    struct uplink_counters counters; /* what this thread counts of them */
    struct loop_source router_source;
    struct err plane_warning; /* the same, of what the router sees */
    struct loop_timer list_timer;
    uint32_t list_id;
    int router_pid, service_pid;
    /* Of a network on vmnet.framework. */
    struct vmnet_side *vmnet;
};

/* ---- requests.c */

/* A place for who waits, with an id of its own; NULL where all are taken. */
struct engine_request *engine_new_request(struct engine *engine, struct control_client *client,
                                          engine_answer_fn *on_answer, void *context);
/* Gives the answer to who waits for it by @id, and the place back. False where nobody does. */
bool engine_answer(struct engine *engine, uint32_t id, const struct message *answer, const int *fds,
                   unsigned fds_len);

/* ---- what each plane has of its own: engine.c and status_uplink.c, or vmnet.c */

/* Its name: "private", "system", "vmnet". */
const char *engine_plane(const struct net_config *config);
/*
 * Has @message carried out by who makes ports, with @fd unless -1 and an id of its own; @on_answer gets the
 * answer, not before this has returned. 0, or -EAGAIN: then nothing was sent. @client may be NULL.
 */
int engine_request(struct engine *engine, struct message *message, int fd,
                   struct control_client *client, engine_answer_fn *on_answer, void *context);

/* Asks the router which ports there are, and what they are; those that are not named are gone. */
void engine_list_ports(struct engine *engine);
/* Has a port removed that nobody waits for and that no descriptor of ours keeps, if @answer is of such a one. */
void engine_remove_orphan(struct engine *engine, const struct message *answer);
/* A new port's network side, out of the answer, for the pump: the caller's. 0 or -errno. */
int engine_take_tap(struct engine *engine, const struct message *answer, const int *fds,
                    unsigned fds_len, struct pump_tap *ret_tap);
/* A port's guest is gone: what it has open outside ends. */
void engine_forget_guest(struct engine *engine, const struct plane_port *port);
/* For Status: what a guest uses now of the way out; and the processes, the counters and those of the workers. */
json_t *engine_describe_use(const struct engine *engine, const struct plane_port *port);
void engine_describe(const struct engine *engine, json_t *reply);

/* ---- life.c */

/* Everything is there: the time for the first port runs. */
void engine_begin(struct engine *engine);
/*
 * Serves clients from here on: before, the ports and forwards that an engine before this one had are not
 * known, and what is free would be guessed. 0 or -errno.
 */
int engine_serve(struct engine *engine);
/* What network_describe() wants to know. */
struct network_state engine_state(const struct engine *engine);
/* The network stays when its last port goes. 0 or -errno. */
int engine_make_lasting(struct engine *engine);
/* Ends the network. */
void engine_stop(struct engine *engine);
/* A port was removed: ends the network where it was the last and the network is not lasting. */
void engine_port_removed(struct engine *engine);
/* The same for a connection that was no port yet; who started the network has time for its first port. */
void engine_connection_ended(struct engine *engine);
/* Takes a port out of everything that knows it. */
void engine_drop_port(struct engine *engine, struct network_port *port);

control_method_fn methods_call;
control_gone_fn methods_client_gone;

/* The parameters of the error METHODS_FAILED. @code is -errno. */
json_t *methods_failure(int code, const char *reason);
/* Answers with that error. */
void methods_fail(struct control_client *client, int code, const char *reason);
/* Answers with the error NotAllowed: for @what, a verb with its object, @needs is wanted. Says so to the log. */
void methods_deny(struct engine *engine, struct control_client *client, enum access needs,
                  const char *what);
/* Answers that a parameter is missing or of a wrong type. */
void methods_fail_parameter(struct control_client *client, const char *name);
/* An optional string, "" where it is missing. False where it is something else. */
bool methods_read_string(const json_t *parameters, const char *name, const char **ret_value);
bool methods_read_bool(const json_t *parameters, const char *name, bool *ret_value);

/* interface.c: the interface in Varlink's own language; what `varlinkctl introspect` shows. */
extern const char interface_text[];

/* attach.c */
void attach_call(struct engine *engine, struct control_client *client, json_t *parameters);

/* learned.c: a port without a MAC (@message->port.interface) has sent a frame from @message->port.mac. */
void learned(struct engine *engine, const struct message *message);

/*
 * outside.c: follows the host's routes and resolvers. outside_look() looks at them now; outside_tell() tells the router
 * what was seen last, which it has forgotten when it was started anew. 0 or -errno.
 */
int outside_new(struct engine *engine, struct outside **ret_outside);
void outside_free(struct outside *outside);
void outside_look(struct outside *outside);
void outside_tell(struct outside *outside);

/* connect.c */
struct connects *connects_new(struct engine *engine);
void connects_free(struct connects *connects);
void connect_call(struct engine *engine, struct control_client *client, json_t *parameters);
void connects_client_gone(struct connects *connects, struct control_client *client);

/*
 * listener.c: the network's stream socket. Each connection becomes a port, whose MAC is that of its first
 * frame. @fd is borrowed. 0 or -errno.
 */
int listener_new(struct engine *engine, int fd, struct listener **ret_listener);
void listener_free(struct listener *listener);
/* True where a client is connected that is no port yet. NULL: none is. */
bool listener_is_busy(const struct listener *listener);

#endif
