/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OPENVMNET_CLI_COMPLETION_H
#define OPENVMNET_CLI_COMPLETION_H

#include <stdio.h>

#include "cli/cli.h"

/* The script for "bash", "zsh" or "fish"; CLI_USAGE after a message for another. */
enum cli_exit completion_print(FILE *file, const char *shell);

#endif
