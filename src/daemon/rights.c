/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/rights.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/log.h"
#include "plane/linux/settings.h"

/* Interfaces, rules and settings; DHCP's and echo's raw sockets; the ports of DHCP and DNS. */
static const int routed[] = {CAP_NET_ADMIN, CAP_NET_RAW, CAP_NET_BIND_SERVICE};
/*
 * There is neither DHCP nor DNS; but a switch in a namespace, which a router makes or joins: unshare(2), setns(2);
 * programs for its links, which it loads: bpf(2); and Open vSwitch's database, whose socket is root's or its own user's. A
 * router gives up the last two when it has done so.
 */
static const int bridged[] = {CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN, CAP_DAC_OVERRIDE};

/* A directory and the files in it, which root may have made when there was no such user. Nothing below. */
static int give(const char *path, const struct passwd *user)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), result = 0;
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    if (!directory) {
        result = -errno;
        if (fd >= 0)
            close(fd);
        return result;
    }
    if (fchown(fd, user->pw_uid, user->pw_gid) < 0)
        result = -errno;
    while (result == 0 && (entry = readdir(directory)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            fchownat(fd, entry->d_name, user->pw_uid, user->pw_gid, AT_SYMLINK_NOFOLLOW) < 0)
            result = -errno;
    closedir(directory);
    return result;
}

/* The directory above, of all networks: with @mode, and @uid its owner. */
static int give_above(const char *path, uid_t uid, const struct passwd *user, mode_t mode)
{
    char above[NET_PATH_MAX];

    snprintf(above, sizeof(above), "%s", path);
    *strrchr(above, '/') = '\0';
    return chown(above, uid, user->pw_gid) < 0 || chmod(above, mode) < 0 ? -errno : 0;
}

/* What networks write down together, which one may have made that had no such user. */
static int give_settings(const char *run_dir, const struct passwd *user)
{
    char path[NET_PATH_MAX + sizeof(SETTINGS_FILE)];
    struct stat status;
    int fd, result;

    snprintf(path, sizeof(path), "%.*s/" SETTINGS_FILE, (int)(strrchr(run_dir, '/') - run_dir),
             run_dir);
    /* Not what a process of that user may have linked there. */
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    result = fstat(fd, &status) < 0 ? -errno : 0;
    if (result == 0 && (!S_ISREG(status.st_mode) || status.st_nlink != 1))
        result = -EINVAL;
    if (result == 0 && fchown(fd, user->pw_uid, user->pw_gid) < 0)
        result = -errno;
    close(fd);
    return result;
}

int rights_take(const struct net_config *config, struct err *err)
{
    bool namespaces = config->mode == NET_MODE_BRIDGED;
    const int *kept = namespaces ? bridged : routed;
    size_t kept_len =
        namespaces ? sizeof(bridged) / sizeof(bridged[0]) : sizeof(routed) / sizeof(routed[0]);
    const struct passwd *user;
    int result;

    /* A service manager gives what networks of any mode need. */
    if (geteuid() != 0)
        return confine_capabilities(kept, kept_len, false) < 0
                   ? err_set(err, -EPERM, "cannot give up capabilities")
                   : confine_service_calls(namespaces, err);
    user = getpwnam(RIGHTS_USER);
    if (!user || user->pw_uid == 0) {
        log_warn("network '%s' runs as root, for there is no user '" RIGHTS_USER "'; make it: "
                 "systemd-sysusers, or useradd --system --user-group " RIGHTS_USER,
                 config->name);
        return confine_service_calls(namespaces, err);
    }
    result = give(config->run_dir, user);
    /* Where networks keep what they share, and remove what is their own. */
    if (result == 0)
        result = give_above(config->run_dir, 0, user, 01775);
    if (result == 0)
        result = give_settings(config->run_dir, user);
    if (result == 0 && config->state_dir[0])
        result = give_above(config->state_dir, user->pw_uid, user, 0700);
    if (result == 0 && config->state_dir[0])
        result = give(config->state_dir, user);
    if (result < 0)
        return err_set(err, result,
                       "cannot give the directories of network '%s' to user '" RIGHTS_USER "': %s",
                       config->name, strerror(-result));
    result = confine_user(user->pw_uid, user->pw_gid, kept, kept_len);
    if (result < 0)
        return err_set(err, result, "cannot become user '" RIGHTS_USER "'");
    return confine_service_calls(namespaces, err);
}
