/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that are programs of their own: they need libraries (libpcap, ncurses) that bring many others, and all
 * of these would be loaded with each `vmnet`. Such a command is vmnet-COMMAND, beside `vmnet` in the directory where
 * it was built, in libexec where it is installed. `vmnet` has read its arguments once by then, so help and what is
 * wrong with them come from there.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/netconfig.h"
#include "base/process.h"
#include "cli/cli.h"

#define NAME_MAX_BYTES 32

enum cli_exit cli_end(enum cli_exit code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    return code == CLI_DONE ? cli_fail(CLI_FAILED, "standard output: %s", strerror(errno)) : code;
}

int cli_main(const char *command, cli_run_fn *run, int argc, char **argv)
{
    struct cli_args args;
    enum cli_exit code;

    if (cli_read_args(cli_find_command(command), argc, argv, &args, &code))
        code = run(&args);
    return cli_end(code);
}

enum cli_exit cli_become(const char *command, char **argv)
{
    char name[NAME_MAX_BYTES], path[NET_PATH_MAX + NAME_MAX_BYTES], *slash;

    snprintf(name, sizeof(name), "vmnet-%s", command);
    argv[0] = name;
    process_path(path);
    slash = strrchr(path, '/');
    if (slash) {
        snprintf(slash + 1, NAME_MAX_BYTES, "%s", name);
        execv(path, argv);
    }
    if (!slash || errno == ENOENT) {
        snprintf(path, sizeof(path), OPENVMNET_LIBEXECDIR "/%s", name);
        execv(path, argv);
    }
    return cli_fail(CLI_FAILED, "%s: %s: %s; is openvmnet installed as a whole?", command, path,
                    strerror(errno));
}
