/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmnet run`: attaches the ports that a VM monitor's command line asks for and becomes that
 * monitor.
 *
 * Everything that can be wrong with the command is found before the first port is attached. A port
 * lives as long as its descriptor, which the monitor inherits: when anything fails, and when the
 * monitor ends, the ports vanish without anybody cleaning up.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "cli/qemu_args.h"
#include "cli/qemu_options.h"
#include "client/client.h"

#define VHOST_DEVICE "/dev/vhost-net"
#define DEFAULT_PATH "/usr/bin:/bin"
/* What a shell prints without quotes. */
#define PLAIN_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,=+@%"

/* 0, -ENOENT, or -EACCES for a file that cannot be executed. */
static int check_executable(const char *path)
{
    struct stat status;

    if (stat(path, &status) < 0)
        return errno == EACCES ? -EACCES : -ENOENT;
    return S_ISREG(status.st_mode) && access(path, X_OK) == 0 ? 0 : -EACCES;
}

/* As execvp() will look for it; the same results as check_executable(). */
static int find_command(const char *command)
{
    const char *path = getenv("PATH");
    int result = -ENOENT;

    if (strchr(command, '/'))
        return check_executable(command);
    for (path = path ? path : DEFAULT_PATH; *command; path++) {
        int len = (int)strcspn(path, ":"), rc;
        char *file;

        if (asprintf(&file, "%.*s/%s", len > 0 ? len : 1, len > 0 ? path : ".", command) < 0)
            return -ENOMEM;
        rc = check_executable(file);
        /* A directory of PATH that is closed to us says nothing of what is in it. */
        if (rc == -EACCES && access(file, F_OK) == 0)
            result = rc;
        free(file);
        if (rc == 0)
            return 0;
        path += len;
        if (!*path)
            break;
    }
    return result;
}

static enum cli_exit check_command(const char *command)
{
    bool has_path = strchr(command, '/') != NULL;
    int rc = find_command(command);

    if (rc == 0)
        return CLI_DONE;
    if (rc == -EACCES)
        return cli_fail(CLI_FAILED,
                        "%s: found, but it is not a program that you may run; check its "
                        "permissions",
                        command);
    if (rc == -ENOENT && !has_path && qemu_args_is_qemu(command))
        return cli_fail(CLI_FAILED,
                        "%s: not found in PATH; install QEMU (Debian, Ubuntu: apt "
                        "install qemu-system-x86; Fedora: dnf install qemu-system-x86; "
                        "Arch: pacman -S qemu-base; macOS: brew install qemu)",
                        command);
    if (rc == -ENOENT)
        return cli_fail(CLI_FAILED, "%s: not found%s; check the name, or install it", command,
                        has_path ? "" : " in PATH");
    return cli_fail(CLI_FAILED, "%s: %s", command, strerror(-rc));
}

/* In a form that can be pasted to a shell. */
static void print_command(char *const *argv)
{
    fputs("vmnet: runs:", stderr);
    for (; *argv; argv++) {
        const char *text = *argv;

        if (*text && text[strspn(text, PLAIN_CHARACTERS)] == '\0') {
            fprintf(stderr, " %s", text);
            continue;
        }
        fputs(" '", stderr);
        for (; *text; text++)
            fputs(*text == '\'' ? "'\\''" : (char[]){*text, '\0'}, stderr);
        fputc('\'', stderr);
    }
    fputc('\n', stderr);
}

/* Descriptors are close-on-exec until now, so that a network started meanwhile did not get them. */
static int keep_on_exec(int fd)
{
    int flags = fcntl(fd, F_GETFD);

    return flags < 0 || fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC) < 0 ? -errno : 0;
}

/* Makes QEMU's tap faster; where it does not open, QEMU moves the frames itself. */
static int open_vhost(const struct qemu_nic *nic)
{
    if (nic->origin == QEMU_PLACEHOLDER || nic->way.kind != PORT_TAP)
        return -1;
    return open(VHOST_DEVICE, O_RDWR);
}

/* It may be meant, but seldom is by those who put `vmnet run` before a command that they had. */
static void tell_beside(const struct qemu_args *command)
{
    char *const *option = command->beside;

    if (option)
        cli_fail(CLI_DONE,
                 "run: '%.*s' in the command stays, and the NIC on network '%s' is one more; to "
                 "have one alone, write %s (openvmnet(7))",
                 QUOTE_MAX, option[1], command->nics[0].spec.name,
                 qemu_args_option_is(option[0], "net")
                     ? "'-nic vmnet-shared' in place of '-net nic' and '-net user'"
                     : "vmnet-shared and its options there");
}

/* Comes back only with a failure. */
static enum cli_exit become(const struct qemu_args *command, const struct client_port *ports,
                            bool verbose)
{
    struct qemu_args_port given[QEMU_NICS_MAX];
    struct err err = {0};
    char **argv;
    int rc;

    for (size_t i = 0; i < command->count; i++) {
        rc = keep_on_exec(ports[i].fd);
        if (rc < 0)
            return cli_fail(CLI_FAILED, "%s: descriptor %d: %s", ports[i].interface, ports[i].fd,
                            strerror(-rc));
        given[i] =
            (struct qemu_args_port){.port = &ports[i], .vhost_fd = open_vhost(&command->nics[i])};
    }
    if (qemu_args_rewrite(command, given, &argv, &err) < 0)
        return cli_fail(CLI_FAILED, "run: %s", err.text);
    for (size_t i = 0; i < command->count; i++)
        cli_print_port(&ports[i]);
    tell_beside(command);
    if (verbose)
        print_command(argv);
    execvp(argv[0], argv);
    rc = errno;
    qemu_argv_free(argv);
    return cli_fail(CLI_FAILED, "%s: cannot be run: %s", command->argv[0], strerror(rc));
}

static enum cli_exit attach_and_become(const struct qemu_args *command, bool verbose)
{
    struct client_port *ports = calloc(command->count, sizeof(*ports));
    struct err err = {0};
    enum cli_exit code = CLI_DONE;
    size_t count;

    if (!ports)
        return cli_fail(CLI_FAILED, "run: out of memory");
    for (count = 0; count < command->count; count++) {
        const struct qemu_nic *nic = &command->nics[count];

        if (client_attach(&nic->spec, &nic->request, &nic->way, &ports[count], &err) < 0) {
            code = cli_fail(CLI_FAILED, "run: network '%s': %s", nic->spec.name, err.text);
            break;
        }
        cli_warn("run", nic->spec.name, &err);
    }
    if (code == CLI_DONE)
        code = become(command, ports, verbose);
    while (count > 0)
        close(ports[--count].fd);
    free(ports);
    return code;
}

/* Reads --way. */
static int read_way(const char *text, struct qemu_args_defaults *ret_defaults, struct err *err)
{
    enum port_kind kind;

    ret_defaults->kind = port_kind_default(true);
    ret_defaults->fd_kind = port_kind_default(false);
    if (!text)
        return 0;
    if (port_kind_parse(text, &kind) == 0 && kind != PORT_VETH) {
        ret_defaults->kind = ret_defaults->fd_kind = kind;
        return 0;
    }
    return err_set(err, -EINVAL,
                   "--way: '%s' is no way to a VM monitor; write tap, stream or dgram", text);
}

/* What the command itself leaves open; the two lists are those of @ret_defaults. */
static int read_defaults(const struct cli_args *args, const char *nics[CLI_GIVEN_MAX + 1],
                         const char *forwards[CLI_GIVEN_MAX + 1],
                         struct qemu_args_defaults *ret_defaults, struct err *err)
{
    const char *network = cli_value(args, "network"), *name = cli_value(args, "name");
    int rc = read_way(cli_value(args, "way"), ret_defaults, err);

    if (rc == 0 && network && (rc = net_name_check(network, err)) < 0)
        err_prefix(err, rc, "--network");
    if (rc == 0 && name && (rc = net_hostname_check(name, err)) < 0)
        err_prefix(err, rc, "--name");
    for (int i = 0; i <= CLI_GIVEN_MAX; i++) {
        nics[i] = cli_value_at(args, "nic", i);
        forwards[i] = cli_value_at(args, "forward", i);
    }
    ret_defaults->network = network;
    ret_defaults->name = name;
    ret_defaults->nics = nics;
    ret_defaults->forwards = forwards;
    return rc;
}

enum cli_exit cmd_run(const struct cli_args *args)
{
    const char *nics[CLI_GIVEN_MAX + 1], *forwards[CLI_GIVEN_MAX + 1];
    struct qemu_args_defaults defaults;
    struct qemu_args command = {0};
    struct err err = {0};
    enum cli_exit code = CLI_DONE;
    int rc;

    if (read_defaults(args, nics, forwards, &defaults, &err) < 0)
        return cli_fail(CLI_USAGE, "run: %s", err.text);
    rc = qemu_args_parse(args->argv, &defaults, &command, &err);
    if (rc < 0)
        code = cli_fail(rc == -EINVAL ? CLI_USAGE : CLI_FAILED, "%s", err.text);
    else
        code = check_command(command.argv[0]);
    if (code == CLI_DONE)
        code = attach_and_become(&command, cli_value(args, "verbose") != NULL);
    qemu_args_done(&command);
    return code;
}
