/* SPDX-License-Identifier: Apache-2.0 */
#include "client/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/descriptor.h"
#include "base/paths.h"
#include "base/peer.h"
#include "client/client.h"

#define REPLY_BYTES_MAX (8 * 1024 * 1024)
#define DOES_NOT_RUN "does not run; vmnet ls lists the networks that do"

/* True where a network of the system has what it has only while it runs. */
static bool is_running(const char *directory)
{
    char path[NET_PATH_MAX + 16];

    snprintf(path, sizeof(path), "%s/" PATH_SUBNET, directory);
    return access(path, F_OK) == 0;
}

static int open_one(enum net_scope scope, const char *network, bool running, int *ret_fd,
                    struct err *err)
{
    struct timeval timeout = {.tv_sec = CLIENT_TIMEOUT_MS / 1000};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char directory[NET_PATH_MAX], path[NET_PATH_MAX];
    int result = path_network(scope, network, directory, err), fd;
    uid_t uid = 0;

    if (result == 0)
        result = path_socket(directory, PATH_CONTROL, path, err);
    if (result < 0)
        return result;
    if (scope == NET_OF_SYSTEM && running && !is_running(directory))
        return -ENOENT;
    memcpy(address.sun_path, path, strlen(path) + 1); /* path_socket() has checked that it fits */
    fd = descriptor_socket(AF_UNIX, SOCK_STREAM, false);
    if (fd < 0)
        return err_set(err, fd, "cannot open a socket: %s", strerror(-fd));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    /* Begun again where a signal of the program's came between: a unix socket connects at once or not. */
    do {
        result = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    } while (result == -EINTR);
    if (result < 0) {
        close(fd);
        /* Where a file is in the way, who starts the network says so best. */
        if (result == -ENOENT || result == -ECONNREFUSED || result == -ENOTDIR)
            return -ENOENT;
        return err_set(err, result, "%s: %s", path, strerror(-result));
    }
    result = peer_identity(fd, &uid, NULL);
    if (result == 0 && uid != 0 && (scope == NET_OF_SYSTEM || uid != geteuid())) {
        close(fd);
        return err_set(err, -EPERM, "%s: belongs to user %u, who is %s root", path, uid,
                       scope == NET_OF_SYSTEM ? "not" : "neither you nor");
    }
    *ret_fd = fd;
    return 0;
}

/* The same of the system's. A network of root's own lies there too, closed to others: not theirs. */
static int open_system(const char *network, bool running, int *ret_fd, struct err *err)
{
    int result = open_one(NET_OF_SYSTEM, network, running, ret_fd, err);

    return result == -EACCES ? -ENOENT : result;
}

bool connection_is_awaited(const char *network)
{
    char directory[NET_PATH_MAX], path[NET_PATH_MAX];

    return path_network(NET_OF_SYSTEM, network, directory, NULL) == 0 &&
           path_socket(directory, PATH_CONTROL, path, NULL) == 0 && access(path, F_OK) == 0 &&
           !is_running(directory);
}

/* One of the system that a service manager listens for is none that an administrator has to start. */
static int refuse_ended(const char *network, enum net_scope scope, struct err *err)
{
    if (scope != NET_OF_SYSTEM)
        return err_set(err, -ENOENT, DOES_NOT_RUN);
    if (connection_is_awaited(network))
        return err_set(
            err, -ENOENT,
            "does not run; it is the system's and starts with its first machine, such as "
            "'vmnet run --network %s qemu-system-x86_64 ...'",
            network);
    return err_set(err, -ENOENT,
                   "does not run; it is the system's, and root starts it: 'vmnet up %s'", network);
}

int connection_open(const char *network, bool running, enum net_scope *ret_scope, int *ret_fd,
                    struct err *err)
{
    bool defined = path_config_exists(NET_OF_SYSTEM, network);
    int result = -ENOENT;

    *ret_scope = NET_OF_USER;
    if (geteuid() != 0 || !defined) {
        result = open_one(NET_OF_USER, network, running, ret_fd, err);
        if (result == -ENOENT && path_config_exists(NET_OF_USER, network))
            return err_set(err, result, DOES_NOT_RUN);
    }
    if (result == -ENOENT) {
        result = open_system(network, running, ret_fd, err);
        if (result != -ENOENT || defined)
            *ret_scope = NET_OF_SYSTEM;
    }
    return result == -ENOENT ? refuse_ended(network, *ret_scope, err) : result;
}

/* A descriptor goes with the first byte; @send_fd -1: none. */
static int send_all(int fd, const char *data, size_t len_bytes, int send_fd)
{
    unsigned fds_len = send_fd >= 0;

    while (len_bytes) {
        ssize_t sent = descriptor_send(fd, data, len_bytes, &send_fd, fds_len, MSG_NOSIGNAL);

        if (sent < 0)
            return sent == -EPIPE ? -ECONNRESET : sent == -EAGAIN ? -ETIMEDOUT : (int)sent;
        data += sent;
        len_bytes -= (size_t)sent;
        fds_len = 0;
    }
    return 0;
}

/*
 * Reads up to the NUL that ends a reply. *ret_text is the caller's, on 0; so are the descriptors in
 * any case. Those beyond the bound are closed.
 */
static int receive_text(int socket_fd, char **ret_text, int ret_fds[CONNECTION_FDS_MAX])
{
    size_t len = 0, size = 4096;
    char *text = malloc(size);
    unsigned fds_len = 0;
    int result = -ENOMEM;

    while (text) {
        unsigned more;
        ssize_t got = descriptor_receive(socket_fd, text + len, size - len, ret_fds + fds_len,
                                         CONNECTION_FDS_MAX - fds_len, &more);

        result = got == 0 ? -ECONNRESET : got == -EAGAIN ? -ETIMEDOUT : (int)got;
        if (got <= 0)
            break;
        fds_len += more;
        len += (size_t)got;
        if (text[len - 1] == '\0') {
            *ret_text = text;
            return 0;
        }
        if (len == size) {
            char *larger = size < REPLY_BYTES_MAX ? realloc(text, size * 2) : NULL;

            result = -EMSGSIZE;
            if (!larger)
                break;
            text = larger;
            size *= 2;
        }
    }
    free(text);
    return result;
}

/* Takes over @root, a whole reply. */
static int take_reply(json_t *root, const char *method, json_t **ret_reply, struct err *err)
{
    json_t *parameters = json_object_get(root, "parameters");
    const char *error = json_string_value(json_object_get(root, "error"));
    const char *reason = json_string_value(json_object_get(parameters, "reason"));
    const char *code = json_string_value(json_object_get(parameters, "code"));
    const char *parameter = json_string_value(json_object_get(parameters, "parameter"));
    int result = 0;

    if (!json_is_object(root))
        result = err_set(err, -EPROTO, "%s: the network's reply is not understood", method);
    else if (error && reason)
        result = err_set(err, err_code_parse(code ? code : ""), "%s", reason);
    else if (error)
        result = err_set(err, -EINVAL, "%s: %s%s%s", method, error, parameter ? " " : "",
                         parameter ? parameter : "");
    else
        *ret_reply = parameters ? json_incref(parameters) : json_object();
    json_decref(root);
    return result;
}

char *connection_text(const json_t *value, size_t flags)
{
    size_t len_bytes = json_dumpb(value, NULL, 0, flags);
    char *text = len_bytes ? malloc(len_bytes + 1) : NULL;

    if (!text)
        return NULL;
    json_dumpb(value, text, len_bytes, flags);
    text[len_bytes] = '\0';
    return text;
}

int connection_call(int fd, const char *method, json_t *parameters, int send_fd, json_t **ret_reply,
                    int ret_fds[CONNECTION_FDS_MAX], struct err *err)
{
    json_t *request = json_pack("{s:s, s:o}", "method", method, "parameters",
                                parameters ? parameters : json_object());
    char *text = request ? connection_text(request, JSON_COMPACT) : NULL;
    int result = text ? send_all(fd, text, strlen(text) + 1, send_fd) : -ENOMEM;
    int fds[CONNECTION_FDS_MAX];

    json_decref(request);
    free(text);
    for (int i = 0; i < CONNECTION_FDS_MAX; i++)
        fds[i] = -1;
    /* Who cannot start says why, and waits for no request. */
    if (result == 0 || result == -ECONNRESET)
        result = receive_text(fd, &text, fds);
    if (result < 0) {
        err_set(err, result, "%s: %s", method,
                result == -ETIMEDOUT ? "the network did not reply in time" : strerror(-result));
    } else {
        result = take_reply(json_loads(text, 0, NULL), method, ret_reply, err);
        free(text);
    }
    if (result < 0 || !ret_fds)
        connection_close_fds(fds);
    if (ret_fds)
        memcpy(ret_fds, fds, sizeof(fds));
    return result;
}

int connection_take_fd(const json_t *reply, const char *key, int fds[CONNECTION_FDS_MAX])
{
    const json_t *value = json_object_get(reply, key);
    json_int_t index = json_is_integer(value) ? json_integer_value(value) : -1;
    int fd;

    if (index < 0 || index >= CONNECTION_FDS_MAX)
        return -1;
    fd = fds[index];
    fds[index] = -1;
    return fd;
}

void connection_close_fds(int fds[CONNECTION_FDS_MAX])
{
    for (int i = 0; i < CONNECTION_FDS_MAX; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}
