/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

enum cli_exit cmd_exec(const struct cli_args *args)
{
    return cli_fail(CLI_FAILED,
                    "exec: macOS has no network namespaces, so a program there is always on the "
                    "host's network; run it in a virtual machine: vmnet run --network %s ...",
                    args->argv[0]);
}
