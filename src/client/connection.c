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

#define REPLY_BYTES_MAX (4 * 1024 * 1024)

int connection_open(const char *network, int *ret_fd, struct err *err)
{
    struct timeval timeout = {.tv_sec = CLIENT_TIMEOUT_MS / 1000};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char path[NET_PATH_MAX];
    int result = path_control(network, path, err), fd;
    uid_t uid = 0;

    if (result < 0)
        return result;
    memcpy(address.sun_path, path, strlen(path) + 1); /* path_control() has checked that it fits */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(err, -errno, "cannot open a socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        result = -errno;
        close(fd);
        /* Where a file is in the way, who starts the network says so best. */
        if (result == -ENOENT || result == -ECONNREFUSED || result == -ENOTDIR)
            return err_set(err, -ENOENT, "does not run; vmnet ls lists the networks that do");
        return err_set(err, result, "%s: %s", path, strerror(-result));
    }
    result = peer_uid(fd, &uid);
    if (result == 0 && uid != geteuid() && uid != 0) {
        close(fd);
        return err_set(err, -EPERM, "%s: belongs to user %u, who is neither you nor root", path,
                       uid);
    }
    *ret_fd = fd;
    return 0;
}

static int send_all(int fd, const char *data, size_t len_bytes)
{
    while (len_bytes) {
        ssize_t sent = send(fd, data, len_bytes, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EPIPE ? -ECONNRESET : errno == EAGAIN ? -ETIMEDOUT : -errno;
        data += sent;
        len_bytes -= (size_t)sent;
    }
    return 0;
}

/* Reads up to the NUL that ends a reply. *ret_text is the caller's, on 0. */
static int receive_text(int socket_fd, char **ret_text, int *ret_fd)
{
    size_t len = 0, size = 4096;
    char *text = malloc(size);
    int result = -ENOMEM;

    while (text) {
        unsigned fds_len;
        int fd = -1;
        ssize_t got = descriptor_receive(socket_fd, text + len, size - len, &fd, 1, &fds_len);

        result = got == 0 ? -ECONNRESET : got == -EAGAIN ? -ETIMEDOUT : (int)got;
        if (got <= 0)
            break;
        if (fds_len && ret_fd && *ret_fd < 0)
            *ret_fd = fd;
        else if (fds_len)
            close(fd);
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

static int error_code(const char *name)
{
    static const struct {
        const char *name;
        int code;
    } names[] = {{"EINVAL", EINVAL}, {"EEXIST", EEXIST},       {"ENOSPC", ENOSPC}, {"EBUSY", EBUSY},
                 {"ENODEV", ENODEV}, {"ETIMEDOUT", ETIMEDOUT}, {"EAGAIN", EAGAIN}};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i].name, name) == 0)
            return -names[i].code;
    return -EIO;
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
        result = err_set(err, error_code(code ? code : ""), "%s", reason);
    else if (error)
        result = err_set(err, -EINVAL, "%s: %s%s%s", method, error, parameter ? " " : "",
                         parameter ? parameter : "");
    else
        *ret_reply = parameters ? json_incref(parameters) : json_object();
    json_decref(root);
    return result;
}

int connection_call(int fd, const char *method, json_t *parameters, json_t **ret_reply, int *ret_fd,
                    struct err *err)
{
    json_t *request = json_pack("{s:s, s:o}", "method", method, "parameters",
                                parameters ? parameters : json_object());
    char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
    int result = text ? send_all(fd, text, strlen(text) + 1) : -ENOMEM;

    json_decref(request);
    free(text);
    if (ret_fd)
        *ret_fd = -1;
    if (result == 0)
        result = receive_text(fd, &text, ret_fd);
    if (result < 0) {
        err_set(err, result, "%s: %s", method,
                result == -ETIMEDOUT ? "the network did not reply in time" : strerror(-result));
    } else {
        result = take_reply(json_loads(text, 0, NULL), method, ret_reply, err);
        free(text);
    }
    if (result < 0 && ret_fd && *ret_fd >= 0) {
        close(*ret_fd);
        *ret_fd = -1;
    }
    return result;
}
