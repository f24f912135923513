/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file_walk.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef bool step_fn(void *context, const char *path, const char *name);

/* The folder of @path, or the nearest that there is. False: the latter. */
static bool step_folder(const char *path, step_fn *step, void *context)
{
    char folder[PATH_MAX];
    bool nearest = true;
    char *slash;

    snprintf(folder, sizeof(folder), "%s", path);
    while ((slash = strrchr(folder, '/'))) {
        *slash = '\0';
        if (step(context, folder[0] ? folder : "/", slash + 1))
            return nearest;
        if (!folder[0] || (errno != ENOENT && errno != ENOTDIR))
            return false;
        nearest = false;
    }
    return false;
}

/* Where the link @path leads to, in its place. False: it is no link. */
static bool follow_link(char path[PATH_MAX])
{
    char target[PATH_MAX], *name = strrchr(path, '/') + 1;
    ssize_t len = readlink(path, target, sizeof(target) - 1);

    if (len <= 0)
        return false;
    target[len] = '\0';
    if (target[0] == '/')
        name = path;
    if ((size_t)(name - path) + (size_t)len >= PATH_MAX)
        return false;
    memcpy(name, target, (size_t)len + 1);
    return true;
}

void file_walk(const char *path, step_fn *step, void *context)
{
    char at[PATH_MAX];
    int links = 0;

    snprintf(at, sizeof(at), "%s", path);
    while (step_folder(at, step, context) && links++ < FILE_WALK_LINKS_MAX)
        if (!follow_link(at)) {
            step(context, at, NULL);
            break;
        }
}
