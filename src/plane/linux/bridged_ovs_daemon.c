/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/bridged_ovs_daemon.h"

#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/ovsdb.h"
#include "base/table.h"

/* By the file that its package's scripts have it write. A process of another name has got a number that is out of date. */
static int open_process(void)
{
    char path[128], text[32] = "";
    FILE *file;
    int pid = 0;

    snprintf(path, sizeof(path), "%s/ovs-vswitchd.pid", ovsdb_directory());
    file = fopen(path, "re");
    if (!file || fscanf(file, "%d", &pid) != 1 || pid <= 1)
        pid = 0;
    if (file)
        fclose(file);
    snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    file = pid ? fopen(path, "re") : NULL;
    if (file && fscanf(file, "%31s", text) != 1)
        text[0] = '\0';
    if (file)
        fclose(file);
    return strcmp(text, "ovs-vswitchd") == 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

static void on_event(struct loop_source *source, unsigned events)
{
    struct ovs_daemon *daemon = CONTAINER_OF(source, struct ovs_daemon, source);

    ovs_daemon_close(daemon);
    daemon->away = true;
    daemon->on_end(daemon->context);
}

void ovs_daemon_open(struct ovs_daemon *daemon, struct loop *loop, void (*on_end)(void *context),
                     void *context)
{
    *daemon = (struct ovs_daemon){
        .fd = -1,
        .loop = loop,
        .source = {.on_event = on_event, .fd = -1},
        .on_end = on_end,
        .context = context,
    };
}

void ovs_daemon_look(struct ovs_daemon *daemon)
{
    if (daemon->fd >= 0)
        return;
    daemon->fd = open_process();
    if (daemon->fd >= 0 && loop_add(daemon->loop, &daemon->source, daemon->fd, LOOP_IN) == 0)
        daemon->away = false;
}

void ovs_daemon_close(struct ovs_daemon *daemon)
{
    if (!daemon->loop || daemon->fd < 0)
        return;
    loop_remove(daemon->loop, &daemon->source);
    close(daemon->fd);
    daemon->fd = -1;
}
