/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

/* No network's name begins with a dot. */
#define FILE_BYTES_MAX (SETTINGS_MAX * 512)

/* ---- the settings themselves */

static int read_value(const char *name, char ret_value[SETTING_VALUE_MAX])
{
    char path[SETTING_NAME_MAX + 16];
    ssize_t len;
    int fd;

    snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    len = read(fd, ret_value, SETTING_VALUE_MAX - 1);
    close(fd);
    if (len < 0)
        return -EIO;
    ret_value[len] = '\0';
    ret_value[strcspn(ret_value, "\n")] = '\0';
    return 0;
}

static int write_value(const char *name, const char *value)
{
    char path[SETTING_NAME_MAX + 16];
    int fd, error = 0;

    snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (write(fd, value, strlen(value)) < 0)
        error = -errno;
    close(fd);
    return error;
}

/* The same setting for all interfaces, or "" for one that is of all already. */
static void name_for_all(const char *name, char ret_name[SETTING_NAME_MAX])
{
    const char *conf = strstr(name, "/conf/"), *interface, *end;

    ret_name[0] = '\0';
    interface = conf ? conf + strlen("/conf/") : NULL;
    end = interface ? strchr(interface, '/') : NULL;
    if (end && strncmp(interface, "all/", 4) != 0)
        snprintf(ret_name, SETTING_NAME_MAX, "%.*sall%s", (int)(interface - name), name, end);
}

static bool is_on_for_all(const char *name)
{
    char all[SETTING_NAME_MAX], value[SETTING_VALUE_MAX];

    name_for_all(name, all);
    return all[0] && read_value(all, value) == 0 && strcmp(value, "0") != 0;
}

bool settings_read(const char *name, long *ret_value)
{
    char value[SETTING_VALUE_MAX], *end;

    if (read_value(name, value) < 0)
        return false;
    *ret_value = strtol(value, &end, 10);
    return end != value && !*end;
}

/* ---- what is written down: an array of {name, was, value, all, users} */

struct file {
    int fd;
    char path[NET_PATH_MAX + 16], next[NET_PATH_MAX + 24];
};

/*
 * Opens and locks the file. Closed to others, who could else hold the lock; whoever replaces or removes it does so under
 * the lock.
 */
static int open_file(const struct net_config *config, struct file *file)
{
    const char *end = strrchr(config->run_dir, '/');
    struct stat opened, named;
    int fd, error;

    snprintf(file->path, sizeof(file->path), "%.*s/" SETTINGS_FILE,
             (int)(end ? end - config->run_dir : 0), config->run_dir);
    snprintf(file->next, sizeof(file->next), "%s.new", file->path);
    for (;;) {
        fd = open(file->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
            return -errno;
        if (flock(fd, LOCK_EX) < 0) {
            error = -errno;
            close(fd);
            return error;
        }
        if (fstat(fd, &opened) == 0 && stat(file->path, &named) == 0 &&
            opened.st_ino == named.st_ino) {
            file->fd = fd;
            return 0;
        }
        close(fd);
    }
}

static json_t *read_file(int fd)
{
    char *text = malloc(FILE_BYTES_MAX);
    ssize_t len = text ? pread(fd, text, FILE_BYTES_MAX, 0) : -1;
    json_t *root = len > 0 ? json_loadb(text, (size_t)len, 0, NULL) : NULL;

    free(text);
    if (json_is_array(root))
        return root;
    json_decref(root);
    return json_array();
}

/* Whoever is killed meanwhile leaves the file as it was, or as it is to be. */
static int write_file(struct file *file, const json_t *root)
{
    char *text = json_dumps(root, JSON_COMPACT);
    size_t len = text ? strlen(text) : 0;
    int error = text ? 0 : -ENOMEM, fd = -1;
    struct stat old;

    if (text)
        fd = open(file->next, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    /* A network that runs as root leaves it to those that do not. */
    if (fd >= 0 && geteuid() == 0 && fstat(file->fd, &old) == 0 &&
        fchown(fd, old.st_uid, old.st_gid) < 0)
        error = -errno;
    if (text && (fd < 0 || flock(fd, LOCK_EX) < 0 || write(fd, text, len) != (ssize_t)len ||
                 rename(file->next, file->path) < 0))
        error = errno ? -errno : -EIO;
    free(text);
    if (error < 0 && fd >= 0)
        close(fd);
    if (error < 0)
        return error;
    close(file->fd);
    file->fd = fd;
    return 0;
}

static const char *text_of(const json_t *entry, const char *key)
{
    const char *text = json_string_value(json_object_get(entry, key));

    return text ? text : "";
}

/* Another network of this host that runs: it has a lock on its runtime directory (daemon/main.c). */
static bool is_running(const struct net_config *config, const char *network)
{
    const char *end = strrchr(config->run_dir, '/');
    char path[NET_PATH_MAX + NET_NAME_MAX + 2];
    bool running;
    int fd;

    snprintf(path, sizeof(path), "%.*s/%.*s", (int)(end ? end - config->run_dir : 0),
             config->run_dir, NET_NAME_MAX, network);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    running = flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    close(fd);
    return running;
}

/* Without this network, and without those that have ended and could not say so. */
static void forget_users(json_t *root, const struct net_config *config)
{
    json_t *entry, *users, *user;
    size_t i, k;

    json_array_foreach(root, i, entry)
    {
        users = json_object_get(entry, "users");
        for (k = 0; k < json_array_size(users);) {
            user = json_array_get(users, k);
            if (!json_is_string(user) || strcmp(json_string_value(user), config->name) == 0 ||
                !is_running(config, json_string_value(user)))
                json_array_remove(users, k);
            else
                k++;
        }
    }
}

static json_t *find_entry(json_t *root, const char *name)
{
    json_t *entry;
    size_t i;

    json_array_foreach(root, i, entry) if (strcmp(text_of(entry, "name"), name) == 0) return entry;
    return NULL;
}

/* Writes down that this network needs a setting. False where it is as it should be without us, or not there. */
static bool note(json_t *root, const struct setting *setting, const char *network)
{
    json_t *entry = find_entry(root, setting->name);
    char was[SETTING_VALUE_MAX];

    if (!entry) {
        if (read_value(setting->name, was) < 0 || strcmp(was, setting->value) == 0 ||
            json_array_size(root) >= SETTINGS_MAX)
            return false;
        entry = json_pack("{s:s, s:s, s:s, s:b, s:[]}", "name", setting->name, "was", was, "value",
                          setting->value, "all", is_on_for_all(setting->name), "users");
        json_array_append_new(root, entry);
    }
    json_array_append_new(json_object_get(entry, "users"), json_string(network));
    return true;
}

static void put_back(json_t *root)
{
    for (size_t i = json_array_size(root); i-- > 0;) {
        const json_t *entry = json_array_get(root, i);
        const char *name = text_of(entry, "name");
        char value[SETTING_VALUE_MAX];
        int error;

        if (json_array_size(json_object_get(entry, "users")) > 0)
            continue;
        if (read_value(name, value) == 0 && strcmp(value, text_of(entry, "value")) == 0 &&
            (json_is_true(json_object_get(entry, "all")) || !is_on_for_all(name))) {
            error = write_value(name, text_of(entry, "was"));
            if (error < 0)
                log_warn("cannot set /proc/sys/net/%s back to %s: %s", name, text_of(entry, "was"),
                         strerror(-error));
        }
        json_array_remove(root, i);
    }
}

int settings_claim(const struct net_config *config, struct setting *settings, size_t len,
                   struct err *err)
{
    struct file file;
    int result = open_file(config, &file);
    json_t *root;

    if (result < 0)
        return err_set(err, result, "%s: %s", file.path, strerror(-result));
    root = read_file(file.fd);
    forget_users(root, config);
    for (size_t i = 0; i < len; i++)
        settings[i].changed = note(root, &settings[i], config->name);
    /* Before anything is changed: who is killed in between has left nothing that is not written down. */
    result = write_file(&file, root);
    put_back(root);
    if (result == 0)
        result = json_array_size(root)   ? write_file(&file, root)
                 : unlink(file.path) < 0 ? -errno
                                         : 0;
    if (result < 0)
        err_set(err, result, "%s: %s", file.path, strerror(-result));
    json_decref(root);
    close(file.fd);
    return result;
}

int settings_apply(const struct setting *settings, size_t len, struct err *err)
{
    char value[SETTING_VALUE_MAX];
    int result = 0;

    for (size_t i = 0; i < len; i++) {
        int error;

        if (!settings[i].changed ||
            (read_value(settings[i].name, value) == 0 && strcmp(value, settings[i].value) == 0))
            continue;
        error = write_value(settings[i].name, settings[i].value);
        /* Its interface may have gone. */
        if (error < 0 && error != -ENOENT && result == 0)
            result =
                err_set(err, error, "/proc/sys/net/%s: %s%s", settings[i].name, strerror(-error),
                        error == -EROFS ? "; /proc/sys is mounted read-only" : "");
    }
    return result;
}
