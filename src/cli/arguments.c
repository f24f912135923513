/* SPDX-License-Identifier: Apache-2.0 */
/* A command's arguments, read by getopt_long() from its row of the table. */
#include <assert.h>
#include <getopt.h>
#include <stdarg.h>
#include <string.h>

#include "cli/cli.h"

/* getopt's value for an option is its index in the table plus this, clear of all characters. */
#define VALUE_BASE 256
#define VALUE_HELP 'h'

enum cli_exit cli_fail(enum cli_exit code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("vmnet: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return code;
}

void cli_warn(const char *command, const char *network, const struct err *warning)
{
    if (warning->text[0])
        cli_fail(CLI_DONE, "%s: network '%s': warning: %s", command, network, warning->text);
}

const struct cli_command *cli_find_command(const char *name)
{
    for (const struct cli_command *command = cli_commands; command->name; command++) {
        if (strcmp(command->name, name) == 0)
            return command;
    }
    return NULL;
}

const char *cli_value(const struct cli_args *args, const char *option)
{
    for (int i = 0; i < CLI_OPTIONS_MAX && args->command->options[i].name; i++) {
        if (strcmp(args->command->options[i].name, option) == 0)
            return args->values[i];
    }
    assert(!"an option that is not in the table");
    return NULL;
}

static void fill_getopt_table(const struct cli_command *command, struct option *options)
{
    int i;

    for (i = 0; i < CLI_OPTIONS_MAX && command->options[i].name; i++)
        options[i] = (struct option){
            .name = command->options[i].name,
            .has_arg = command->options[i].argument ? required_argument : no_argument,
            .val = VALUE_BASE + i,
        };
    options[i++] = (struct option){.name = "help", .has_arg = no_argument, .val = VALUE_HELP};
    options[i] = (struct option){0};
}

static enum cli_exit check_count(const struct cli_args *args)
{
    const struct cli_command *command = args->command;

    if (args->argc < command->positional_min)
        return cli_fail(CLI_USAGE, "%s: too few arguments; the usage is: vmnet %s %s",
                        command->name, command->name, command->arguments);
    if (args->argc > command->positional_max)
        return cli_fail(CLI_USAGE, "%s: unexpected argument '%s'; the usage is: vmnet %s %s",
                        command->name, args->argv[command->positional_max], command->name,
                        command->arguments);
    return CLI_DONE;
}

bool cli_read_args(const struct cli_command *command, int argc, char **argv,
                   struct cli_args *ret_args, enum cli_exit *ret_exit)
{
    struct option options[CLI_OPTIONS_MAX + 2];
    int value;

    fill_getopt_table(command, options);
    *ret_args = (struct cli_args){.command = command};
    opterr = 0; /* the messages are ours */
    while ((value = getopt_long(argc, argv, command->stops_at_positional ? "+:h" : ":h", options,
                                NULL)) != -1) {
        if (value == VALUE_HELP) {
            cli_help_command(stdout, command);
            *ret_exit = CLI_DONE;
            return false;
        }
        if (value < VALUE_BASE) {
            *ret_exit = cli_fail(CLI_USAGE, "%s: option '%s' %s; see 'vmnet help %s'",
                                 command->name, argv[optind - 1],
                                 value == ':' ? "needs a value" : "is unknown or ill-formed",
                                 command->name);
            return false;
        }
        ret_args->values[value - VALUE_BASE] = optarg ? optarg : "";
    }
    ret_args->argc = argc - optind;
    ret_args->argv = argv + optind;
    *ret_exit = check_count(ret_args);
    return *ret_exit == CLI_DONE;
}
