/* SPDX-License-Identifier: Apache-2.0 */
/* A network's file: who may attach ports, and how many. Names become ids here, once. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "base/netfile_parse.h"
#include "base/text.h"

#define ID_MAX 4294967294u            /* one less than (uid_t)-1, which stands for none */
#define ENTRY_BYTES_MAX (1024 * 1024) /* of one group with all its members */

enum kind {
    KIND_USER,
    KIND_GROUP
};

/* Looks a name up. 0, -ENOENT or -errno. */
static int find_id(enum kind kind, const char *name, unsigned *ret_id)
{
    size_t size = 4096;
    char *buf = NULL;
    int error = ERANGE;

    while (error == ERANGE && size <= ENTRY_BYTES_MAX) {
        struct passwd user, *found_user = NULL;
        struct group group, *found_group = NULL;

        free(buf);
        buf = malloc(size);
        if (!buf)
            return -ENOMEM;
        error = kind == KIND_USER ? getpwnam_r(name, &user, buf, size, &found_user)
                                  : getgrnam_r(name, &group, buf, size, &found_group);
        if (error == 0 && (found_user || found_group))
            *ret_id = kind == KIND_USER ? user.pw_uid : group.gr_gid;
        else if (error == 0)
            error = ENOENT;
        size *= 4;
    }
    free(buf);
    return -error;
}

static int read_id(struct netfile_parse *parse, enum kind kind, const char *key, const char *value,
                   unsigned *ret_id)
{
    int error;

    if (text_to_uint(value, 0, ID_MAX, ret_id) == 0)
        return 0;
    error = *value ? find_id(kind, value, ret_id) : -ENOENT;
    if (error == -ENOENT)
        return netfile_refuse(parse,
                              "%s = %s: there is no such %s on this system; write its name or its "
                              "number",
                              key, text_show(value).text, kind == KIND_USER ? "user" : "group");
    if (error < 0)
        return netfile_refuse(parse, "%s = %s cannot be looked up: %s", key, text_show(value).text,
                              strerror(-error));
    return 0;
}

int netfile_add_user(struct netfile_parse *parse, const char *key, const char *value)
{
    struct net_access *access = &parse->file->access;
    unsigned id = 0;

    access->given = true;
    if (strcmp(value, "*") == 0) {
        access->everybody = true;
        return 0;
    }
    if (access->users_len == NET_ACCESS_MAX)
        return netfile_refuse(parse, "%s = %s is one more than the %d that a file may have", key,
                              text_show(value).text, NET_ACCESS_MAX);
    if (read_id(parse, KIND_USER, key, value, &id) < 0)
        return -EINVAL;
    access->users[access->users_len++] = id;
    return 0;
}

int netfile_add_group(struct netfile_parse *parse, const char *key, const char *value)
{
    struct net_access *access = &parse->file->access;
    unsigned id = 0;

    access->given = true;
    if (access->groups_len == NET_ACCESS_MAX)
        return netfile_refuse(parse, "%s = %s is one more than the %d that a file may have", key,
                              text_show(value).text, NET_ACCESS_MAX);
    if (read_id(parse, KIND_GROUP, key, value, &id) < 0)
        return -EINVAL;
    access->groups[access->groups_len++] = id;
    return 0;
}

int netfile_set_quota(struct netfile_parse *parse, const char *key, const char *value)
{
    struct net_access *access = &parse->file->access;
    unsigned *quota = strcmp(key, "user-ports") == 0 ? &access->user_ports : &access->user_forwards;

    access->given = true;
    if (text_to_uint(value, 0, NET_QUOTA_MAX, quota) < 0)
        return netfile_refuse(parse, "%s = %s is not a number from 0 to %d", key,
                              text_show(value).text, NET_QUOTA_MAX);
    return 0;
}
