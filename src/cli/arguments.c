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

static int option_index(const struct cli_args *args, const char *option)
{
    for (int i = 0; i < CLI_OPTIONS_MAX && args->command->options[i].name; i++) {
        if (strcmp(args->command->options[i].name, option) == 0)
            return i;
    }
    assert(!"an option that is not in the table");
    return 0;
}

const char *cli_value(const struct cli_args *args, const char *option)
{
    return args->values[option_index(args, option)];
}

const char *cli_value_at(const struct cli_args *args, const char *option, int index)
{
    int wanted = option_index(args, option);

    for (int i = 0; i < args->given_len; i++) {
        if (args->given[i].option == wanted && index-- == 0)
            return args->given[i].value;
    }
    return NULL;
}

/* False after the message where there are too many. */
static bool keep_value(struct cli_args *args, int option, const char *value)
{
    if (args->given_len == CLI_GIVEN_MAX) {
        cli_fail(CLI_USAGE, "%s: more than %d options are given", args->command->name,
                 CLI_GIVEN_MAX);
        return false;
    }
    args->values[option] = value;
    args->given[args->given_len].option = option;
    args->given[args->given_len++].value = value;
    return true;
}

/* "+:h" where reading stops at the first positional, and "x:" for each letter with a value. */
#define LETTERS_MAX (sizeof("+:h") + 2 * CLI_OPTIONS_MAX)

static void fill_getopt_table(const struct cli_command *command, struct option *options,
                              char letters[LETTERS_MAX])
{
    int i, len = snprintf(letters, LETTERS_MAX, command->stops_at_positional ? "+:h" : ":h");

    for (i = 0; i < CLI_OPTIONS_MAX && command->options[i].name; i++) {
        const struct cli_option *option = &command->options[i];

        options[i] = (struct option){
            .name = option->name,
            .has_arg = option->argument ? required_argument : no_argument,
            .val = VALUE_BASE + i,
        };
        if (option->letter)
            len += snprintf(letters + len, LETTERS_MAX - (size_t)len, "%c%s", option->letter,
                            option->argument ? ":" : "");
    }
    options[i++] = (struct option){.name = "help", .has_arg = no_argument, .val = VALUE_HELP};
    options[i] = (struct option){0};
}

/* The index of the option that getopt's @value stands for; -1: not one of the table. */
static int find_by_value(const struct cli_command *command, int value)
{
    for (int i = 0; i < CLI_OPTIONS_MAX && command->options[i].name; i++)
        if (value == VALUE_BASE + i || (value && value == command->options[i].letter))
            return i;
    return -1;
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
    char letters[LETTERS_MAX];
    int value, i;

    fill_getopt_table(command, options, letters);
    *ret_args = (struct cli_args){.command = command};
    opterr = 0; /* the messages are ours */
    while ((value = getopt_long(argc, argv, letters, options, NULL)) != -1) {
        if (value == VALUE_HELP) {
            cli_help_command(stdout, command);
            *ret_exit = CLI_DONE;
            return false;
        }
        i = find_by_value(command, value);
        if (i < 0) {
            *ret_exit = cli_fail(CLI_USAGE, "%s: option '%s' %s; see 'vmnet help %s'",
                                 command->name, argv[optind - 1],
                                 value == ':' ? "needs a value" : "is unknown or ill-formed",
                                 command->name);
            return false;
        }
        if (!keep_value(ret_args, i, optarg ? optarg : "")) {
            *ret_exit = CLI_USAGE;
            return false;
        }
    }
    ret_args->argc = argc - optind;
    ret_args->argv = argv + optind;
    *ret_exit = check_count(ret_args);
    return *ret_exit == CLI_DONE;
}
