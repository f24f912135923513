/* SPDX-License-Identifier: Apache-2.0 */
/* `vmnet down` */
#include "cli/cli.h"
#include "client/client.h"

enum cli_exit cmd_down(const struct cli_args *args)
{
    const char *name = args->argv[0];
    struct err err = {0};

    if (net_name_check(name, &err) < 0)
        return cli_fail(CLI_USAGE, "down: %s", err.text);
    if (client_stop(name, cli_value(args, "force") != NULL, &err) < 0)
        return cli_fail(CLI_FAILED, "down: network '%s': %s", name, err.text);
    return CLI_DONE;
}
