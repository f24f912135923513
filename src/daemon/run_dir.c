/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/run_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/paths.h"

#define LOCK_WAIT_MS 2000
#define LOCK_STEP_MS 5

/* Of a service manager's: what is not ours to remove, and what the next start is to find after a kill. */
static const char *const sockets[] = {PATH_CONTROL, PATH_STREAM, NULL};
static const char *const killed[] = {PATH_CONTROL, PATH_STREAM, RUN_DIR_LASTING, RUN_DIR_FORWARDS,
                                     NULL};

/*
 * A service manager starts one after the other, but the processes of one that was killed may hold the lock for a
 * moment longer than the one that the manager knows.
 */
static int lock(int fd, bool wait)
{
    for (int waited_ms = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited_ms += LOCK_STEP_MS) {
        if (errno != EWOULDBLOCK)
            return -errno;
        if (!wait || waited_ms >= LOCK_WAIT_MS)
            return -EBUSY;
        poll(NULL, 0, LOCK_STEP_MS);
    }
    return 0;
}

/* Who may open the directory itself may lock it. */
static mode_t directory_mode(const struct net_config *config)
{
    return config->system ? 0711 : 0700;
}

int run_dir_lock_left(struct net_config *config, int *ret_fd, struct err *err)
{
    enum net_scope scope = config->system ? NET_OF_SYSTEM : NET_OF_USER;
    char runtime[NET_PATH_MAX];
    struct stat opened, named;
    int fd, result = path_runtime(scope, true, runtime, err);

    if (result == 0)
        result = path_network(scope, config->name, config->run_dir, err);
    while (result == 0) {
        if (mkdir(config->run_dir, directory_mode(config)) < 0 && errno != EEXIST) {
            if (errno != ENOENT)
                return err_set(err, -errno, "%s: %s", config->run_dir, strerror(errno));
            /* The directory above was removed meanwhile, with the last network in it. */
            result = path_runtime(scope, true, runtime, err);
            continue;
        }
        fd = open(config->run_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
            continue; /* removed meanwhile by one that ended */
        if (fd < 0)
            return err_set(err, -errno, "%s: %s", config->run_dir, strerror(errno));
        result = lock(fd, config->activated);
        if (result < 0) {
            close(fd);
            return err_set(err, result, "network '%s' %s", config->name,
                           result == -EBUSY ? "runs already" : strerror(-result));
        }
        /* Between open and flock it may have been removed: then this lock is of nothing. */
        if (fstat(fd, &opened) == 0 && stat(config->run_dir, &named) == 0 &&
            opened.st_ino == named.st_ino && opened.st_dev == named.st_dev) {
            *ret_fd = fd;
            return 0;
        }
        close(fd);
    }
    return result;
}

int run_dir_lock(struct net_config *config, int *ret_fd, struct err *err)
{
    int result = run_dir_lock_left(config, ret_fd, err);

    if (result < 0)
        return result;
    /* A network that was killed with all its processes has left things. */
    result = path_empty_directory(config->run_dir, config->activated ? killed : NULL);
    if (result == 0 && fchmod(*ret_fd, directory_mode(config)) < 0)
        result = -errno;
    return result < 0 ? err_set(err, result, "%s: %s", config->run_dir, strerror(-result)) : 0;
}

void run_dir_remove(const struct net_config *config)
{
    char above[NET_PATH_MAX];

    if (config->activated) {
        path_empty_directory(config->run_dir, sockets);
        return;
    }
    path_remove_tree(config->run_dir);
    snprintf(above, sizeof(above), "%s", config->run_dir);
    *strrchr(above, '/') = '\0';
    rmdir(above);
}

void run_dir_abandon(const struct net_config *config)
{
    if (config->activated)
        path_empty_directory(config->run_dir, killed);
    else
        run_dir_remove(config);
}
