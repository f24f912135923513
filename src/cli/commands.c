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
                   "the network of each, puts a netdev on an open descriptor in its place and\n"
                   "becomes COMMAND. A network that does not run is started, and ends with its\n"
                   "last port. A device whose MAC address is not given gets the port's.\n"
                   "\n"
                   "For any other VM monitor, these are replaced anywhere in the arguments of\n"
                   "COMMAND: {fd}, the number of a port's descriptor, or {socket}, the path of\n"
                   "its datagram socket; {mac}, {ip}, {gateway} and {mtu}, what it has; {tap},\n"
                   "its name inside the network. {fd2}, {mac2} and so on are of a second port.\n"
                   "{{fd}} is the text {fd} itself.\n"
                   "\n"
                   "A QEMU (qemu-system-*, qemu-kvm, kvm) without any of these gets one NIC\n"
                   "on the default shared network, or one for each --nic.\n"
                   "\n"
                   "Ports by placeholder and such NICs get their options by --nic, as -netdev\n"
                   "vmnet-macos takes them: --nic mode=host,isolated=on. Others have their own.\n"
                   "A forward is written as QEMU's hostfwd is: --forward tcp::2222-:22. The\n"
                   "descriptor is that of a socket in place of a tap with --way stream or dgram,\n"
                   "which QEMU takes since version 7.2.\n"
                   "\n"
                   "The address and the name of each port are printed before COMMAND starts.\n",
        .options =
            {
                {"network", "NAME", "Network of the ports whose options name none"},
                {"name", "NAME", "Host name of the VM; without it, QEMU's -name is used"},
                {"nic", "OPTIONS", "Options of the first such port; again for the next"},
                {"forward", "FORWARD", "A port forward to the first port; may repeat"},
                {"way", "WAY", "How COMMAND gets its frames: tap, stream or dgram"},
                {"verbose", NULL, "Print the command line that is run"},
            },
        .positional_min = 1,
        .positional_max = INT_MAX,
        .stops_at_positional = true,
    },
    {
        .name = "exec",
        .arguments = "[OPTIONS] NET [--] COMMAND...",
        .summary = "Run a program as a machine of a network",
        .details = "COMMAND gets an interface on the network with an address and a name, the\n"
                   "network's DNS, and nothing of the host's network. Its files and its user are\n"
                   "the host's; it has no privileges, may ping and may serve at any port. A\n"
                   "network that does not run is started. The port ends with the last process.\n"
                   "\n"
                   "The exit status is that of COMMAND; 127 where it is not found, 126 where it\n"
                   "cannot be run.\n",
        .options =
            {
                {"name", "NAME", "Host name; without it the network gives one"},
                {"isolated", NULL, "Keep the other machines out of reach"},
                {"forward", "SPEC", "Forward a port of the host, such as tcp::8080-:80"},
                {"quiet", NULL, "Do not print the address and the name"},
            },
        .positional_min = 2,
        .positional_max = INT_MAX,
        .stops_at_positional = true,
    },
    {
        .name = "connect",
        .arguments = "[NET] HOST PORT",
        .summary = "Connect to a machine's TCP port",
        .details = "Joins standard input and output to the port, coming from the gateway. HOST is\n"
                   "a name or an address on the network. Without NET, HOST is written as\n"
                   "NAME.NET.vmnet, or NAME.vmnet for the network 'shared'; so one entry of\n"
                   "ssh_config(5) is enough for all machines: Host *.vmnet, with\n"
                   "ProxyCommand vmnet connect %h %p\n",
        .positional_min = 2,
        .positional_max = 3,
    },
    {
        .name = "forward",
        .arguments = "NET add|rm|ls [SPEC...]",
        .summary = "Forward ports of the host to machines",
        .details = "SPEC is PROTO:[HOSTADDR]:HOSTPORT[-LASTPORT]-GUEST:GUESTPORT, such as\n"
                   "tcp::8080-web:80; rm takes it as ls shows it, or up to HOSTPORT. HOSTADDR is\n"
                   "127.0.0.1 unless it is given. A forward lasts as long as the network runs.\n"
                   "add prints what it has added.\n",
        .options = {{"json", NULL, "Print JSON, for programs (ls)"}},
        .positional_min = 2,
        .positional_max = INT_MAX,
    },
    {
        .name = "capture",
        .arguments = "[OPTIONS] NET [FILTER...]",
        .summary = "Capture frames as pcapng",
        .details = "All frames that pass on the network, each once, or those of one port. FILTER\n"
                   "is as in pcap-filter(7). Ends with the network, by ctrl-c, or when nobody\n"
                   "reads any more. Live: vmnet capture NET | wireshark -k -i -\n",
        .options =
            {
                {"port", "PORT", "Only this port: an interface or a machine's name"},
                {"write", "FILE", "Where to write; - is standard output, the default", 'w'},
                {"count", "NUMBER", "End after so many frames"},
                {"snaplen", "BYTES", "Cut frames that are longer"},
            },
        .positional_min = 1,
        .positional_max = INT_MAX,
    },
    {
        .name = "up",
        .arguments = "[OPTIONS] [NAME]",
        .summary = "Make a lasting network",
        .details =
            "A shared network reaches what the user reaches, through a NAT, and the host; a\n"
            "host network the host and nothing beyond. A bridged one, which joins a\n"
            "physical network, is the system's: an administrator defines it.\n"
            "\n"
            "The network stays until 'vmnet down', with or without ports. One that a port\n"
            "has started is made lasting. Without NAME, which then needs an option, the\n"
            "name is made from the mode and the addresses. The name is printed.\n"
            "\n"
            "The three addresses come together or not at all. Without them the network\n"
            "picks a subnet that no route of the host uses, and keeps it.\n"
            "\n"
            "A network with a configuration file, openvmnet.conf(5), is what the file\n"
            "says; options that contradict it are refused. Where root starts one that has\n"
            "a file in /etc/openvmnet it is the system's, and there for other users.\n",
        .options =
            {
                {"mode", "MODE", "shared (the default), host or bridged"},
                {"start-address", "ADDRESS", "The gateway's address; the pool begins after it"},
                {"end-address", "ADDRESS", "The last address of the pool"},
                {"subnet-mask", "MASK", "The mask of the subnet, such as 255.255.255.0"},
                {"nat66-prefix", "PREFIX", "The IPv6 prefix of a shared network, a ULA /64"},
                {"dhcp-range", "FIRST-LAST", "The part of the pool that is given out by itself"},
                {"dhcp-host", "MAC,ADDRESS", "Keep an address for a machine; may repeat"},
                {"net-uuid", "UUID", "A host network without DHCP; in place of NAME"},
                {"host-ip-address", "ADDRESS", "Beside --net-uuid: the host's address there"},
                {"host-subnet-mask", "MASK", "and its mask"},
                {"host-ipv6-address", "ADDRESS", "and its IPv6 address, of which the /64 follows"},
                {"ifname", "INTERFACE", "The interface that a bridged network joins"},
                {"mtu", "BYTES", "Largest packet, 1280 to 65520; by default 1500"},
                {"workers", "N", "Threads of the way out, 1 to 8; by default one a CPU"},
                {"dhcp", "SWITCH", "off: guests get no IPv4 address, and choose their own"},
                {"dns", "SWITCH", "off: no DNS server, and none that guests are told of"},
                {"ra", "SWITCH", "off: no IPv6 router advertisements"},
                {"nat44", "SWITCH", "off: IPv4 reaches the host and nothing beyond"},
                {"nat66", "SWITCH", "off: IPv6 reaches the host and nothing beyond"},
                {"host-loopback", "SWITCH", "on: the gateway's address is the host's loopback"},
                {"host-ports", "PORTS", "Host ports that guests reach: 22,8000-8100 or none"},
            },
        .positional_max = 1,
    },
    {
        .name = "down",
        .arguments = "[OPTIONS] NAME",
        .summary = "End a network",
        .details =
            "Waits until the network is gone. A network with attached ports is left alone,\n"
            "unless --force is given: then their links go down for good, and the VMs go on\n"
            "without a network. What a network of the system that was killed has left on the\n"
            "host is removed. One that systemd listens for starts again: what ends that is\n"
            "'systemctl stop openvmnet@NAME.socket'.\n",
        .options =
            {
                {"force", NULL, "End it even while ports are attached"},
            },
        .positional_min = 1,
        .positional_max = 1,
    },
    {
        .name = "ls",
        .arguments = "[OPTIONS]",
        .summary = "List the networks that there are",
        .details =
            "One line a network: its name, mode and subnets, how many ports are attached,\n"
            "its state, and whether it is the system's or your own. It is running until its\n"
            "last port goes, lasting until 'vmnet down', or listening: the service manager\n"
            "starts it for its first machine. Listing it does not.\n",
        .options = {{"json", NULL, "Print JSON, for programs"}},
    },
    {
        .name = "status",
        .arguments = "[OPTIONS] [NET]",
        .summary = "Show networks with their ports and counters",
        .details = "Without NET all networks that run. Each port with its machine's name and\n"
                   "addresses, what has passed and what passes in a second (up is from the\n"
                   "machine), why frames were dropped, and the process that holds it; where\n"
                   "port forwards lead; flows that are open; counters that are not zero.\n"
                   "Amounts are in bytes, in thousands (k), millions (M) and so on.\n"
                   "\n"
                   "With --json the whole state: an object for the network NET, an array of\n"
                   "such objects without.\n",
        .options = {{"json", NULL, "Print JSON, for programs"}},
        .positional_max = 1,
    },
    {
        .name = "check",
        .arguments = "[OPTIONS] FILE",
        .summary = "Check the configuration file of a network",
        .details = "FILE is NAME.conf for the network NAME, and may be anywhere; what it says is\n"
                   "in openvmnet.conf(5). Prints what the network is, or the first line that is\n"
                   "wrong and why. Nothing is started.\n",
        .positional_min = 1,
        .positional_max = 1,
    },
    {
        .name = "top",
        .arguments = "[OPTIONS] [NET]",
        .summary = "Watch what passes at each port",
        .details = "A screen that is renewed: bytes and packets in a second (up is from the\n"
                   "machine), frames dropped since the port is there, and who holds it.\n"
                   "Without NET all networks, also those that come later.\n"
                   "\n"
                   "Keys: u, d, n and r sort by up, down, name and drops; q quits.\n",
        .options = {{"interval", "SECONDS", "Time between two looks; 1 without it"}},
        .positional_max = 1,
    },
    {
        .name = "metrics",
        .arguments = "[NET]",
        .summary = "Print the state as OpenMetrics text",
        .details = "Of the network NET, or of all that run: what monitoring reads, such as the\n"
                   "textfile collector of node_exporter. All names begin with openvmnet_; up is\n"
                   "from the machines, down to them.\n",
        .positional_max = 1,
    },
    {
        .name = "interfaces",
        .arguments = "[OPTIONS]",
        .summary = "List what could be bridged",
        .details = "The host's network interfaces: what each is, its state, whether a default\n"
                   "route leads there, and by which way machines can be bridged to it:\n"
                   "  wired        the host's addresses, routes and links stay as they are\n"
                   "  bridge, openvswitch  they become ports of that bridge\n"
                   "  nftables     the same, where filters (tc) on it do not do\n"
                   "  mac-nat      under the interface's own MAC address, IP only: Wi-Fi\n"
                   "  no           for the reason that is given\n"
                   "\n"
                   "A bridged network is the system's: an administrator defines it.\n",
        .options = {{"json", NULL, "Print JSON, for programs"}},
    },
    {
        .name = "help",
        .arguments = "[COMMAND]",
        .summary = "Tell how a command is used",
        .details = "Without COMMAND the list of commands. The same as 'vmnet COMMAND --help'.\n",
        .options =
            {
                {"man", NULL, NULL},
                {"completion", "SHELL", NULL},
                {"names", NULL, NULL},
            },
        .positional_max = 1,
    },
    {.name = NULL},
};
