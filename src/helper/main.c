/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openvmnet-bridge-helper: what QEMU starts for -netdev bridge in place of its own helper. QEMU's expects a setuid
 * program that makes a tap on a bridge of the host; this one asks vmnetd for a port as the user who called, so it
 * has no rights and needs none. The descriptor goes back over a unix socket with one byte beside it.
 *
 * QEMU says the network's name and no more. Which MAC the machine has stands in its command line, which
 * is that of the parent process, or of the one above where a shell stands between. libvirt calls before there is a
 * QEMU: then the network learns the MAC from the machine's first frame.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/descriptor.h"
#include "base/portspec.h"
#include "base/text.h"
#include "client/client.h"
#include "helper/bridge_args.h"

#define PROGRAM "openvmnet-bridge-helper"
#define ANCESTORS_MAX 3 /* QEMU, and a shell that it starts helpers with options by */
#define COMMAND_BYTES_MAX (256 * 1024) /* a command line of libvirt's has some 10 KiB */
#define WORDS_MAX 4096

static const char usage[] =
    "usage: " PROGRAM " --br=NETWORK --fd=N [--use-vnet] [--mac=MAC]\n"
    "\n"
    "Attaches a port of a network of vmnet's and passes its tap over the socket N, as QEMU's own\n"
    "qemu-bridge-helper does. QEMU starts it:\n"
    "  qemu-system-x86_64 -netdev bridge,id=n0,br=lab,helper=PATH -device "
    "virtio-net-pci,netdev=n0\n"
    "libvirt starts it for <interface type='bridge'> where qemu.conf has bridge_helper = "
    "\"PATH\".\n"
    "The MAC is that of the NIC in QEMU's command line unless --mac says it; where there is none "
    "to\n"
    "be seen it is that of the machine's first frame. Frames have a virtio-net header, which QEMU\n"
    "notices by itself, with and without --use-vnet.\n";

struct options {
    const char *network;
    unsigned fd;
    bool fd_given;
    struct bridge_nics nics; /* one, where --mac says it */
};

static int fail(const struct err *err)
{
    fprintf(stderr, PROGRAM ": %s\n", err->text);
    return 1;
}

static int read_options(int argc, char **argv, struct options *options, struct err *err)
{
    static const struct option known[] = {
        {"br", required_argument, NULL, 'b'},
        {"fd", required_argument, NULL, 'f'},
        {"mac", required_argument, NULL, 'm'},
        {"use-vnet", no_argument, NULL, 'u'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        switch (option) {
        case 'b': options->network = optarg; break;
        case 'f':
            if (text_to_uint(optarg, 0, 65535, &options->fd) < 0)
                return err_set(err, -EINVAL, "--fd=%s is not a descriptor", optarg);
            options->fd_given = true;
            break;
        case 'm':
            if (port_mac_parse(optarg, &options->nics.macs[0], err) < 0)
                return -EINVAL;
            options->nics.len = 1;
            break;
        case 'u': break; /* it always has the header */
        case 'h': fputs(usage, stdout); exit(0);
        case 'V': puts(PROGRAM " (openvmnet) " OPENVMNET_VERSION); exit(0);
        default: exit(1);
        }
    }
    if (!options->network || !options->fd_given || optind != argc)
        return err_set(err, -EINVAL, "--br=NETWORK and --fd=N are needed; --help says more");
    return 0;
}

/* The parent of @pid, and its own command line as words in @text. 0 or -errno. */
static int read_process(int pid, char *text, char *words[WORDS_MAX + 1], int *ret_parent)
{
    char path[64], status[512], *at;
    ssize_t len, total = 0;
    int fd, words_len = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    len = fd < 0 ? -1 : read(fd, status, sizeof(status) - 1);
    if (fd >= 0)
        close(fd);
    status[len > 0 ? len : 0] = '\0';
    at = strrchr(status, ')'); /* of the name, which may have any character in it */
    if (!at || sscanf(at, ") %*c %d", ret_parent) != 1)
        return -ESRCH;
    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    while (total < COMMAND_BYTES_MAX - 1 &&
           (len = read(fd, text + total, (size_t)(COMMAND_BYTES_MAX - 1 - total))) > 0)
        total += len;
    close(fd);
    text[total] = '\0';
    for (at = text; at < text + total && words_len < WORDS_MAX; at += strlen(at) + 1)
        words[words_len++] = at;
    words[words_len] = NULL;
    return 0;
}

/* Finds the machine that this is for among the processes above, if it is there. */
static void find_machine(struct options *options)
{
    static char text[COMMAND_BYTES_MAX], *words[WORDS_MAX + 1];
    int pid = getppid();

    for (int i = 0; i < ANCESTORS_MAX && pid > 1; i++) {
        if (read_process(pid, text, words, &pid) < 0)
            break;
        bridge_args_read(words, options->network, &options->nics);
        if (options->nics.len)
            return;
    }
}

/* QEMU calls once for each NIC and does not say which: it is the first that is not attached yet. */
static int attach_known(const struct options *options, const struct net_spec *spec,
                        struct client_port *ret_port, struct err *err)
{
    static struct port_spec port;
    struct err reason;
    int result = -EEXIST;

    port.mac_given = true;
    port.arriving = options->nics.arriving;
    for (size_t i = 0; i < options->nics.len && result == -EEXIST; i++) {
        port.mac = options->nics.macs[i];
        snprintf(port.name, sizeof(port.name), "%s", i == 0 ? options->nics.name : "");
        result = client_attach(spec, &port, NULL, ret_port, err);
    }
    reason = *err;
    if (result == -EEXIST)
        err_set(err, result, "%.800s (a NIC without mac= has the same one in every machine)",
                reason.text);
    return result;
}

static int attach(const struct options *options, struct client_port *ret_port, struct err *err)
{
    static struct port_spec unknown = {.learn_mac = true};
    struct net_spec spec = {0};
    int result = net_spec_set(&spec, "network", options->network, err);

    if (result == 0)
        result = net_spec_complete(&spec, err);
    if (result < 0)
        return result;
    result = options->nics.len ? attach_known(options, &spec, ret_port, err)
                               : client_attach(&spec, &unknown, NULL, ret_port, err);
    return result < 0 ? err_prefix(err, result, "network '%s'", options->network) : 0;
}

int main(int argc, char **argv)
{
    static struct options options;
    struct client_port port;
    struct err err = {""};
    ssize_t sent;

    if (read_options(argc, argv, &options, &err) < 0)
        return fail(&err);
    if (!options.nics.len)
        find_machine(&options);
    if (attach(&options, &port, &err) < 0)
        return fail(&err);
    sent = descriptor_send((int)options.fd, "", 1, &port.fd, 1, MSG_NOSIGNAL);
    if (sent != 1) {
        err_set(&err, 0, "descriptor %u: %s", options.fd, strerror(sent < 0 ? (int)-sent : EIO));
        return fail(&err);
    }
    return 0;
}
