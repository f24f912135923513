/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients of the control socket, who are root, the network's owner, a user whom its file allows, or one who may only look.
 * The methods are the real ones; who makes ports and who opens the host's ports is made up, and answers at once or fails.
 *
 * The input: who connects, the network's kind, which requests fail, and then pieces of the stream behind their lengths. What
 * a client gets back must be JSON, and nobody but root may stop the network.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/peer.h"
#include "base/table.h"
#include "daemon/forward_host.h"
#include "daemon/methods.h"
#include "fuzz.h"

#define ALLOWED 1001
#define STRANGER 1002

static struct engine engine;
static struct loop_timer answer_timer;
static struct message asked[ENGINE_REQUESTS_MAX];
static unsigned asked_len;
static unsigned failing; /* a bit for each request, in turn */
static uid_t peer_uid;

/* ---- in place of the kernel's word */

int __wrap_peer_identity(int fd, uid_t *ret_uid, pid_t *ret_pid);
int __wrap_peer_groups(int fd, gid_t **ret_groups);

int __wrap_peer_identity(int fd, uid_t *ret_uid, pid_t *ret_pid)
{
    *ret_uid = peer_uid;
    if (ret_pid)
        *ret_pid = getpid();
    return 0;
}

int __wrap_peer_groups(int fd, gid_t **ret_groups)
{
    *ret_groups = NULL;
    return 0;
}

/* ---- in place of engine.c: who makes ports */

const char *engine_plane(const struct net_config *config)
{
    return "fuzz";
}

void engine_list_ports(struct engine *of)
{
}

void engine_remove_orphan(struct engine *of, const struct message *answer)
{
}

int engine_take_tap(struct engine *of, const struct message *answer, const int *fds,
                    unsigned fds_len, struct pump_tap *ret_tap)
{
    return -EIO;
}

void engine_forget_guest(struct engine *of, const struct plane_port *port)
{
}

json_t *engine_describe_use(const struct engine *of, const struct plane_port *port)
{
    return json_object();
}

void engine_describe(const struct engine *of, json_t *reply)
{
}

int engine_request(struct engine *of, struct message *message, int fd,
                   struct control_client *client, engine_answer_fn *on_answer, void *context)
{
    struct engine_request *request;

    if (asked_len == ENGINE_REQUESTS_MAX)
        return -EAGAIN;
    request = engine_new_request(of, client, on_answer, context);
    if (!request)
        return -EAGAIN;
    message->id = request->id;
    asked[asked_len++] = *message;
    loop_timer_set(of->loop, &answer_timer, 0);
    return 0;
}

static void on_answer_timer(struct loop_timer *timer)
{
    while (asked_len) {
        struct message answer = asked[--asked_len];
        unsigned fails = failing & 1;
        struct network_port *port;
        int fd = -1;

        failing >>= 1;
        if (answer.type == MESSAGE_ADD_PORT && !fails) {
            fd = open("/dev/null", O_RDWR | O_CLOEXEC);
            snprintf(answer.port.interface, sizeof(answer.port.interface), "tap%u", answer.id);
        }
        port = network_find(&engine.network, answer.port.interface);
        if (answer.type == MESSAGE_REMOVE_PORT && !fails && port && port->attached)
            engine_drop_port(&engine, port);
        answer.type = MESSAGE_DONE;
        answer.result = fails ? -EIO : 0;
        err_set(&answer.err, 0, "%s", fails ? "made up" : "");
        engine_answer(&engine, answer.id, &answer, &fd, fd >= 0);
        if (fd >= 0)
            close(fd);
    }
}

/* ---- in place of forward_uplink.c */

int forward_host_open(struct forward_host *host, uint32_t id, bool udp,
                      const struct ip_endpoint *address, const struct ip_endpoint *guest,
                      struct err *err)
{
    return address->port % 7 ? 0 : err_set(err, -EADDRINUSE, "made up");
}

void forward_host_retarget(struct forward_host *host, uint32_t id, const struct ip_endpoint *guest)
{
}

void forward_host_close(struct forward_host *host, uint32_t id)
{
}

/* ---- the client */

struct peer {
    struct loop_source source;
    struct input input;
    char replies[1 << 18];
    size_t replies_len;
};

static void check_replies(struct peer *peer)
{
    char *at = peer->replies, *end;

    while ((end = memchr(at, '\0', peer->replies_len - (size_t)(at - peer->replies)))) {
        json_t *reply = json_loads(at, 0, NULL);

        REQUIRE(json_is_object(reply) && json_object_get(reply, "parameters"));
        json_decref(reply);
        at = end + 1;
    }
    peer->replies_len -= (size_t)(at - peer->replies);
    memmove(peer->replies, at, peer->replies_len);
}

static void on_peer(struct loop_source *source, unsigned events)
{
    struct peer *peer = CONTAINER_OF(source, struct peer, source);
    size_t told_bytes, piece_bytes;
    uint8_t *piece;
    ssize_t got;

    got = recv(source->fd, peer->replies + peer->replies_len,
               sizeof(peer->replies) - peer->replies_len, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN)) {
        loop_stop(engine.loop);
        return;
    }
    if (got > 0) {
        peer->replies_len += (size_t)got;
        check_replies(peer);
    }
    if (!(events & LOOP_OUT))
        return;
    if (!peer->input.len_bytes) {
        shutdown(source->fd, SHUT_WR);
        loop_change(engine.loop, source, LOOP_IN);
        return;
    }
    told_bytes = input_u16(&peer->input);
    piece = input_copy(&peer->input, told_bytes, &piece_bytes);
    (void)!send(source->fd, piece, piece_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    free(piece);
}

static int listen_once(struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t len = sizeof(*address);

    /* An abstract name of the kernel's choice: unix(7), autobind. */
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    REQUIRE(fd >= 0 && bind(fd, (struct sockaddr *)address, sizeof(sa_family_t)) == 0);
    REQUIRE(listen(fd, 4) == 0 && getsockname(fd, (struct sockaddr *)address, &len) == 0);
    return fd;
}

static int connect_to(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    /* Six bytes of an autobound name: a NUL and five digits. */
    REQUIRE(fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(sa_family_t) + 6) == 0);
    return fd;
}

static bool is_stranger(void *context, int fd)
{
    return access_of_peer(engine.network.config, fd) == ACCESS_SEE;
}

static void begin(const struct net_config *config, const struct engine_args *args, int listen_fd)
{
    memset(&engine, 0, sizeof(engine));
    engine.args = args;
    engine.lasting = engine.restored = true;
    for (int i = 0; i < PLANE_HANDLES; i++)
        engine.handles.fd[i] = -1;
    answer_timer = (struct loop_timer){.on_timer = on_answer_timer};
    REQUIRE(loop_new(&engine.loop) == 0);
    network_init(&engine.network, config);
    engine.forwards = forwards_new(&engine.network, NULL, 512);
    engine.connects = connects_new(&engine);
    REQUIRE(engine.forwards && engine.connects);
    REQUIRE(control_new(engine.loop, listen_fd, config->system ? is_stranger : NULL, methods_call,
                        methods_client_gone, &engine, &engine.control) == 0);
}

static void end(void)
{
    control_free(engine.control);
    /* What is still to be answered finds that nobody waits. */
    on_answer_timer(&answer_timer);
    loop_timer_clear(engine.loop, &answer_timer);
    connects_free(engine.connects);
    forwards_free(engine.forwards);
    network_done(&engine.network);
    loop_free(engine.loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    static struct sockaddr_un address;
    static int listen_fd = -1;
    static struct net_file file = {
        .path = "lab.conf",
        .access = {.given = true,
                   .users = {ALLOWED},
                   .users_len = 1,
                   .user_ports = 3,
                   .user_forwards = 4},
        .records = {{.name = "db.example",
                     .address = {.family = AF_INET, .bytes = {192, 168, 90, 9}}}},
        .records_len = 1,
    };
    static struct net_config config = {
        .name = "lab",
        .gateway = 0xc0a85a01,
        .pool_start = 0xc0a85a02,
        .pool_end = 0xc0a85a0a,
        .range_start = 0xc0a85a02,
        .range_end = 0xc0a85a0a,
        .prefix_len = 24,
        .prefix6 = {.family = AF_INET6, .bytes = {0xfd, 0x12}},
        .mtu = 1500,
        .workers = 1,
        .domain = "lab.vmnet.internal",
        .run_dir = "/proc/nowhere", /* where nothing can be written */
        .file = &file,
    };
    static struct peer peer;
    const uid_t users[] = {0, geteuid(), ALLOWED, STRANGER};
    struct engine_args args = {.config = &config, .router_fd = -1};
    struct input input = {data, len_bytes};

    if (listen_fd < 0)
        listen_fd = listen_once(&address);
    peer_uid = users[input_byte(&input) % 4];
    /* Others cannot connect to a user's own network. */
    config.system = input_byte(&input) & 1 || peer_uid == ALLOWED || peer_uid == STRANGER;
    failing = input_u16(&input);
    begin(&config, &args, listen_fd);
    peer = (struct peer){.source = {.on_event = on_peer, .fd = -1}, .input = input};
    REQUIRE(loop_add(engine.loop, &peer.source, connect_to(&address), LOOP_IN | LOOP_OUT) == 0);
    loop_run(engine.loop);
    REQUIRE(!engine.ended || !config.system || peer_uid == 0);
    close(peer.source.fd);
    end();
    return 0;
}
