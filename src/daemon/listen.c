/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/descriptor.h"
#include "base/paths.h"
#include "base/text.h"
#include "daemon/methods.h"

#define CONTROL_BACKLOG 256
#define PASSED_FD_FIRST 3 /* SD_LISTEN_FDS_START */
#define PASSED_MAX 2

static int open_socket(const struct net_config *config, const char *name, int *ret_fd,
                       struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char path[NET_PATH_MAX];
    int result = path_socket(config->run_dir, name, path, err), fd;
    mode_t old;

    if (result < 0)
        return result;
    fd = descriptor_socket(AF_UNIX, SOCK_STREAM, true);
    memcpy(address.sun_path, path, strlen(path) + 1); /* path_socket() has checked that it fits */
    /* To a network of the system all may connect: who may do what is said to them, control.h. */
    old = umask(config->system ? 0111 : 0177);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, CONTROL_BACKLOG) < 0) {
        result = fd < 0 ? fd : -errno;
        err_set(err, result, "%s: %s", path, strerror(-result));
        if (fd >= 0)
            close(fd);
    } else {
        *ret_fd = fd;
    }
    umask(old);
    return result;
}

int listen_open(const struct net_config *config, struct parent_sockets *ret_sockets,
                struct err *err)
{
    int result = open_socket(config, PATH_CONTROL, &ret_sockets->control_fd, err);

    return result < 0 ? result : open_socket(config, PATH_STREAM, &ret_sockets->stream_fd, err);
}

bool listen_is_done(enum net_scope scope, const char *network)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char directory[NET_PATH_MAX], path[NET_PATH_MAX];
    bool done;
    int fd;

    if (path_network(scope, network, directory, NULL) < 0 ||
        path_socket(directory, PATH_CONTROL, path, NULL) < 0)
        return false;
    memcpy(address.sun_path, path, strlen(path) + 1);
    fd = descriptor_socket(AF_UNIX, SOCK_STREAM, true);
    /* -EAGAIN: so many wait that there is no room. */
    done = fd >= 0 &&
           (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN);
    if (fd >= 0)
        close(fd);
    return done;
}

/* Puts one of them to its place. False where it is none of the network's. */
static bool take(int fd, const char *network, struct parent_sockets *sockets)
{
    enum net_scope scope = NET_OF_SYSTEM;
    struct sockaddr_un address = {0};
    socklen_t len = sizeof(address), listens_len = sizeof(int);
    char directory[NET_PATH_MAX], path[NET_PATH_MAX];
    const struct {
        const char *name;
        int *to;
    } places[] = {{PATH_CONTROL, &sockets->control_fd}, {PATH_STREAM, &sockets->stream_fd}};
    int listens = 0;

    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0 || address.sun_family != AF_UNIX ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &listens_len) < 0 || !listens ||
        path_network(scope, network, directory, NULL) < 0)
        return false;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (path_socket(directory, places[i].name, path, NULL) < 0 ||
            strncmp(address.sun_path, path, sizeof(address.sun_path)) != 0 || *places[i].to >= 0)
            continue;
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        *places[i].to = fd;
        return true;
    }
    return false;
}

int listen_passed(const char *network, struct parent_sockets *ret_sockets, struct err *err)
{
    const char *pid_text = getenv("LISTEN_PID"), *len_text = getenv("LISTEN_FDS");
    struct parent_sockets sockets = {-1, -1};
    unsigned pid, len;

    /* The variables may be those of a process above, whose descriptors these are not. */
    if (!pid_text || !len_text || text_to_uint(pid_text, 1, INT32_MAX, &pid) < 0 ||
        pid != (unsigned)getpid())
        return 0;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (text_to_uint(len_text, PASSED_MAX, PASSED_MAX, &len) < 0)
        return err_set(err, -EINVAL,
                       "LISTEN_FDS=%s: %d sockets are wanted: %s and %s of the network", len_text,
                       PASSED_MAX, PATH_CONTROL, PATH_STREAM);
    for (int fd = PASSED_FD_FIRST; fd < PASSED_FD_FIRST + PASSED_MAX; fd++)
        if (!take(fd, network, &sockets))
            return err_set(err, -EINVAL,
                           "descriptor %d of LISTEN_FDS is not a listening socket of network '%s': "
                           "they are %s and %s in its directory below /run/openvmnet",
                           fd, network, PATH_CONTROL, PATH_STREAM);
    *ret_sockets = sockets;
    return 1;
}

/* Those that come later are the next start's. */
static void answer_all(int fd, const char *text, size_t len_bytes)
{
    for (int i = 0, client; i < CONTROL_BACKLOG && (client = accept(fd, NULL, NULL)) >= 0; i++) {
        if (len_bytes)
            (void)!send(client, text, len_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        close(client);
    }
}

void listen_refuse(const struct parent_sockets *sockets, int code, const char *reason)
{
    json_t *answer = json_pack("{s:s, s:o}", "error", METHODS_FAILED, "parameters",
                               methods_failure(code, reason));
    char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;

    answer_all(sockets->control_fd, text, text ? strlen(text) + 1 : 0);
    answer_all(sockets->stream_fd, NULL, 0);
    free(text);
    json_decref(answer);
}
