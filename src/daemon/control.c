/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/descriptor.h"
#include "base/log.h"
#include "base/peer.h"
#include "base/table.h"
#include "daemon/access.h"

#define TIMER_PERIOD_MS 1000

struct control_client {
    struct list list;
    struct control *control;
    struct loop_source source;
    uint64_t since_ms; /* of the last complete request, or the first byte of the one under way */
    bool waiting;      /* a reply is due */
    bool stranger;     /* may only look */
    bool ended;        /* nothing more is taken from it or sent to it; the loop removes it */
    size_t in_len;
    int in_fd; /* came with the request under way; -1: none */
    pid_t pid; /* of who connected */
    uid_t uid;
    char *out; /* what the socket has not taken yet */
    size_t out_start, out_end;
    int out_fds[CONTROL_REPLY_FDS]; /* go with the first byte of out */
    unsigned out_fds_len;
    char in[CONTROL_REQUEST_BYTES];
};

struct control {
    struct loop *loop;
    struct loop_source source;
    struct loop_timer timer;
    struct list clients;
    unsigned clients_len;
    bool paused;
    struct access_log offences;
    control_stranger_fn *is_stranger;
    control_method_fn *on_method;
    control_gone_fn *on_gone;
    void *context;
};

static void client_close_fds(struct control_client *client)
{
    while (client->out_fds_len)
        close(client->out_fds[--client->out_fds_len]);
}

static void client_drop_in_fd(struct control_client *client)
{
    if (client->in_fd >= 0)
        close(client->in_fd);
    client->in_fd = -1;
}

static void client_free(struct control_client *client)
{
    struct control *control = client->control;
    int fd = client->source.fd;

    if (client->waiting)
        control->on_gone(control->context, client);
    loop_remove(control->loop, &client->source);
    close(fd);
    client_close_fds(client);
    client_drop_in_fd(client);
    list_remove(&client->list);
    control->clients_len--;
    free(client->out);
    free(client);
}

/*
 * Events that matter now: requests only while none is under way, room only while something waits: an
 * answer, or a request that came with one whose answer took time, which no other event would bring up.
 */
static void client_watch(struct control_client *client)
{
    bool more = !client->waiting && memchr(client->in, '\0', client->in_len);

    loop_change(client->control->loop, &client->source,
                (client->waiting || client->out ? 0u : LOOP_IN) |
                    (client->out || more ? LOOP_OUT : 0u));
}

/* Ends a connection from anywhere: the hang-up comes back as an event, and that frees the client. */
static void client_end(struct control_client *client)
{
    client->ended = true;
    shutdown(client->source.fd, SHUT_RDWR);
}

/* Sends what waits. */
static void client_flush(struct control_client *client)
{
    while (client->out) {
        ssize_t sent = descriptor_send(client->source.fd, client->out + client->out_start,
                                       client->out_end - client->out_start, client->out_fds,
                                       client->out_fds_len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0 && sent != -EAGAIN)
            client_end(client);
        if (sent < 0)
            return;
        client_close_fds(client);
        client->out_start += (size_t)sent;
        if (client->out_start == client->out_end) {
            free(client->out);
            client->out = NULL;
        }
    }
}

/* Takes over @reply. */
static void client_send(struct control_client *client, json_t *reply, const int *fds,
                        unsigned fds_len)
{
    char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
    size_t len_bytes = text ? strlen(text) + 1 : 0;

    json_decref(reply);
    client->waiting = false;
    client_drop_in_fd(client);
    client->since_ms = loop_now_ms(client->control->loop);
    if (!text || len_bytes > CONTROL_REPLY_BYTES || client->out) {
        free(text);
        client_end(client);
        return;
    }
    client->out = text;
    client->out_start = 0;
    client->out_end = len_bytes;
    for (unsigned i = 0; i < fds_len && i < CONTROL_REPLY_FDS; i++) {
        int copy = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);

        if (copy < 0) {
            client_end(client); /* without its descriptor the reply would be a lie */
            return;
        }
        client->out_fds[client->out_fds_len++] = copy;
    }
    client_flush(client);
    client_watch(client);
}

void control_reply(struct control_client *client, json_t *parameters, const int *fds,
                   unsigned fds_len)
{
    client_send(client, json_pack("{s:o}", "parameters", parameters ? parameters : json_object()),
                fds, fds_len);
}

int control_take_fd(struct control_client *client)
{
    int fd = client->in_fd;

    client->in_fd = -1;
    return fd;
}

pid_t control_pid(const struct control_client *client)
{
    return client->pid;
}

uid_t control_uid(const struct control_client *client)
{
    return client->uid;
}

int control_socket(const struct control_client *client)
{
    return client->source.fd;
}

void control_error(struct control_client *client, const char *error, json_t *parameters)
{
    client_send(client,
                json_pack("{s:s, s:o}", "error", error, "parameters",
                          parameters ? parameters : json_object()),
                NULL, 0);
}

static void client_take(struct control_client *client, const char *text)
{
    struct control *control = client->control;
    json_t *request = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *parameters;
    const char *method = json_string_value(json_object_get(request, "method"));

    parameters = json_object_get(request, "parameters");
    /* Varlink allows no answer to what is no call: the connection ends. */
    if (!method || (parameters && !json_is_object(parameters))) {
        json_decref(request);
        client_end(client);
        return;
    }
    parameters = parameters ? json_incref(parameters) : json_object();
    client->waiting = true;
    control->on_method(control->context, client, method, parameters);
    json_decref(parameters);
    json_decref(request);
}

/* Takes the requests that are complete, each after the one before was answered; some wait for it. */
static void client_take_all(struct control_client *client)
{
    char *end;

    while (!client->waiting && !client->ended && !client->out &&
           (end = memchr(client->in, '\0', client->in_len))) {
        char *text = strdup(client->in);

        client->in_len -= (size_t)(end + 1 - client->in);
        memmove(client->in, end + 1, client->in_len);
        if (text)
            client_take(client, text);
        else
            client_end(client);
        free(text);
    }
}

static void on_client(struct loop_source *source, unsigned events)
{
    struct control_client *client = CONTAINER_OF(source, struct control_client, source);
    unsigned fds_len;
    ssize_t len;

    if (client->ended || (events & LOOP_HANGUP)) {
        client_free(client);
        return;
    }
    if (events & LOOP_OUT)
        client_flush(client);
    if ((events & LOOP_IN) && !client->waiting && !client->out) {
        int fd = -1;

        len = descriptor_receive(source->fd, client->in + client->in_len,
                                 sizeof(client->in) - client->in_len, &fd, 1, &fds_len);
        if (len == -EAGAIN)
            return;
        if (fds_len) {
            client_drop_in_fd(client);
            client->in_fd = fd;
        }
        if (len <= 0) {
            client_free(client);
            return;
        }
        if (client->in_len == 0)
            client->since_ms = loop_now_ms(client->control->loop);
        client->in_len += (size_t)len;
    }
    client_take_all(client);
    if (client->in_len == sizeof(client->in) && !client->waiting) {
        if (access_may_log(&client->control->offences))
            log_warn("a control client sent more than %d bytes in one request and was disconnected",
                     CONTROL_REQUEST_BYTES);
        client_free(client);
        return;
    }
    client_watch(client);
}

static bool has_place_for(const struct control *control, const struct control_client *new)
{
    const struct list *clients = &control->clients;
    unsigned of_user = 0, strangers = 0, not_root = 0;

    for (const struct list *node = clients->next; node != clients; node = node->next) {
        const struct control_client *client = CONTAINER_OF(node, struct control_client, list);

        of_user += client->uid == new->uid;
        strangers += client->stranger;
        not_root += client->uid != 0;
    }
    return of_user < CONTROL_USER_CLIENTS_MAX &&
           not_root < CONTROL_CLIENTS_MAX - CONTROL_ROOT_CLIENTS &&
           (!new->stranger || strangers < CONTROL_STRANGERS_MAX);
}

/* Who has connected; false where they may not. */
static bool client_identify(struct control_client *client, int fd)
{
    const struct control *control = client->control;

    if (peer_identity(fd, &client->uid, &client->pid) < 0)
        return false;
    if (client->uid == 0 || !control->is_stranger)
        return client->uid == 0 || client->uid == geteuid();
    client->stranger = control->is_stranger(control->context, fd);
    return has_place_for(control, client);
}

static void on_listener(struct loop_source *source, unsigned events)
{
    struct control *control = CONTAINER_OF(source, struct control, source);
    struct control_client *client;
    int fd = descriptor_accept(source->fd);

    if (fd < 0) {
        /* Out of descriptors: the connection stays in the queue and would wake us at once. */
        if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM) {
            control->paused = true;
            loop_change(control->loop, &control->source, 0);
            if (!control->timer.due_ms)
                loop_timer_set(control->loop, &control->timer, TIMER_PERIOD_MS);
        }
        return;
    }
    client = malloc(sizeof(*client));
    if (!client) {
        close(fd);
        return;
    }
    memset(client, 0, offsetof(struct control_client, in));
    client->control = control;
    if (!client_identify(client, fd)) {
        close(fd);
        free(client);
        return;
    }
    client->in_fd = -1;
    client->since_ms = loop_now_ms(control->loop);
    client->source = (struct loop_source){.on_event = on_client, .fd = -1};
    list_init(&client->list);
    if (loop_add(control->loop, &client->source, fd, LOOP_IN) < 0) {
        close(fd);
        free(client);
        return;
    }
    list_append(&control->clients, &client->list);
    /* Those that come when all places are taken wait in the listener's queue. */
    if (++control->clients_len >= CONTROL_CLIENTS_MAX) {
        control->paused = true;
        loop_change(control->loop, &control->source, 0);
    }
    if (!control->timer.due_ms)
        loop_timer_set(control->loop, &control->timer, TIMER_PERIOD_MS);
}

static void on_timer(struct loop_timer *timer)
{
    struct control *control = CONTAINER_OF(timer, struct control, timer);
    uint64_t now_ms = loop_now_ms(control->loop);

    for (struct list *node = control->clients.next, *next; node != &control->clients; node = next) {
        struct control_client *client = CONTAINER_OF(node, struct control_client, list);
        bool busy = client->in_len || client->out;

        next = node->next;
        if (!client->waiting &&
            now_ms - client->since_ms >= (busy ? CONTROL_REQUEST_MS : CONTROL_IDLE_MS))
            client_free(client);
    }
    if (control->paused && control->clients_len < CONTROL_CLIENTS_MAX) {
        control->paused = false;
        loop_change(control->loop, &control->source, LOOP_IN);
    }
    if (control->clients_len || control->paused)
        loop_timer_set(control->loop, timer, TIMER_PERIOD_MS);
}

int control_new(struct loop *loop, int listen_fd, control_stranger_fn *is_stranger,
                control_method_fn *on_method, control_gone_fn *on_gone, void *context,
                struct control **ret_control)
{
    struct control *control = calloc(1, sizeof(*control));
    int result;

    if (!control)
        return -ENOMEM;
    *control = (struct control){
        .loop = loop,
        .source = {.on_event = on_listener, .fd = -1},
        .timer.on_timer = on_timer,
        .is_stranger = is_stranger,
        .on_method = on_method,
        .on_gone = on_gone,
        .context = context,
    };
    list_init(&control->clients);
    result = loop_add(loop, &control->source, listen_fd, LOOP_IN);
    if (result < 0) {
        free(control);
        return result;
    }
    *ret_control = control;
    return 0;
}

void control_free(struct control *control)
{
    if (!control)
        return;
    while (!list_is_empty(&control->clients))
        client_free(CONTAINER_OF(control->clients.next, struct control_client, list));
    loop_timer_clear(control->loop, &control->timer);
    loop_remove(control->loop, &control->source);
    free(control);
}

unsigned control_clients(const struct control *control)
{
    return control->clients_len;
}
