/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/paths.h"
#include "client/connection.h"
#include "client/open.h"
#include "client/start.h"

/* How long a network may be busy with ports that are just going, namespaces of programs above all. */
#define STOP_SETTLE_MS 1000
#define STOP_RETRY_MS 20
#define STOP_LISTENING "systemctl stop openvmnet@%s.socket"

int client_start(const struct net_spec *spec, struct err *err)
{
    uint64_t deadline_ms = clock_now_ms() + CLIENT_TIMEOUT_MS;
    struct err warning = {""};
    enum net_scope scope;
    json_t *reply = NULL;
    bool lasting = false;
    int fd, result;

    result = connection_open(spec->name, true, &scope, &fd, NULL);
    if (result == 0) {
        result = connection_call(fd, OPEN_INTERFACE "Describe", NULL, -1, &reply, NULL, err);
        lasting = result == 0 &&
                  json_is_true(json_object_get(json_object_get(reply, "network"), "lasting"));
        json_decref(reply);
        close(fd);
        if (lasting)
            return err_set(err, -EEXIST, "runs already; vmnet down ends it");
    }
    do {
        result = network_open(spec, true, deadline_ms, &fd, &warning, err);
        if (result < 0)
            return result;
        reply = NULL;
        result = connection_call(fd, OPEN_INTERFACE "Keep", NULL, -1, &reply, NULL, err);
        json_decref(reply);
        close(fd);
    } while (result == -ECONNRESET && clock_now_ms() < deadline_ms);
    return result < 0 ? result : err_set(err, 0, "%s", warning.text);
}

/*
 * A network of the system that was killed with all its processes has left what root alone can remove, and the kernel
 * takes a moment to end what it had. Keeps @err where there is nothing; says who else has to be told, where it would start.
 */
static int remove_left(const char *network, bool force, uint64_t settled_ms, struct err *err)
{
    struct err reason;
    int result;

    if (geteuid() != 0)
        return -ENOENT;
    if (connection_is_awaited(network))
        return err_set(err, -ENOENT,
                       "does not run, but starts for who connects; to end that: " STOP_LISTENING
                       ", and vmnet down once more where it was killed and has left something",
                       network);
    do {
        result = start_removal(network, force, &reason);
    } while (result == -EBUSY && clock_now_ms() < settled_ms && poll(NULL, 0, STOP_RETRY_MS) == 0);
    if (result != -ENOENT)
        *err = reason;
    return result;
}

int client_stop(const char *network, bool force, struct err *err)
{
    uint64_t deadline_ms = clock_now_ms() + CLIENT_TIMEOUT_MS;
    uint64_t settled_ms = clock_now_ms() + STOP_SETTLE_MS;
    enum net_scope scope;
    char path[NET_PATH_MAX];
    json_t *reply = NULL;
    struct err reason;
    int fd, result = net_name_check(network, err);

    if (result != 0)
        return result;
    result = connection_open(network, true, &scope, &fd, err);
    if (result == -ENOENT)
        return remove_left(network, force, settled_ms, err);
    if (result != 0)
        return result;
    close(fd);
    result = path_network(scope, network, path, err);
    if (result < 0)
        return result;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* A port whose program has just ended takes the kernel a moment to remove. */
    do {
        result = client_call(network, "Stop", json_pack("{s:b}", "force", force), &reply, err);
    } while (result == -EBUSY && clock_now_ms() < settled_ms && poll(NULL, 0, STOP_RETRY_MS) == 0);
    json_decref(reply);
    /* A service manager listens for a network whose file is gone. */
    if (result == -ENOENT && geteuid() == 0) {
        reason = *err;
        err_set(err, result, "%s; to remove what it has left: " STOP_LISTENING ", and once more",
                reason.text, network);
    }
    /*
     * Its processes hold a lock on this directory until they have ended. The name says nothing: another
     * network of that name may have begun meanwhile, in a directory of its own.
     */
    while (result == 0 && fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (clock_now_ms() >= deadline_ms)
            result = err_set(err, -ETIMEDOUT, "does not end within %d s", CLIENT_TIMEOUT_MS / 1000);
        poll(NULL, 0, OPEN_RETRY_MS);
    }
    if (fd >= 0)
        close(fd);
    return result;
}

/* Calls a method of a network that runs. @ret_fds as in connection_call(). */
static int call_running(const char *network, const char *method, json_t *parameters,
                        json_t **ret_reply, int *ret_fds, struct err *err)
{
    uint64_t deadline_ms = clock_now_ms() + CLIENT_TIMEOUT_MS;
    enum net_scope scope;
    char name[64];
    int fd, result = net_name_check(network, err);

    snprintf(name, sizeof(name), OPEN_INTERFACE "%s", method);
    while (result == 0) {
        result = connection_open(network, true, &scope, &fd, err);
        if (result < 0)
            break;
        result = connection_call(fd, name, json_incref(parameters), -1, ret_reply, ret_fds, err);
        close(fd);
        /* It is ending, or its engine was started anew in this moment: one more look tells which. */
        if (result != -ECONNRESET || clock_now_ms() >= deadline_ms)
            break;
        poll(NULL, 0, OPEN_RETRY_MS);
        result = 0;
    }
    json_decref(parameters);
    return result;
}

int client_call(const char *network, const char *method, json_t *parameters, json_t **ret_reply,
                struct err *err)
{
    return call_running(network, method, parameters, ret_reply, NULL, err);
}

int client_connect(const char *network, const char *host, unsigned port, int *ret_fd,
                   struct err *err)
{
    int fds[CONNECTION_FDS_MAX], result;
    json_t *parameters = json_pack("{s:s, s:i}", "host", host, "port", (int)port);
    json_t *reply = NULL;

    if (!parameters)
        return err_set(err, -EINVAL, "the host's name is not UTF-8 text");
    result = call_running(network, "Connect", parameters, &reply, fds, err);
    if (result < 0)
        return result;
    *ret_fd = connection_take_fd(reply, "fd", fds);
    connection_close_fds(fds);
    json_decref(reply);
    return *ret_fd < 0 ? err_set(err, -EPROTO, "the network sent no descriptor") : 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct names {
    char **all;
    size_t len;
};

static bool runs(const char *network)
{
    enum net_scope scope;
    int fd;

    if (connection_open(network, true, &scope, &fd, NULL) < 0)
        return false;
    close(fd);
    return true;
}

/* And the name means that one, not one of the user's own. */
static bool is_listened_for(const char *network)
{
    bool is_root = geteuid() == 0 && path_config_exists(NET_OF_SYSTEM, network);

    return connection_is_awaited(network) && !runs(network) &&
           (is_root || !path_config_exists(NET_OF_USER, network));
}

/* Adds those that have a directory there and are @wanted. */
static int list_names(enum net_scope scope, bool (*wanted)(const char *network),
                      struct names *names, struct err *err)
{
    char runtime[NET_PATH_MAX];
    int result = path_runtime(scope, false, runtime, err);
    struct dirent *entry;
    DIR *directory;

    if (result < 0)
        return result;
    directory = opendir(runtime);
    if (!directory)
        /* The system's is closed to others while there are only networks of root's own in it. */
        return errno == ENOENT || (errno == EACCES && scope == NET_OF_SYSTEM)
                   ? 0
                   : err_set(err, -errno, "%s: %s", runtime, strerror(errno));
    while ((entry = readdir(directory))) {
        char **more;

        if (net_name_check(entry->d_name, NULL) < 0 || !wanted(entry->d_name))
            continue;
        more = realloc(names->all, (names->len + 1) * sizeof(*names->all));
        if (!more)
            break;
        names->all = more;
        names->all[names->len] = strdup(entry->d_name);
        if (names->all[names->len])
            names->len++;
    }
    closedir(directory);
    return 0;
}

/* A name means one network, in whichever directory it is. */
static int list_wanted(bool (*wanted)(const char *network), json_t **ret_names, struct err *err)
{
    struct names names = {NULL, 0};
    int result = list_names(NET_OF_USER, wanted, &names, err);

    if (result == 0)
        result = list_names(NET_OF_SYSTEM, wanted, &names, err);
    if (names.len)
        qsort(names.all, names.len, sizeof(*names.all), compare_names);
    *ret_names = json_array();
    for (size_t i = 0; i < names.len; i++) {
        if (result == 0 && (i == 0 || strcmp(names.all[i], names.all[i - 1]) != 0))
            json_array_append_new(*ret_names, json_string(names.all[i]));
    }
    for (size_t i = 0; i < names.len; i++)
        free(names.all[i]);
    free(names.all);
    if (result < 0) {
        json_decref(*ret_names);
        *ret_names = NULL;
    }
    return result;
}

int client_list(json_t **ret_names, struct err *err)
{
    return list_wanted(runs, ret_names, err);
}

int client_list_listening(json_t **ret_names, struct err *err)
{
    return list_wanted(is_listened_for, ret_names, err);
}
