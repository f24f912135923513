/* SPDX-License-Identifier: Apache-2.0 */
/* `vmnet metrics` */
#include "base/netspec.h"
#include "cli/cli.h"
#include "cli/metrics.h"
#include "cli/sample.h"

enum cli_exit cmd_metrics(const struct cli_args *args)
{
    const char *name = args->argc > 0 ? args->argv[0] : NULL;
    struct err err = {0};
    json_t *states;
    int result;

    if (name && net_name_check(name, &err) < 0)
        return cli_fail(CLI_USAGE, "metrics: %s", err.text);
    result = sample_take(name, &states, &err);
    if (result == 0 || !name)
        metrics_print(stdout, states);
    json_decref(states);
    return result < 0 ? cli_fail(CLI_FAILED, "metrics: %s", err.text) : CLI_DONE;
}
