/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages follow each other without anything in between: each is an object, and ends where its braces are closed.
 */
#include "base/ovsdb.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

#define DIRECTORY "/run/openvswitch"
#define READ_BYTES 65536

struct ovsdb {
    int fd;
    char *buf; /* what has come and is not worked off */
    size_t len_bytes, size_bytes;
    size_t scanned_bytes; /* up to where the next two are right */
    unsigned depth;       /* of braces */
    enum {
        PLAIN,
        STRING,
        ESCAPED
    } scan;
    json_int_t id;
    json_t *answer; /* to the last question, or NULL */
    void (*on_update)(void *context);
    void *context;
};

const char *ovsdb_directory(void)
{
    const char *directory = getenv("OVS_RUNDIR");

    return directory && *directory ? directory : DIRECTORY;
}

int ovsdb_open(void (*on_update)(void *context), void *context, struct ovsdb **ret_db)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct ovsdb *db;
    int len = snprintf(address.sun_path, sizeof(address.sun_path), "%s/db.sock", ovsdb_directory());

    if (len < 0 || (size_t)len >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    db = calloc(1, sizeof(*db));
    if (!db)
        return -ENOMEM;
    db->on_update = on_update;
    db->context = context;
    db->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (db->fd < 0 || connect(db->fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int error = -errno;

        ovsdb_close(db);
        return error;
    }
    *ret_db = db;
    return 0;
}

void ovsdb_close(struct ovsdb *db)
{
    if (!db)
        return;
    if (db->fd >= 0)
        close(db->fd);
    json_decref(db->answer);
    free(db->buf);
    free(db);
}

int ovsdb_fd(const struct ovsdb *db)
{
    return db->fd;
}

/* ---- messages out */

static int wait_for(struct ovsdb *db, short events, int wait_ms)
{
    struct pollfd each = {.fd = db->fd, .events = events};

    return poll(&each, 1, wait_ms) < 0 && errno != EINTR ? -errno : 0;
}

/* @message is stolen. */
static int send_message(struct ovsdb *db, json_t *message)
{
    char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
    uint64_t deadline_ms = clock_now_ms() + OVSDB_ANSWER_MS;
    size_t len = text ? strlen(text) : 0, sent = 0;
    int result = text ? 0 : -ENOMEM;

    json_decref(message);
    while (sent < len && result == 0) {
        ssize_t part = send(db->fd, text + sent, len - sent, MSG_NOSIGNAL);

        if (part >= 0)
            sent += (size_t)part;
        else if (errno != EAGAIN && errno != EINTR)
            result = -errno;
        else if (clock_now_ms() > deadline_ms)
            result = -ETIMEDOUT;
        else
            result = wait_for(db, POLLOUT, OVSDB_ANSWER_MS);
    }
    free(text);
    return result;
}

/* ---- messages in */

static int take(struct ovsdb *db, const char *text, size_t len)
{
    json_t *message = json_loadb(text, len, 0, NULL);
    const char *method = json_string_value(json_object_get(message, "method"));
    int result = message ? 0 : -EBADMSG;

    if (method && strcmp(method, "echo") == 0) {
        /* The server asks whether we are there (RFC 7047 4.1.11). */
        result = send_message(db, json_pack("{s:O, s:n, s:O}", "result",
                                            json_object_get(message, "params"), "error", "id",
                                            json_object_get(message, "id")));
    } else if (method && strcmp(method, "update") == 0) {
        if (db->on_update)
            db->on_update(db->context);
    } else if (message && json_integer_value(json_object_get(message, "id")) == db->id) {
        json_decref(db->answer);
        db->answer = json_incref(message);
    }
    json_decref(message);
    return result;
}

/* The length of the first message, or 0 where it is not complete. */
static size_t scan(struct ovsdb *db)
{
    while (db->scanned_bytes < db->len_bytes) {
        char c = db->buf[db->scanned_bytes++];

        switch (db->scan) {
        case PLAIN:
            if (c == '"')
                db->scan = STRING;
            else if (c == '{')
                db->depth++;
            else if (c == '}' && db->depth && --db->depth == 0)
                return db->scanned_bytes;
            break;
        case STRING: db->scan = c == '\\' ? ESCAPED : c == '"' ? PLAIN : STRING; break;
        case ESCAPED: db->scan = STRING; break;
        }
    }
    return 0;
}

static int take_all(struct ovsdb *db)
{
    size_t len, done = 0;
    int result = 0;

    while (result == 0 && (len = scan(db)) > 0) {
        result = take(db, db->buf + done, len - done);
        done = len;
    }
    memmove(db->buf, db->buf + done, db->len_bytes - done);
    db->len_bytes -= done;
    db->scanned_bytes -= done;
    return result;
}

int ovsdb_receive(struct ovsdb *db)
{
    for (;;) {
        ssize_t len;
        int result;

        if (db->size_bytes - db->len_bytes < READ_BYTES) {
            size_t size_bytes = db->size_bytes * 2 + READ_BYTES;
            char *buf = size_bytes <= 2 * OVSDB_MESSAGE_MAX ? realloc(db->buf, size_bytes) : NULL;

            if (!buf)
                return -EMSGSIZE;
            db->buf = buf;
            db->size_bytes = size_bytes;
        }
        len = recv(db->fd, db->buf + db->len_bytes, READ_BYTES, 0);
        if (len == 0)
            return -ECONNRESET;
        if (len < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        db->len_bytes += (size_t)len;
        result = take_all(db);
        if (result < 0)
            return result;
    }
}

int ovsdb_wait(struct ovsdb *db, int wait_ms)
{
    int result = wait_for(db, POLLIN, wait_ms);

    return result < 0 ? result : ovsdb_receive(db);
}

int ovsdb_call(struct ovsdb *db, const char *method, json_t *params, json_t **ret_result)
{
    uint64_t deadline_ms = clock_now_ms() + OVSDB_ANSWER_MS;
    const json_t *error;
    int result;

    json_decref(db->answer);
    db->answer = NULL;
    result = send_message(
        db, json_pack("{s:s, s:o, s:I}", "method", method, "params", params, "id", ++db->id));
    while (result == 0 && !db->answer) {
        uint64_t now_ms = clock_now_ms();

        result = now_ms < deadline_ms ? ovsdb_wait(db, (int)(deadline_ms - now_ms)) : -ETIMEDOUT;
    }
    if (result < 0)
        return result;
    error = json_object_get(db->answer, "error");
    if (error && !json_is_null(error))
        result = -EPROTO;
    else if (ret_result)
        *ret_result = json_incref(json_object_get(db->answer, "result"));
    return result;
}

/* ---- the database */

int ovsdb_transact(struct ovsdb *db, json_t *operations, json_t **ret_results, char ret_reason[256])
{
    json_t *results = NULL, *each, *params = json_pack("[s]", "Open_vSwitch");
    size_t i;
    int result;

    json_array_extend(params, operations);
    json_decref(operations);
    result = ovsdb_call(db, "transact", params, &results);
    if (result < 0) {
        snprintf(ret_reason, 256, "%s",
                 result == -EPROTO ? "it has no database Open_vSwitch" : strerror(-result));
        return result;
    }
    json_array_foreach(results, i, each)
    {
        const char *error = json_string_value(json_object_get(each, "error"));
        const char *details = json_string_value(json_object_get(each, "details"));

        if (error && result == 0) {
            snprintf(ret_reason, 256, "%s", details ? details : error);
            result = -EPROTO;
        }
    }
    if (result < 0 || !ret_results)
        json_decref(results);
    else
        *ret_results = results;
    return result;
}

const char *ovsdb_atom(const json_t *value, size_t i)
{
    const char *tag = json_string_value(json_array_get(value, 0));
    const json_t *set = json_array_get(value, 1);

    if (json_is_string(value))
        return i ? NULL : json_string_value(value);
    if (!tag)
        return NULL;
    if (strcmp(tag, "uuid") == 0)
        return i ? NULL : json_string_value(set);
    return strcmp(tag, "set") == 0 ? ovsdb_atom(json_array_get(set, i), 0) : NULL;
}

int ovsdb_find_role(struct ovsdb *db, const char *interface, struct ovsdb_role *ret_role)
{
    json_t *results = NULL, *bridges, *bridge;
    struct ovsdb_role role = {0};
    const char *port, *of;
    char reason[256];
    size_t i;
    int result = ovsdb_transact(
        db,
        json_pack("[{s:s, s:s, s:[], s:[s,s,s]}, {s:s, s:s, s:[[s,s,s]], s:[s]}]", "op", "select",
                  "table", "Bridge", "where", "columns", "name", "ports", "datapath_type", "op",
                  "select", "table", "Port", "where", "name", "==", interface, "columns", "_uuid"),
        &results, reason);

    if (result < 0)
        return result;
    bridges = json_object_get(json_array_get(results, 0), "rows");
    port = ovsdb_atom(
        json_object_get(json_array_get(json_object_get(json_array_get(results, 1), "rows"), 0),
                        "_uuid"),
        0);
    json_array_foreach(bridges, i, bridge)
    {
        const char *name = json_string_value(json_object_get(bridge, "name"));
        const char *datapath = json_string_value(json_object_get(bridge, "datapath_type"));

        if (name && strcmp(name, interface) == 0) {
            role.bridge = true;
            role.userspace = datapath && strcmp(datapath, "netdev") == 0;
        }
        for (size_t k = 0; port && (of = ovsdb_atom(json_object_get(bridge, "ports"), k)); k++)
            if (strcmp(of, port) == 0)
                snprintf(role.port_of, sizeof(role.port_of), "%s", name ? name : "");
    }
    json_decref(results);
    *ret_role = role;
    return 0;
}
