/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bridgedports IFNAME NAME FD: a bridged network that is nothing else, for tests of how machines get onto an interface
 * (src/plane/linux/bridged.h).
 *
 * FD is a sequenced-packet socket. "add MAC" is answered with "ok" and a tap's descriptor, "remove MAC" with "ok", or with
 * an error's text. The first word, without a question, is "ready" or an error. The end of the socket is the network's.
 */
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/table.h"
#include "plane/linux/bridged.h"
#include "plane/linux/bridged_way.h"
#include "plane/linux/tap.h"

#define BRIDGE "br0"

struct ports {
    struct loop *loop;
    struct loop_source source;
    struct netlink inside;
    struct bridged *bridged;
};

static void answer(int socket_fd, const char *text, int fd)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
        control.header = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    }
    sendmsg(socket_fd, &message, MSG_NOSIGNAL);
}

static int add(struct ports *ports, const struct mac_addr *mac, int *ret_fd, struct err *err)
{
    char name[16];
    int result = tap_open("tap%d", false, name, ret_fd, err);

    if (result == 0)
        result = netlink_set_up(&ports->inside, (int)if_nametoindex(name),
                                bridged_mtu(ports->bridged), (int)if_nametoindex(BRIDGE), NULL);
    return result < 0 ? result : bridged_add(ports->bridged, mac, (int)if_nametoindex(name), err);
}

static void on_request(struct loop_source *source, unsigned events)
{
    struct ports *ports = CONTAINER_OF(source, struct ports, source);
    char text[64], verb[16], mac_text[32];
    struct err err = {0};
    struct mac_addr mac;
    int fd = -1;
    ssize_t len = recv(source->fd, text, sizeof(text) - 1, 0);

    if (len <= 0) {
        loop_stop(ports->loop);
        return;
    }
    text[len] = '\0';
    if (sscanf(text, "%15s %31s", verb, mac_text) != 2 || mac_parse(mac_text, &mac) < 0) {
        answer(source->fd, "what?", -1);
    } else if (strcmp(verb, "remove") == 0) {
        bridged_remove(ports->bridged, &mac);
        answer(source->fd, "ok", -1);
    } else if (add(ports, &mac, &fd, &err) < 0) {
        answer(source->fd, err.text, -1);
    } else {
        answer(source->fd, "ok", fd);
    }
    if (fd >= 0)
        close(fd);
}

static int start(struct ports *ports, const char *ifname, const char *name, struct err *err)
{
    static const struct mac_addr mac = {{0x0a, 0, 0, 0, 0, 1}};
    struct bridged_interface interface;
    char leg[16];
    int result;

    snprintf(leg, sizeof(leg), "vmnet-%s", name);
    result = bridged_look(ifname, &interface, err);
    if (result == 0)
        result = bridged_open(&interface.link, name, leg, false, 0, &ports->bridged, err);
    if (result < 0)
        return result;
    if (unshare(CLONE_NEWNET) < 0 || netlink_open(&ports->inside) < 0)
        return err_set(err, -errno, "no namespace: %s", strerror(errno));
    result = netlink_add_bridge(&ports->inside, BRIDGE, &mac);
    if (result == 0)
        result = netlink_set_up(&ports->inside, (int)if_nametoindex(BRIDGE), 0, 0, NULL);
    if (result < 0)
        return err_set(err, result, "no bridge: %s", strerror(-result));
    result = bridged_join(ports->bridged, &ports->inside, BRIDGE, true, err);
    return result < 0 ? result : bridged_watch(ports->bridged, ports->loop, NULL, NULL);
}

int main(int argc, char **argv)
{
    struct ports ports = {.source = {.on_event = on_request, .fd = -1}};
    struct err err = {0};
    bool ready;
    int fd;

    if (argc != 4)
        return 2;
    log_init("bridgedports", true);
    fd = atoi(argv[3]);
    ready = bridged_clean() >= 0 && loop_new(&ports.loop) == 0 &&
            start(&ports, argv[1], argv[2], &err) == 0;
    answer(fd, ready ? "ready" : err.text[0] ? err.text : "failed", -1);
    if (ready) {
        loop_add(ports.loop, &ports.source, fd, LOOP_IN);
        loop_run(ports.loop);
        bridged_leave(ports.bridged);
        loop_remove(ports.loop, &ports.source);
    }
    bridged_free(ports.bridged);
    netlink_close(&ports.inside);
    loop_free(ports.loop);
    return ready ? 0 : 1;
}
