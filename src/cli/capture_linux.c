/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/capture.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/join_linux.h"
#include "client/client.h"

/* A bridge in promiscuous mode gives itself a copy of each frame that it forwards. */
const char capture_whole_network[] = "br0";

int capture_enter(const struct net_spec *spec, struct err *err)
{
    int user_fd, net_fd, rc = client_namespaces(spec, &user_fd, &net_fd, err);

    if (rc < 0)
        return rc;
    rc = join_enter(user_fd, net_fd, err);
    if (user_fd >= 0)
        close(user_fd);
    close(net_fd);
    return rc;
}

int capture_watch_signals(void)
{
    sigset_t signals;
    int fd;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
        return -errno;
    fd = signalfd(-1, &signals, SFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}
