/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of commands as completions for shells: `vmnet help --completion SHELL` prints the whole script,
 * which is made when the project is built and installed where the shell looks for it.
 *
 * What stands at a place is told by the words of the usage line (kinds, below): NET is the name of a
 * network, so it is completed by those that run, or start when they are joined. The scripts ask for such names by `vmnet help --names`.
 * A script is a text of the shell's own with the table, in the shell's words, in the middle.
 */
#include <ctype.h>
#include <string.h>

#include "cli/completion.h"

#define PLACES_MAX 8

/* The kinds are named in the scripts, too. A program's own arguments are completed by its completion. */
static const struct {
    const char *word;
    const char *kind;
} kinds[] = {
    {"NET", "network"},
    {"NETWORK", "network"},
    {"NAME", "network"},
    {"GUEST", "port"},
    {"MACHINE", "port"},
    {"HOST", "port"},
    {"FILE", "file"},
    {"PATH", "file"},
    {"COMMAND", "program"},
    {"PROGRAM", "program"},
    {"WAY", "tap|stream|dgram"},
    {"MODE", "shared|host|bridged"},
};

/* A place for an argument. */
struct place {
    char kind[64]; /* or "none", or "a|b": one of these words */
    bool repeats;
};

static const char *find_kind(const char *word)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i].word, word) == 0)
            return kinds[i].kind;
    return islower((unsigned char)word[0]) ? word : "none";
}

/* An option's value. NAME is a network's only where the option says so; PORT is one of a network. */
static const char *option_kind(const struct cli_option *option)
{
    if (strcmp(option->name, "network") == 0)
        return "network";
    if (strcmp(option->argument, "PORT") == 0)
        return "port";
    return strcmp(option->argument, "NAME") == 0 ? "none" : find_kind(option->argument);
}

/* In "add|rm SPEC... | ls" the last one is another of the words that can stand first. */
static void add_alternative(struct place *places, size_t len, const char *word)
{
    for (size_t i = 0; i < len; i++) {
        if (!strchr(places[i].kind, '|'))
            continue;
        snprintf(places[i].kind + strlen(places[i].kind),
                 sizeof(places[i].kind) - strlen(places[i].kind), "|%s", word);
        return;
    }
}

/* The usage line, such as "[OPTIONS] NET [FILTER...]", as places. Returns their number. */
static size_t read_places(const struct cli_command *command, struct place places[PLACES_MAX])
{
    char line[128], *word, *rest;
    bool alternative = false;
    size_t len = 0;

    snprintf(line, sizeof(line), "%s", command->arguments);
    for (word = strtok_r(line, "[]() ", &rest); word && len < PLACES_MAX;
         word = strtok_r(NULL, "[]() ", &rest)) {
        char *dots = strstr(word, "...");

        if (strcmp(word, "OPTIONS") == 0 || word[0] == '-')
            continue;
        if (alternative || strcmp(word, "|") == 0) {
            if (alternative)
                add_alternative(places, len, word);
            alternative = true;
            continue;
        }
        if (dots)
            *dots = '\0';
        places[len].repeats = dots != NULL;
        snprintf(places[len].kind, sizeof(places[len].kind), "%s",
                 strcmp(command->name, "help") == 0 ? "command" : find_kind(word));
        len++;
    }
    return len;
}

/* @text within the shell's single quotes; each of @special gets a backslash. */
static void print_quoted(FILE *file, const char *text, const char *special)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs(strchr(special, '\'') ? "\\'" : "'\\''", file);
        else
            fprintf(file, "%s%c", strchr(special, *text) ? "\\" : "", *text);
    }
}

/* Each makes a variable of its name's last word. */
#define FOR_EACH_COMMAND                                                                           \
    for (const struct cli_command *command = cli_commands; command->name; command++)
#define FOR_EACH_OPTION                                                                            \
    for (const struct cli_option *option = command->options;                                       \
         option < command->options + CLI_OPTIONS_MAX && option->name; option++)                    \
        if (option->help)

/* ---- bash */

static const char bash_begin[] =
    "# bash completion for vmnet, made by 'vmnet help --completion bash'\n"
    "\n"
    "# What command $1 takes: its options, those with a value as --option=kind, and its places.\n"
    "_vmnet_describe()\n"
    "{\n"
    "    case $1 in\n";

static const char bash_middle[] = "    *) return 1 ;;\n"
                                  "    esac\n"
                                  "}\n"
                                  "\n"
                                  "# Words of kind $1, on network $2.\n"
                                  "_vmnet_words()\n"
                                  "{\n"
                                  "    case $1 in\n"
                                  "    network) vmnet help --names ;;\n"
                                  "    port) vmnet help --names \"$2\" ;;\n"
                                  "    none) ;;\n"
                                  "    command) echo '";

static const char bash_end[] =
    "' ;;\n"
    "    *) echo \"${1//|/ }\" ;;\n"
    "    esac 2>/dev/null\n"
    "}\n"
    "\n"
    "_vmnet()\n"
    "{\n"
    "    local options places network='' ended='' kind='' word rest i count=0\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]}\n"
    "\n"
    "    COMPREPLY=()\n"
    "    if ((COMP_CWORD == 1)); then\n"
    "        COMPREPLY=($(compgen -W \"$(_vmnet_words command) --help --version\" -- \"$cur\"))\n"
    "        return\n"
    "    fi\n"
    "    _vmnet_describe \"${COMP_WORDS[1]}\" || return 0\n"
    "    local -a place=($places)\n"
    "    for ((i = 2; i < COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        if [[ -z $ended && $word == -* ]]; then\n"
    "            [[ $word == -- ]] && ended=1\n"
    "            [[ \" $options \" == *\" $word=\"* ]] || continue\n"
    "            [[ ${COMP_WORDS[i + 1]-} == '=' ]] && ((i++))\n"
    "            ((++i < COMP_CWORD)) && continue\n"
    "            rest=${options#*\"$word=\"}\n"
    "            kind=${rest%% *}\n"
    "            [[ $cur == '=' ]] && cur=''\n"
    "        else\n"
    "            rest=${place[count]:-none}\n"
    "            if [[ ${rest%...} == program ]]; then\n"
    "                declare -F _command_offset >/dev/null && _command_offset \"$i\"\n"
    "                return\n"
    "            fi\n"
    "            [[ $rest == network ]] && network=$word\n"
    "            [[ $rest == *... ]] || ((count++))\n"
    "        fi\n"
    "    done\n"
    "    if [[ -z $kind && -z $ended && $cur == -* ]]; then\n"
    "        for word in $options --help; do\n"
    "            COMPREPLY+=($(compgen -W \"${word%%=*}\" -- \"$cur\"))\n"
    "        done\n"
    "        return\n"
    "    fi\n"
    "    [[ -n $kind ]] || kind=${place[count]:-none}\n"
    "    kind=${kind%...}\n"
    "    case $kind in\n"
    "    file) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n"
    "    program) COMPREPLY=($(compgen -c -- \"$cur\")) ;;\n"
    "    *) COMPREPLY=($(compgen -W \"$(_vmnet_words \"$kind\" \"$network\")\" -- \"$cur\")) ;;\n"
    "    esac\n"
    "}\n"
    "\n"
    "complete -F _vmnet vmnet\n";

static void print_bash(FILE *file)
{
    struct place places[PLACES_MAX];

    fputs(bash_begin, file);
    FOR_EACH_COMMAND
    {
        const char *separator = "";
        size_t len = read_places(command, places);

        fprintf(file, "    %s) options='", command->name);
        FOR_EACH_OPTION
        {
            fprintf(file, "%s--%s", separator, option->name);
            if (option->argument)
                fprintf(file, "=%s", option_kind(option));
            separator = " ";
        }
        fputs("' places='", file);
        for (size_t i = 0; i < len; i++)
            fprintf(file, "%s%s%s", i ? " " : "", places[i].kind, places[i].repeats ? "..." : "");
        fputs("' ;;\n", file);
    }
    fputs(bash_middle, file);
    FOR_EACH_COMMAND
    fprintf(file, "%s%s", command == cli_commands ? "" : " ", command->name);
    fputs(bash_end, file);
}

/* ---- zsh */

static const char zsh_begin[] =
    "#compdef vmnet\n"
    "# zsh completion for vmnet, made by 'vmnet help --completion zsh'\n"
    "\n"
    "_vmnet_network() {\n"
    "    local -a names\n"
    "    names=(${(f)\"$(vmnet help --names 2>/dev/null)\"})\n"
    "    compadd -a names\n"
    "}\n"
    "\n"
    "# On the network that is the first word without a dash.\n"
    "_vmnet_port() {\n"
    "    local -a names before\n"
    "    before=(${words[2,CURRENT-1]:#-*})\n"
    "    names=(${(f)\"$(vmnet help --names ${before[1]} 2>/dev/null)\"})\n"
    "    compadd -a names\n"
    "}\n"
    "\n"
    "_vmnet_command() {\n"
    "    local -a commands\n"
    "    commands=(\n";

static const char zsh_middle[] = "    )\n"
                                 "    _describe -t commands command commands\n"
                                 "}\n"
                                 "\n"
                                 "_vmnet() {\n"
                                 "    local context state state_descr line\n"
                                 "    typeset -A opt_args\n"
                                 "\n"
                                 "    _arguments -C '(- *)--help[Print help]' \\\n"
                                 "        '(- *)--version[Print the version]' \\\n"
                                 "        '1:command:_vmnet_command' '*::argument:->arguments'\n"
                                 "    [[ $state == arguments ]] || return\n"
                                 "    case $words[1] in\n";

static const char zsh_end[] = "    esac\n"
                              "}\n"
                              "\n"
                              "_vmnet \"$@\"\n";

/* What completes a kind, as an action of _arguments. */
static void print_zsh_action(FILE *file, const char *kind)
{
    if (strcmp(kind, "network") == 0 || strcmp(kind, "port") == 0 || strcmp(kind, "command") == 0)
        fprintf(file, "_vmnet_%s", kind);
    else if (strcmp(kind, "file") == 0)
        fputs("_files", file);
    else if (strcmp(kind, "program") == 0)
        fputs("_command_names -e", file);
    else if (strcmp(kind, "none") != 0) {
        fputc('(', file);
        for (; *kind; kind++)
            fputc(*kind == '|' ? ' ' : *kind, file);
        fputc(')', file);
    } else {
        fputc(' ', file);
    }
}

static void print_zsh_command(FILE *file, const struct cli_command *command)
{
    struct place places[PLACES_MAX];
    size_t len = read_places(command, places);

    fprintf(file, "    %s) _arguments '(- *)--help[Print help]'", command->name);
    FOR_EACH_OPTION
    {
        fprintf(file, " \\\n        '--%s%s[", option->name, option->argument ? "=" : "");
        print_quoted(file, option->help, "[]\\");
        fputc(']', file);
        if (option->argument) {
            fprintf(file, ":%s:", option->argument);
            print_zsh_action(file, option_kind(option));
        }
        fputc('\'', file);
    }
    for (size_t i = 0; i < len; i++) {
        bool program = strcmp(places[i].kind, "program") == 0;

        if (places[i].repeats && !program)
            fprintf(file, " \\\n        '*:argument:");
        else
            fprintf(file, " \\\n        '%s%zu:argument:", program ? "(-)" : "", i + 1);
        print_zsh_action(file, places[i].kind);
        fputc('\'', file);
        if (program) {
            fprintf(file, " \\\n        '*::argument:_normal'");
            break;
        }
    }
    fputs(" ;;\n", file);
}

static void print_zsh(FILE *file)
{
    fputs(zsh_begin, file);
    FOR_EACH_COMMAND
    {
        fprintf(file, "        '%s:", command->name);
        print_quoted(file, command->summary, "\\:");
        fputs("'\n", file);
    }
    fputs(zsh_middle, file);
    FOR_EACH_COMMAND
    print_zsh_command(file, command);
    fputs(zsh_end, file);
}

/* ---- fish */

static const char fish_begin[] =
    "# fish completion for vmnet, made by 'vmnet help --completion fish'\n"
    "\n"
    "# The arguments before the cursor, the command first; $argv: options with a value.\n"
    "function __vmnet_arguments\n"
    "    set -l words (commandline -opc)\n"
    "    set -e words[1]\n"
    "    set -l value 0\n"
    "    for word in $words\n"
    "        if test $value = 1\n"
    "            set value 0\n"
    "        else if contains -- $word $argv\n"
    "            set value 1\n"
    "        else if not string match -q -- '-*' $word\n"
    "            echo $word\n"
    "        end\n"
    "    end\n"
    "end\n"
    "\n"
    "# Whether the cursor is at place $argv[2] of command $argv[1]: \"3\", or \"3-\" for all from "
    "it on.\n"
    "function __vmnet_at\n"
    "    set -l arguments (__vmnet_arguments $argv[3..-1])\n"
    "    set -l place (string replace -- - '' $argv[2])\n"
    "    test \"$arguments[1]\" = $argv[1]; or return 1\n"
    "    test (count $arguments) -eq $place; and return\n"
    "    string match -q -- '*-' $argv[2]; and test (count $arguments) -gt $place\n"
    "end\n"
    "\n"
    "function __vmnet_port\n"
    "    set -l arguments (__vmnet_arguments $argv)\n"
    "    vmnet help --names $arguments[2] 2>/dev/null\n"
    "end\n"
    "\n"
    "# What the command that begins at place $argv[1] takes.\n"
    "function __vmnet_program\n"
    "    set -l arguments (__vmnet_arguments $argv[2..-1])\n"
    "    set -l words (commandline -opc)\n"
    "    set -l at (contains -i -- $arguments[(math $argv[1] + 1)] $words[2..-1])\n"
    "    complete -C (string join ' ' -- (string escape -- $words[(math $at + 1)..-1]) "
    "(commandline -ct))\n"
    "end\n"
    "\n"
    "complete -c vmnet -f\n"
    "complete -c vmnet -n 'test (count (__vmnet_arguments)) -eq 0' -l version "
    "-d 'Print the version'\n"
    "complete -c vmnet -l help -d 'Print help'\n";

static const struct {
    const char *kind, *words;
} fish_words[] = {
    {"network", "vmnet help --names 2>/dev/null"},
    {"port", "__vmnet_port"},
    {"file", "__fish_complete_path (commandline -ct)"},
    {"program", "__fish_complete_command"},
};

/* The argument of -a. */
static void print_fish_words(FILE *file, const char *kind)
{
    if (strcmp(kind, "command") == 0) {
        fputs(" -a '", file);
        FOR_EACH_COMMAND
        fprintf(file, "%s%s", command == cli_commands ? "" : " ", command->name);
        fputc('\'', file);
        return;
    }
    for (size_t i = 0; i < sizeof(fish_words) / sizeof(fish_words[0]); i++) {
        if (strcmp(fish_words[i].kind, kind) == 0) {
            fprintf(file, " -a '(%s)'", fish_words[i].words);
            return;
        }
    }
    if (strcmp(kind, "none") == 0)
        return;
    fputs(" -a '", file);
    for (; *kind; kind++)
        fputc(*kind == '|' ? ' ' : *kind, file);
    fputc('\'', file);
}

/* Options of @command that have a value, for __vmnet_arguments. */
static void print_fish_valued(FILE *file, const struct cli_command *command)
{
    FOR_EACH_OPTION
    {
        if (option->argument)
            fprintf(file, " --%s", option->name);
    }
}

static void print_fish_command(FILE *file, const struct cli_command *command)
{
    struct place places[PLACES_MAX];
    size_t len = read_places(command, places);

    fputs("complete -c vmnet -n 'test (count (__vmnet_arguments)) -eq 0'", file);
    fprintf(file, " -a %s -d '", command->name);
    print_quoted(file, command->summary, "\\'");
    fputs("'\n", file);
    FOR_EACH_OPTION
    {
        fprintf(file, "complete -c vmnet -n '__vmnet_at %s 1-", command->name);
        print_fish_valued(file, command);
        fprintf(file, "' -l %s -d '", option->name);
        print_quoted(file, option->help, "\\'");
        fputs(option->argument ? "' -x" : "'", file);
        if (option->argument)
            print_fish_words(file, option_kind(option));
        fputc('\n', file);
    }
    for (size_t i = 0; i < len; i++) {
        bool program = strcmp(places[i].kind, "program") == 0;

        fprintf(file, "complete -c vmnet -n '__vmnet_at %s %zu%s", command->name, i + 1,
                places[i].repeats && !program ? "-" : "");
        print_fish_valued(file, command);
        fputc('\'', file);
        print_fish_words(file, places[i].kind);
        fputc('\n', file);
        if (program) {
            fprintf(file, "complete -c vmnet -n '__vmnet_at %s %zu-", command->name, i + 2);
            print_fish_valued(file, command);
            fprintf(file, "' -a '(__vmnet_program %zu", i + 1);
            print_fish_valued(file, command);
            fputs(")'\n", file);
            break;
        }
    }
}

static void print_fish(FILE *file)
{
    fputs(fish_begin, file);
    FOR_EACH_COMMAND
    print_fish_command(file, command);
}

enum cli_exit completion_print(FILE *file, const char *shell)
{
    static const struct {
        const char *name;
        void (*print)(FILE *file);
    } shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};

    for (size_t i = 0; i < sizeof(shells) / sizeof(shells[0]); i++) {
        if (strcmp(shells[i].name, shell) == 0) {
            shells[i].print(file);
            return CLI_DONE;
        }
    }
    return cli_fail(CLI_USAGE,
                    "help: --completion: no completion for '%s'; there is one for bash, "
                    "zsh and fish",
                    shell);
}
