/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of commands: usage, help, the parser and the manual page all come from here.
 */
#include <limits.h>

#include "cli/cli.h"

const struct cli_command cli_commands[] = {
    {
        .name = "run",
        .arguments = "[OPTIONS] [--] COMMAND...",
        .summary = "Start a VM monitor with its networks",
        .details = "Looks in the arguments of COMMAND for QEMU's -netdev and -nic of the types\n"
                   "vmnet-macos, vmnet-shared, vmnet-host and vmnet-bridged, attaches a port to\n"
                   "the network of each, puts a tap netdev on an open descriptor in its place\n"
                   "and becomes COMMAND. A network that does not run is started, and ends with\n"
                   "its last port. A device whose MAC address is not given gets the port's.\n"
                   "\n"
                   "A command named qemu-system-* without any such option gets one NIC on the\n"
                   "default shared network.\n"
                   "\n"
                   "The address and the name of each port are printed before COMMAND starts.\n",
        .options =
            {
                {"network", "NAME", "Network of the ports whose options name none"},
                {"name", "NAME", "Host name of the VM; without it, QEMU's -name is used"},
                {"verbose", NULL, "Print the command line that is run"},
            },
        .positional_min = 1,
        .positional_max = INT_MAX,
        .stops_at_positional = true,
        .run = cmd_run,
    },
    {
        .name = "up",
        .arguments = "[OPTIONS] [NAME]",
        .summary = "Make a lasting network",
        .details = "The network stays until 'vmnet down', with or without ports. One that a port\n"
                   "has started is made lasting. Without NAME, which then needs an option, the\n"
                   "name is made from the mode and the addresses. The name is printed.\n"
                   "\n"
                   "The three addresses come together or not at all. Without them the network\n"
                   "picks a subnet that no route of the host uses, and keeps it.\n",
        .options =
            {
                {"mode", "MODE", "What the network reaches: shared (NAT, the default)"},
                {"start-address", "ADDRESS", "The gateway's address; the pool begins after it"},
                {"end-address", "ADDRESS", "The last address of the pool"},
                {"subnet-mask", "MASK", "The mask of the subnet, such as 255.255.255.0"},
            },
        .positional_max = 1,
        .run = cmd_up,
    },
    {
        .name = "down",
        .arguments = "[OPTIONS] NAME",
        .summary = "End a network",
        .details = "Waits until the network is gone. A network with attached ports is left alone,\n"
                   "unless --force is given; the VMs then go on without it.\n",
        .options =
            {
                {"force", NULL, "End it even while ports are attached"},
            },
        .positional_min = 1,
        .positional_max = 1,
        .run = cmd_down,
    },
    {
        .name = "ls",
        .arguments = "[OPTIONS]",
        .summary = "List the networks that run",
        .details = "One line a network: its name, mode and subnets, how many ports are attached,\n"
                   "and whether it lasts without them.\n",
        .options = {{"json", NULL, "Print JSON, for programs"}},
        .run = cmd_ls,
    },
    {
        .name = "status",
        .arguments = "[OPTIONS] [NAME]",
        .summary = "Show networks with their ports and counters",
        .details = "Without NAME all networks that run. Of the counters, those that are not zero.\n"
                   "With --json the whole state: an object for the network NAME, an array of\n"
                   "such objects without.\n",
        .options = {{"json", NULL, "Print JSON, for programs"}},
        .positional_max = 1,
        .run = cmd_status,
    },
    {
        .name = "help",
        .arguments = "[COMMAND]",
        .summary = "Tell how a command is used",
        .details = "Without COMMAND the list of commands. The same as 'vmnet COMMAND --help'.\n",
        .options =
            {
                {"man", NULL, NULL},
            },
        .positional_max = 1,
        .run = cmd_help,
    },
    {.name = NULL},
};
