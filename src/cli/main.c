/* SPDX-License-Identifier: Apache-2.0 */
/* `vmnet`: finds the command in the table, reads its arguments, runs it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

/*
 * A descriptor that we get must never be 0, 1 or 2, which are the VM's terminal to QEMU. A missing
 * standard stream is therefore replaced; open() gives the lowest number, which is that one.
 */
static void keep_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) < 0)
            _exit(CLI_FAILED);
    }
}

/* The other commands are programs of their own. */
static const struct {
    const char *command;
    cli_run_fn *run;
} runs[] = {
    {"run", cmd_run},
    {"exec", cmd_exec},
    {"connect", cmd_connect},
    {"forward", cmd_forward},
    {"up", cmd_up},
    {"down", cmd_down},
    {"ls", cmd_ls},
    {"status", cmd_status},
    {"check", cmd_check},
    {"metrics", cmd_metrics},
    {"interfaces", cmd_interfaces},
    {"help", cmd_help},
};

static enum cli_exit run(const struct cli_args *args, char **argv)
{
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++)
        if (strcmp(runs[i].command, args->command->name) == 0)
            return runs[i].run(args);
    return cli_become(args->command->name, argv);
}

int main(int argc, char **argv)
{
    const struct cli_command *command;
    struct cli_args args;
    enum cli_exit code;

    keep_standard_streams();
    if (argc < 2) {
        cli_help(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        cli_help(stdout);
        return cli_end(CLI_DONE);
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("vmnet (openvmnet) " OPENVMNET_VERSION);
        return cli_end(CLI_DONE);
    }
    command = cli_find_command(argv[1]);
    if (!command)
        return cli_fail(CLI_USAGE, "%s: no such command; 'vmnet --help' lists them", argv[1]);
    if (cli_read_args(command, argc - 1, argv + 1, &args, &code))
        code = run(&args, argv + 1);
    return cli_end(code);
}
