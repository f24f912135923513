/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/paths.h"
#include "base/process.h"
#include "client/connection.h"

#define INTERFACE "io.openvmnet."
#define READY_FD 3
/* Between two looks at a network that is starting or ending in another's hands. */
#define RETRY_MS 10
/* How long a refusal may be due to a port that is just going. */
#define SETTLE_MS 300

extern char **environ;

/* vmnetd lies beside the running program, or is found as programs are. */
static int find_daemon(char path[NET_PATH_MAX], struct err *err)
{
    char *slash;

    process_path(path);
    slash = strrchr(path, '/');
    if (slash && (size_t)(slash - path) + sizeof("/vmnetd") <= NET_PATH_MAX) {
        memcpy(slash, "/vmnetd", sizeof("/vmnetd"));
        if (access(path, X_OK) == 0)
            return 0;
    }
    if (path_find_program("vmnetd", path) == 0)
        return 0;
    return err_set(err, -ENOENT,
                   "vmnetd: not found beside vmnet or in PATH; is openvmnet installed as a whole?");
}

/* Reads what the daemon tells: "ok" and a warning or nothing, or a negative errno and the reason. */
static int read_ready(int fd, struct err *warning, struct err *err)
{
    uint64_t deadline_ms = clock_now_ms() + CLIENT_TIMEOUT_MS;
    char text[ERR_TEXT_MAX + 16] = "";
    size_t len = 0;

    while (!memchr(text, '\n', len) && len < sizeof(text) - 1) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        uint64_t now_ms = clock_now_ms();
        ssize_t got;

        if (now_ms >= deadline_ms)
            return err_set(err, -ETIMEDOUT, "vmnetd did not start the network within %d s",
                           CLIENT_TIMEOUT_MS / 1000);
        if (poll(&poll_fd, 1, (int)(deadline_ms - now_ms)) <= 0)
            continue;
        got = read(fd, text + len, sizeof(text) - 1 - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return err_set(err, -EIO,
                           "vmnetd ended without a word; run it in the foreground to see "
                           "why: vmnetd NET");
        len += (size_t)got;
    }
    text[len] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (strncmp(text, "ok ", 3) == 0)
        return err_set(warning, 0, "%s", text + 3);

    char *reason;
    long code = strtol(text, &reason, 10);

    return err_set(err, code < 0 ? (int)code : -EIO, "%s", *reason == ' ' ? reason + 1 : reason);
}

/* Starts vmnetd and waits until its network is ready. -EBUSY where another process is that network. */
static int start_daemon(const struct net_spec *spec, bool lasting, struct err *warning,
                        struct err *err)
{
    char program[NET_PATH_MAX], start[IP_TEXT_MAX], end[IP_TEXT_MAX], mask[IP_TEXT_MAX];
    const char *arguments[16] = {"vmnetd", "--background", "--mode", net_mode_name(spec->mode)};
    posix_spawn_file_actions_t actions;
    int pipe_fd[2], len = 4, result = find_daemon(program, err);
    pid_t pid;

    if (result < 0)
        return result;
    if (lasting)
        arguments[len++] = "--lasting";
    if (spec->start_address.family) {
        arguments[len++] = "--start-address";
        arguments[len++] = ip_format(&spec->start_address, start);
        arguments[len++] = "--end-address";
        arguments[len++] = ip_format(&spec->end_address, end);
        arguments[len++] = "--subnet-mask";
        arguments[len++] = ip_format(&spec->subnet_mask, mask);
    }
    arguments[len++] = "--";
    arguments[len++] = spec->name;
    if (pipe(pipe_fd) < 0)
        return err_set(err, -errno, "cannot open a pipe: %s", strerror(errno));
    fcntl(pipe_fd[0], F_SETFD, FD_CLOEXEC);
    fcntl(pipe_fd[1], F_SETFD, FD_CLOEXEC);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe_fd[1], READY_FD);
    result = -posix_spawn(&pid, program, &actions, NULL, (char *const *)arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_fd[1]);
    if (result < 0) {
        err_set(err, result, "%s: %s", program, strerror(-result));
    } else {
        result = read_ready(pipe_fd[0], warning, err);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    close(pipe_fd[0]);
    return result;
}

/* Refuses a running network that is not the one that was asked for. */
static int check_same(const struct net_spec *spec, const json_t *network, struct err *err)
{
    const char *mode = json_string_value(json_object_get(network, "mode"));
    const char *gateway = json_string_value(json_object_get(network, "gateway"));
    const char *end = json_string_value(json_object_get(network, "poolEnd"));
    char asked_start[IP_TEXT_MAX], asked_end[IP_TEXT_MAX];

    if (!mode || !gateway || !end)
        return err_set(err, -EPROTO,
                       "its description is not understood; is it of another version?");
    if (strcmp(mode, net_mode_name(spec->mode)) != 0)
        return err_set(err, -EEXIST,
                       "runs with mode %s, not %s; give this one another name "
                       "(network=)",
                       mode, net_mode_name(spec->mode));
    if (!spec->start_address.family)
        return 0;
    if (strcmp(gateway, ip_format(&spec->start_address, asked_start)) != 0 ||
        strcmp(end, ip_format(&spec->end_address, asked_end)) != 0)
        return err_set(err, -EEXIST,
                       "runs with addresses %s to %s, not %s to %s; give this one another name "
                       "(network=), or end the other first",
                       gateway, end, asked_start, ip_format(&spec->end_address, asked_end));
    return 0;
}

/*
 * A connection to the network that @spec describes, started where needed. Others may start or end it at
 * the same time: each step may find the world changed and then begins again, until the deadline.
 */
static int open_network(const struct net_spec *spec, bool lasting, uint64_t deadline_ms,
                        int *ret_fd, struct err *warning, struct err *err)
{
    json_t *reply = NULL;
    int fd = -1, result;

    for (;;) {
        result = connection_open(spec->name, &fd, err);
        if (result == 0) {
            result = connection_call(fd, INTERFACE "Describe", NULL, &reply, NULL, err);
            if (result == 0) {
                result = check_same(spec, json_object_get(reply, "network"), err);
                json_decref(reply);
                if (result == 0) {
                    *ret_fd = fd;
                    return 0;
                }
            }
            close(fd);
            if (result != -ECONNRESET)
                return result;
        } else if (result == -ENOENT) {
            result = start_daemon(spec, lasting, warning, err);
            if (result == 0)
                continue;
            if (result != -EBUSY)
                return result;
        } else {
            return result;
        }
        if (clock_now_ms() >= deadline_ms)
            return err_set(err, -ETIMEDOUT, "neither answers nor ends; see vmnet status");
        poll(NULL, 0, RETRY_MS);
    }
}

static void take_text(char *to, size_t size, const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    snprintf(to, size, "%s", text ? text : "");
}

static void take_port(const json_t *object, struct client_port *port)
{
    take_text(port->network, sizeof(port->network), object, "network");
    take_text(port->interface, sizeof(port->interface), object, "interface");
    take_text(port->mac, sizeof(port->mac), object, "mac");
    take_text(port->ipv4, sizeof(port->ipv4), object, "ipv4");
    take_text(port->ipv6_prefix, sizeof(port->ipv6_prefix), object, "ipv6Prefix");
    take_text(port->gateway, sizeof(port->gateway), object, "gateway");
    take_text(port->gateway6, sizeof(port->gateway6), object, "gateway6");
    take_text(port->name, sizeof(port->name), object, "name");
    take_text(port->domain, sizeof(port->domain), object, "domain");
    port->mtu = (unsigned)json_integer_value(json_object_get(object, "mtu"));
}

static json_t *attach_parameters(const struct client_port_request *request)
{
    json_t *parameters = json_object();
    char mac[MAC_TEXT_MAX];

    if (request->name[0])
        json_object_set_new(parameters, "name", json_string(request->name));
    if (request->interface_id[0])
        json_object_set_new(parameters, "interfaceId", json_string(request->interface_id));
    if (request->mac_given)
        json_object_set_new(parameters, "mac", json_string(mac_format(&request->mac, mac)));
    return parameters;
}

/*
 * Taken, or full: that may be so for the port of a VM that has just ended, which the kernel takes some
 * tens of milliseconds to remove. Other reasons to try again (the network's last port went in this
 * moment, its router was started anew) end by themselves.
 */
static bool is_settling(int result)
{
    return result == -EEXIST || result == -ENOSPC;
}

int client_attach(const struct net_spec *spec, const struct client_port_request *request,
                  struct client_port *ret_port, struct err *err)
{
    uint64_t deadline_ms = clock_now_ms() + CLIENT_TIMEOUT_MS;
    uint64_t settled_ms = clock_now_ms() + SETTLE_MS;
    struct err warning = {""};
    json_t *reply = NULL;
    int fd, port_fd, result;

    for (;;) {
        uint64_t now_ms = clock_now_ms();

        result = open_network(spec, false, deadline_ms, &fd, &warning, err);
        if (result < 0)
            return result;
        result = connection_call(fd, INTERFACE "Attach", attach_parameters(request), &reply,
                                 &port_fd, err);
        close(fd);
        if (result == 0 || now_ms >= (is_settling(result) ? settled_ms : deadline_ms) ||
            !(is_settling(result) || result == -ECONNRESET || result == -EAGAIN))
            break;
        poll(NULL, 0, RETRY_MS);
    }
    if (result < 0)
        return result;
    if (port_fd < 0) {
        json_decref(reply);
        return err_set(err, -EPROTO, "the network sent no descriptor");
    }
    *ret_port = (struct client_port){.fd = port_fd};
    take_port(json_object_get(reply, "port"), ret_port);
    json_decref(reply);
    return err_set(err, 0, "%s", warning.text);
}

int client_start(const struct net_spec *spec, struct err *err)
{
    uint64_t deadline_ms = clock_now_ms() + CLIENT_TIMEOUT_MS;
    struct err warning = {""};
    json_t *reply = NULL;
    bool lasting = false;
    int fd, result;

    result = connection_open(spec->name, &fd, NULL);
    if (result == 0) {
        result = connection_call(fd, INTERFACE "Describe", NULL, &reply, NULL, err);
        lasting = result == 0 &&
                  json_is_true(json_object_get(json_object_get(reply, "network"), "lasting"));
        json_decref(reply);
        close(fd);
        if (lasting)
            return err_set(err, -EEXIST, "runs already; vmnet down ends it");
    }
    do {
        result = open_network(spec, true, deadline_ms, &fd, &warning, err);
        if (result < 0)
            return result;
        reply = NULL;
        result = connection_call(fd, INTERFACE "Keep", NULL, &reply, NULL, err);
        json_decref(reply);
        close(fd);
    } while (result == -ECONNRESET && clock_now_ms() < deadline_ms);
    return result < 0 ? result : err_set(err, 0, "%s", warning.text);
}

int client_stop(const char *network, bool force, struct err *err)
{
    uint64_t deadline_ms = clock_now_ms() + CLIENT_TIMEOUT_MS;
    char path[NET_PATH_MAX];
    json_t *reply = NULL;
    int fd, result = net_name_check(network, err);

    if (result == 0)
        result = path_network(network, path, err);
    if (result < 0)
        return result;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    result = client_call(network, "Stop", json_pack("{s:b}", "force", force), &reply, err);
    json_decref(reply);
    /*
     * Its processes hold a lock on this directory until they have ended. The name says nothing: another
     * network of that name may have begun meanwhile, in a directory of its own.
     */
    while (result == 0 && fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (clock_now_ms() >= deadline_ms)
            result = err_set(err, -ETIMEDOUT, "does not end within %d s", CLIENT_TIMEOUT_MS / 1000);
        poll(NULL, 0, RETRY_MS);
    }
    if (fd >= 0)
        close(fd);
    return result;
}

int client_call(const char *network, const char *method, json_t *parameters, json_t **ret_reply,
                struct err *err)
{
    uint64_t deadline_ms = clock_now_ms() + CLIENT_TIMEOUT_MS;
    char name[64];
    int fd, result = net_name_check(network, err);

    snprintf(name, sizeof(name), INTERFACE "%s", method);
    while (result == 0) {
        result = connection_open(network, &fd, err);
        if (result < 0)
            break;
        result = connection_call(fd, name, json_incref(parameters), ret_reply, NULL, err);
        close(fd);
        /* It is ending, or its engine was started anew in this moment: one more look tells which. */
        if (result != -ECONNRESET || clock_now_ms() >= deadline_ms)
            break;
        poll(NULL, 0, RETRY_MS);
        result = 0;
    }
    json_decref(parameters);
    return result;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int client_list(json_t **ret_names, struct err *err)
{
    char runtime[NET_PATH_MAX];
    int result = path_runtime(false, runtime, err);
    struct dirent *entry;
    char **names = NULL;
    size_t len = 0;
    DIR *directory;

    if (result < 0)
        return result;
    *ret_names = json_array();
    directory = opendir(runtime);
    if (!directory)
        return errno == ENOENT ? 0 : err_set(err, -errno, "%s: %s", runtime, strerror(errno));
    while ((entry = readdir(directory))) {
        char **more;
        int fd;

        if (net_name_check(entry->d_name, NULL) < 0 ||
            connection_open(entry->d_name, &fd, NULL) < 0)
            continue;
        close(fd);
        more = realloc(names, (len + 1) * sizeof(*names));
        if (!more)
            break;
        names = more;
        names[len] = strdup(entry->d_name);
        if (names[len])
            len++;
    }
    closedir(directory);
    if (len)
        qsort(names, len, sizeof(*names), compare_names);
    for (size_t i = 0; i < len; i++) {
        json_array_append_new(*ret_names, json_string(names[i]));
        free(names[i]);
    }
    free(names);
    return 0;
}
