/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the commands of `vmnet` share: the table that describes them (commands.c), the reading of
 * their arguments by that table (arguments.c) and the help made from it (help.c).
 */
#ifndef OPENVMNET_CLI_CLI_H
#define OPENVMNET_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"

#define CLI_OPTIONS_MAX 26 /* options of one command */
#define CLI_GIVEN_MAX 160  /* options that are given, repeated ones included */

enum cli_exit {
    CLI_DONE = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2, /* wrong usage: nothing was tried */
    /* as env(1) and shells have it, of the program that `vmnet exec` was to become */
    CLI_CANNOT_RUN = 126,
    CLI_NOT_FOUND = 127,
};

struct cli_option {
    const char *name;     /* without dashes */
    const char *argument; /* what stands for its value in the help, or NULL: a switch */
    const char *help;     /* one sentence without a full stop; NULL: not shown anywhere */
    char letter;          /* its short form, or 0 */
};

struct cli_args;

struct cli_command {
    const char *name;
    const char *arguments; /* as in the usage line */
    const char *summary;   /* one sentence without a full stop */
    const char *details;   /* lines of at most 76 characters, an empty one between paragraphs */
    struct cli_option options[CLI_OPTIONS_MAX]; /* --help comes by itself */
    int positional_min;
    int positional_max;
    bool stops_at_positional; /* what follows the first positional is not ours to read */
};

/* The arguments of one command, as the user gave them. */
struct cli_args {
    const struct cli_command *command;
    const char *values[CLI_OPTIONS_MAX]; /* of each option: NULL if not given, "" for a switch */
    struct {
        int option; /* index in the table */
        const char *value;
    } given[CLI_GIVEN_MAX]; /* the same in the order of the command line, for cli_value_at() */
    int given_len;
    int argc;
    char **argv; /* positionals, NULL-terminated */
};

/* All commands in the order of the help; ends with a NULL name. */
extern const struct cli_command cli_commands[];

const struct cli_command *cli_find_command(const char *name);

/*
 * Reads the arguments of @command; @argv[0] is its name. True: go on with @ret_args. False: done
 * with *ret_exit, after the help was printed or the error was.
 */
bool cli_read_args(const struct cli_command *command, int argc, char **argv,
                   struct cli_args *ret_args, enum cli_exit *ret_exit);

/* The value of an option of the command's table, the last one given; NULL if it was not given. */
const char *cli_value(const struct cli_args *args, const char *option);

/* The values of an option that may repeat, @index from 0 on; NULL after the last. */
const char *cli_value_at(const struct cli_args *args, const char *option, int index);

/* "vmnet: <text>" as one line to stderr. Returns @code, so that commands end with it. */
enum cli_exit cli_fail(enum cli_exit code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same for a warning about a network that works all the same; nothing where @warning is empty. */
void cli_warn(const char *command, const char *network, const struct err *warning);

/*
 * Calls @method on every network that runs. *ret_replies is an array of the replies, the caller's in any
 * case; CLI_FAILED, after a message, where one could not be asked.
 */
enum cli_exit cli_ask_all(const char *command, const char *method, json_t **ret_replies);

void cli_help(FILE *file);
void cli_help_command(FILE *file, const struct cli_command *command);
/* The manual's section on the commands, as scdoc source. */
void cli_help_man(FILE *file);

/* A command, carried out. capture and top are programs of their own (program.c). */
typedef enum cli_exit cli_run_fn(const struct cli_args *args);

/* main() of such a program, from its arguments to its exit status. */
int cli_main(const char *command, cli_run_fn *run, int argc, char **argv);
/* What main() returns: a full disk or a closed pipe shows only when the text is written out. */
enum cli_exit cli_end(enum cli_exit code);
/* Becomes the program of @command; @argv[0] is replaced. Returns where that fails, after a message. */
enum cli_exit cli_become(const char *command, char **argv);

enum cli_exit cmd_connect(const struct cli_args *args);
enum cli_exit cmd_check(const struct cli_args *args);
enum cli_exit cmd_down(const struct cli_args *args);
enum cli_exit cmd_exec(const struct cli_args *args);
enum cli_exit cmd_forward(const struct cli_args *args);
enum cli_exit cmd_help(const struct cli_args *args);
enum cli_exit cmd_interfaces(const struct cli_args *args);
enum cli_exit cmd_ls(const struct cli_args *args);
enum cli_exit cmd_metrics(const struct cli_args *args);
enum cli_exit cmd_run(const struct cli_args *args);
enum cli_exit cmd_status(const struct cli_args *args);
enum cli_exit cmd_up(const struct cli_args *args);

#endif
