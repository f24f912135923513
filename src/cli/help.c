/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands as text: for a terminal, and as scdoc source for the manual page. */
#include <string.h>

#include "cli/cli.h"
#include "cli/completion.h"
#include "cli/rates.h"
#include "cli/sample.h"
#include "client/client.h"

#define USAGE_WIDTH 37  /* of "exec [OPTIONS] NET [--] COMMAND..." and its like */
#define OPTION_WIDTH 26 /* of "--start-address ADDRESS" and its like */

static const struct cli_option help_option = {"help", NULL, "Print this help"};

void cli_help(FILE *file)
{
    fputs("Usage: vmnet COMMAND [ARGUMENT...]\n"
          "       vmnet --help | --version\n"
          "\n"
          "Networks for virtual machines, without privileges.\n"
          "\n"
          "Commands:\n",
          file);
    for (const struct cli_command *command = cli_commands; command->name; command++) {
        int len = fprintf(file, "  %s %s", command->name, command->arguments);

        fprintf(file, "%*s%s\n", len < USAGE_WIDTH ? USAGE_WIDTH - len : 1, "", command->summary);
    }
    fputs("\n'vmnet help COMMAND' tells more of one.\n", file);
}

static void print_option(FILE *file, const struct cli_option *option)
{
    int len;

    if (!option->help)
        return;
    fputs("  ", file);
    len = 2;
    if (option->letter)
        len += fprintf(file, "-%c, ", option->letter);
    len += fprintf(file, "--%s%s%s", option->name, option->argument ? " " : "",
                   option->argument ? option->argument : "");
    fprintf(file, "%*s%s\n", len < OPTION_WIDTH ? OPTION_WIDTH - len : 1, "", option->help);
}

void cli_help_command(FILE *file, const struct cli_command *command)
{
    fprintf(file, "Usage: vmnet %s %s\n\n%s.\n\n%s\nOptions:\n", command->name, command->arguments,
            command->summary, command->details);
    for (int i = 0; i < CLI_OPTIONS_MAX && command->options[i].name; i++)
        print_option(file, &command->options[i]);
    print_option(file, &help_option);
}

/* Text of the table is plain: what means something to scdoc is escaped. */
static void print_scdoc(FILE *file, const char *text)
{
    for (; *text; text++) {
        if (strchr("\\*_<>#~`", *text))
            fputc('\\', file);
        fputc(*text, file);
    }
}

/* Indented lines are an example: as they are, in a block of their own. */
static void print_scdoc_details(FILE *file, const char *details)
{
    bool example = false;
    char line[128];

    for (const char *next; *details; details = next) {
        int len = (int)strcspn(details, "\n");

        next = details + len + (details[len] == '\n');
        if ((*details == ' ') != example && len > 0) {
            fputs("```\n", file);
            example = !example;
        }
        snprintf(line, sizeof(line), "%.*s\n", len, details);
        if (example)
            fputs(line, file);
        else
            print_scdoc(file, line);
    }
    if (example)
        fputs("```\n", file);
}

static void print_scdoc_option(FILE *file, const struct cli_option *option)
{
    if (option->letter)
        fprintf(file, "*-%c*, ", option->letter);
    fprintf(file, "*--%s*", option->name);
    if (option->argument)
        fprintf(file, " _%s_", option->argument);
    fputs("\n\t", file);
    print_scdoc(file, option->help);
    fputs(".\n\n", file);
}

void cli_help_man(FILE *file)
{
    for (const struct cli_command *command = cli_commands; command->name; command++) {
        fprintf(file, "## vmnet %s ", command->name);
        print_scdoc(file, command->arguments);
        fputs("\n\n", file);
        print_scdoc(file, command->summary);
        fputs(". ", file);
        print_scdoc_details(file, command->details);
        fputc('\n', file);
        for (int i = 0; i < CLI_OPTIONS_MAX && command->options[i].name; i++) {
            if (command->options[i].help)
                print_scdoc_option(file, &command->options[i]);
        }
    }
}

static void print_port_names(FILE *file, const json_t *states)
{
    json_t *state, *port;
    size_t i, j;

    json_array_foreach(states, i, state)
    {
        json_array_foreach(json_object_get(state, "ports"), j, port)
        {
            const char *name = json_string_value(json_object_get(port, "name"));

            if (name && *name)
                fprintf(file, "%s\n", name);
        }
    }
}

static void print_all(FILE *file, const json_t *names)
{
    json_t *name;
    size_t i;

    json_array_foreach(names, i, name) fprintf(file, "%s\n", json_string_value(name));
}

/* What completions ask for, one a line: networks that run or start when they are joined, or the ports of @network. */
static void print_names(FILE *file, const char *network)
{
    json_t *names = NULL, *listening = NULL;

    if (network && *network) {
        sample_take(network, &names, NULL);
        print_port_names(file, names);
    } else {
        client_list(&names, NULL);
        client_list_listening(&listening, NULL);
        print_all(file, names);
        print_all(file, listening);
    }
    json_decref(names);
    json_decref(listening);
}

enum cli_exit cmd_help(const struct cli_args *args)
{
    const struct cli_command *command;

    if (cli_value(args, "man")) {
        cli_help_man(stdout);
        return CLI_DONE;
    }
    if (cli_value(args, "completion"))
        return completion_print(stdout, cli_value(args, "completion"));
    if (cli_value(args, "names")) {
        print_names(stdout, args->argv[0]);
        return CLI_DONE;
    }
    if (args->argc == 0) {
        cli_help(stdout);
        return CLI_DONE;
    }
    command = cli_find_command(args->argv[0]);
    if (!command)
        return cli_fail(CLI_USAGE, "help: %s: no such command; 'vmnet --help' lists them",
                        args->argv[0]);
    cli_help_command(stdout, command);
    return CLI_DONE;
}
