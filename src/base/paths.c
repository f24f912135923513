/* SPDX-License-Identifier: Apache-2.0 */
#include "base/paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define TREE_DEPTH_MAX 8

static int path_join(char ret_path[NET_PATH_MAX], const char *directory, const char *name)
{
    int len = snprintf(ret_path, NET_PATH_MAX, "%s/%s", directory, name);

    return len < 0 || len >= NET_PATH_MAX ? -ENAMETOOLONG : 0;
}

int path_make(const char *path, unsigned mode)
{
    char part[NET_PATH_MAX];
    size_t len_bytes = strlen(path);

    if (len_bytes >= sizeof(part))
        return -ENAMETOOLONG;
    for (size_t i = 1; i <= len_bytes; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, mode) < 0 && errno != EEXIST) {
            struct stat status;
            int error = -errno;

            /* A part that exists but may not be written to answers EACCES or EROFS, not EEXIST. */
            if (stat(part, &status) < 0 || !S_ISDIR(status.st_mode))
                return error;
        }
    }
    return 0;
}

/* What all directories of the system lie below. */
static const char *system_root(void)
{
    const char *root = getenv("OPENVMNET_ROOT");

    return root && root[0] == '/' ? root : "";
}

/* Refuses a directory that others could have put there to read or replace what is in it. */
static int path_check_private(enum net_scope scope, const char *path, struct err *err)
{
    uid_t owner = scope == NET_OF_SYSTEM ? 0 : geteuid();
    struct stat status;

    if (lstat(path, &status) < 0)
        return err_set(err, -errno, "%s: %s", path, strerror(errno));
    /* The system's is for its own user too, who can remove there what is its own and no more (rights.h). */
    if (scope == NET_OF_SYSTEM && (status.st_mode & S_ISVTX))
        status.st_mode &= ~(mode_t)S_IWGRP;
    if (!S_ISDIR(status.st_mode) || status.st_uid != owner || (status.st_mode & 022))
        return err_set(
            err, -EPERM,
            "%s: must be a directory that belongs to uid %u and that nobody else can "
            "write to; remove it%s",
            path, owner,
            scope == NET_OF_SYSTEM ? "" : ", or set XDG_RUNTIME_DIR to a directory of your own");
    return 0;
}

/* Others reach a system network through here; each network's own directory says how far. */
static int make_system_runtime(const char *path)
{
    int result = path_make(path, 0755);
    struct stat status;

    /* Where it is another's, that one has set it up. */
    if (result < 0 || geteuid() != 0 || stat(path, &status) < 0 || (status.st_mode & S_ISVTX))
        return result;
    return chmod(path, 0755) < 0 ? -errno : 0;
}

int path_runtime(enum net_scope scope, bool create, char ret_path[NET_PATH_MAX], struct err *err)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    char directory[NET_PATH_MAX];
    struct stat status;
    int result;

    if (scope == NET_OF_USER && geteuid() == 0 && !(runtime && runtime[0] == '/'))
        scope = NET_OF_SYSTEM;
    if (scope == NET_OF_SYSTEM) {
        runtime = system_root();
        result = path_join(ret_path, runtime, OPENVMNET_RUN);
    } else if (runtime && runtime[0] == '/') {
        result = path_join(ret_path, runtime, "openvmnet");
    } else {
        snprintf(directory, sizeof(directory), "/run/user/%u", geteuid());
        if (stat(directory, &status) == 0 && status.st_uid == geteuid()) {
            result = path_join(ret_path, directory, "openvmnet");
        } else {
            snprintf(ret_path, NET_PATH_MAX, "/tmp/openvmnet-%u", geteuid());
            result = 0;
        }
    }
    if (result < 0)
        return err_set(err, result, "the runtime directory below '%s': its path is too long",
                       runtime);
    /*
     * A socket below a directory that others can write to is not to be trusted, nor what it answers. Of the
     * system's it is known by who listens: root.
     */
    if (!create)
        return scope == NET_OF_USER && access(ret_path, F_OK) == 0
                   ? path_check_private(scope, ret_path, err)
                   : 0;
    result = scope == NET_OF_SYSTEM ? make_system_runtime(ret_path) : path_make(ret_path, 0700);
    if (result < 0)
        return err_set(
            err, result, "cannot make the runtime directory %s: %s%s", ret_path, strerror(-result),
            scope == NET_OF_SYSTEM ? ""
                                   : "; set XDG_RUNTIME_DIR to a directory that you can write to");
    return path_check_private(scope, ret_path, err);
}

int path_network(enum net_scope scope, const char *network, char ret_path[NET_PATH_MAX],
                 struct err *err)
{
    char runtime[NET_PATH_MAX];
    int result = path_runtime(scope, false, runtime, err);

    if (result < 0)
        return result;
    if (path_join(ret_path, runtime, network) < 0)
        return err_set(err, -ENAMETOOLONG, "%s/%s: path too long", runtime, network);
    return 0;
}

int path_socket(const char *directory, const char *name, char ret_path[NET_PATH_MAX],
                struct err *err)
{
    const size_t max = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;

    if (path_join(ret_path, directory, name) < 0 || strlen(ret_path) > max)
        return err_set(err, -ENAMETOOLONG,
                       "%s/%s: the path of a socket may have %zu bytes and this one has %zu; "
                       "set XDG_RUNTIME_DIR to a shorter directory or give the network a shorter "
                       "name",
                       directory, name, max, strlen(directory) + 1 + strlen(name));
    return 0;
}

int path_state(enum net_scope scope, const char *network, char ret_path[NET_PATH_MAX],
               struct err *err)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int len;

    if (scope == NET_OF_USER && state && state[0] == '/')
        len = snprintf(ret_path, NET_PATH_MAX, "%s/openvmnet/%s", state, network);
    else if (scope == NET_OF_SYSTEM || geteuid() == 0)
        len = snprintf(ret_path, NET_PATH_MAX, "%s/var/lib/openvmnet/%s", system_root(), network);
    else
        len = snprintf(ret_path, NET_PATH_MAX, "%s/.local/state/openvmnet/%s",
                       home && home[0] == '/' ? home : "/nonexistent", network);
    if (len < 0 || len >= NET_PATH_MAX)
        return err_set(err, -ENAMETOOLONG, "the path of the state directory is too long");

    int result = path_make(ret_path, 0700);

    if (result == 0 && access(ret_path, W_OK | X_OK) < 0)
        result = -errno;
    if (result < 0)
        return err_set(err, result, "cannot write to the state directory %s: %s%s", ret_path,
                       strerror(-result),
                       scope == NET_OF_SYSTEM
                           ? ""
                           : "; set XDG_STATE_HOME to a directory that you can write to");
    return 0;
}

int path_config(enum net_scope scope, const char *network, char ret_path[NET_PATH_MAX])
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    int len;

    if (scope == NET_OF_SYSTEM)
        len = snprintf(ret_path, NET_PATH_MAX, "%s/etc/openvmnet/%s.conf", system_root(), network);
    else if (config && config[0] == '/')
        len = snprintf(ret_path, NET_PATH_MAX, "%s/openvmnet/%s.conf", config, network);
    else if (home && home[0] == '/')
        len = snprintf(ret_path, NET_PATH_MAX, "%s/.config/openvmnet/%s.conf", home, network);
    else
        return -ENOENT;
    return len < 0 || len >= NET_PATH_MAX ? -ENAMETOOLONG : 0;
}

bool path_config_exists(enum net_scope scope, const char *network)
{
    char path[NET_PATH_MAX];

    return net_name_check(network, NULL) == 0 && path_config(scope, network, path) == 0 &&
           access(path, F_OK) == 0;
}

static int path_remove_entry(int parent_fd, const char *name, int depth);

static bool is_listed(const char *const *names, const char *name)
{
    for (; names && *names; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

/* Takes over @fd, a directory. */
static int path_remove_entries(int fd, int depth, const char *const *kept)
{
    DIR *directory = depth < TREE_DEPTH_MAX ? fdopendir(fd) : NULL;
    struct dirent *entry;
    int result = 0;

    if (!directory) {
        close(fd);
        return -ELOOP;
    }
    while ((entry = readdir(directory)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && result == 0 &&
            !is_listed(kept, entry->d_name))
            result = path_remove_entry(fd, entry->d_name, depth + 1);
    closedir(directory);
    return result;
}

static int path_remove_entry(int parent_fd, const char *name, int depth)
{
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), result;

    if (fd < 0)
        return unlinkat(parent_fd, name, 0) < 0 ? -errno : 0;
    result = path_remove_entries(fd, depth, NULL);
    return result == 0 && unlinkat(parent_fd, name, AT_REMOVEDIR) < 0 ? -errno : result;
}

int path_remove_tree(const char *path)
{
    return path_remove_entry(AT_FDCWD, path, 0);
}

int path_empty_directory(const char *path, const char *const *kept)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    return fd < 0 ? -errno : path_remove_entries(fd, 0, kept);
}

int path_write_file(const char *path, const char *content, size_t len_bytes, unsigned mode,
                    bool durable)
{
    char directory[NET_PATH_MAX], temporary[NET_PATH_MAX + 32];
    const char *slash = strrchr(path, '/');
    int fd, result = 0;
    size_t done = 0;

    if (!slash || slash == path || (size_t)(slash - path) >= sizeof(directory))
        return -EINVAL;
    memcpy(directory, path, (size_t)(slash - path));
    directory[slash - path] = '\0';
    /* Hidden, so that a program that reads every file of the directory passes over it. */
    snprintf(temporary, sizeof(temporary), "%s/.new-%u", directory, (unsigned)getpid());
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return -errno;
    while (done < len_bytes) {
        ssize_t written = write(fd, content + done, len_bytes - done);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0) {
            result = -errno;
            break;
        }
        done += (size_t)written;
    }
    if (result == 0 && durable && fsync(fd) < 0)
        result = -errno;
    close(fd);
    if (result == 0 && rename(temporary, path) < 0)
        result = -errno;
    if (result < 0)
        unlink(temporary);
    return result;
}

int path_find_program(const char *name, char ret_path[NET_PATH_MAX])
{
    const char *path = getenv("PATH");
    char search[4096];
    char *rest = search, *directory;

    snprintf(search, sizeof(search), "%s:/usr/local/sbin:/usr/sbin:/sbin:/opt/homebrew/sbin",
             path ? path : "/usr/bin:/bin");
    while ((directory = strsep(&rest, ":"))) {
        struct stat status;

        if (!*directory || path_join(ret_path, directory, name) < 0)
            continue;
        if (stat(ret_path, &status) == 0 && S_ISREG(status.st_mode) && access(ret_path, X_OK) == 0)
            return 0;
    }
    return -ENOENT;
}
