/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command lines in, command lines or messages out. In the tables the arguments of a command are
 * separated by "|". The ports of a case get descriptors from 10 (vhost: 20) on, and the MAC that the
 * command line gives or the next of MAC0, MAC1.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/keyvalue.h"
#include "cli/qemu_args.h"

#define ARGS_MAX 300
#define TEXT_MAX 8192

#define SHARED "vmnet-shared"
#define MAC0 "52:56:00:00:00:01"
#define MAC1 "52:56:00:00:00:02"
#define UUID "12345678-1234-1234-1234-123456789abc"

struct rewrite_case {
    const char *title;
    const char *in;
    const char *out;
    /* What each port is asked for, "network name mac", ';' between them; NULL: not looked at. */
    const char *requests;
    const char *network; /* --network, --name and --way of vmnet run */
    const char *name;
    enum port_kind kind;
    bool vhost;
    const char *nics[4]; /* --nic and --forward */
    const char *forwards[4];
};

struct error_case {
    const char *title;
    const char *in;
    const char *text; /* part of the message */
    const char *nics[4];
    const char *forwards[2];
    enum port_kind kind;
    int code; /* 0: -EINVAL */
};

/* Cuts @line at each '|'; the elements lie within it. */
static void split(char *line, char *argv[ARGS_MAX])
{
    size_t argc = 0;

    while (line && argc < ARGS_MAX - 1) {
        argv[argc++] = line;
        line = strchr(line, '|');
        if (line)
            *line++ = '\0';
    }
    argv[argc] = NULL;
}

static void join(char *const *argv, char text[TEXT_MAX])
{
    size_t len = 0;

    text[0] = '\0';
    for (; *argv; argv++)
        len += (size_t)snprintf(text + len, TEXT_MAX - len, "%s%s", len ? "|" : "", *argv);
}

static void check_requests(const struct rewrite_case *test, const struct qemu_args *args)
{
    char text[TEXT_MAX] = "", mac[MAC_TEXT_MAX];
    size_t len = 0;

    for (size_t i = 0; i < args->count; i++) {
        const struct port_spec *request = &args->nics[i].request;

        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s %s %s", i ? ";" : "",
                                args->nics[i].spec.name, *request->name ? request->name : "-",
                                request->mac_given ? mac_format(&request->mac, mac) : "-");
    }
    if (strcmp(text, test->requests) != 0)
        fail_msg("%s: requests '%s', not '%s'", test->title, text, test->requests);
}

/* A port as the network would answer. */
static void fill_port(const struct qemu_nic *nic, unsigned index, struct client_port *port)
{
    static const char *const macs[] = {MAC0, MAC1, "52:56:00:00:00:03"};

    *port = (struct client_port){.fd = 10 + (int)index, .mtu = 1500};
    snprintf(port->network, sizeof(port->network), "%s", nic->spec.name);
    snprintf(port->interface, sizeof(port->interface), "tap%u", index);
    snprintf(port->ipv4, sizeof(port->ipv4), "192.168.64.%u/24", index + 2);
    snprintf(port->gateway, sizeof(port->gateway), "192.168.64.1");
    snprintf(port->mac, sizeof(port->mac), "%s", macs[index]);
    if (nic->request.mac_given)
        mac_format(&nic->request.mac, port->mac);
    if (nic->way.path)
        snprintf(port->socket, sizeof(port->socket), "/run/p%u", index);
}

static void check_rewrite(const struct rewrite_case *test)
{
    struct qemu_args_defaults defaults = {.network = test->network,
                                          .name = test->name,
                                          .kind = test->kind,
                                          .fd_kind = test->kind,
                                          .nics = test->nics,
                                          .forwards = test->forwards};
    struct client_port ports[3];
    struct qemu_args_port given[3];
    char line[TEXT_MAX], text[TEXT_MAX];
    char *argv[ARGS_MAX], **result;
    struct qemu_args args;
    struct err err = {0};

    snprintf(line, sizeof(line), "%s", test->in);
    split(line, argv);
    if (qemu_args_parse(argv, &defaults, &args, &err) != 0)
        fail_msg("%s: %s", test->title, err.text);
    assert_in_range(args.count, 1, 3);
    for (unsigned i = 0; i < args.count; i++) {
        fill_port(&args.nics[i], i, &ports[i]);
        given[i] =
            (struct qemu_args_port){.port = &ports[i], .vhost_fd = test->vhost ? 20 + (int)i : -1};
    }
    if (qemu_args_rewrite(&args, given, &result, &err) != 0)
        fail_msg("%s: %s", test->title, err.text);
    join(result, text);
    if (strcmp(text, test->out) != 0)
        fail_msg("%s: '%s', not '%s'", test->title, text, test->out);
    if (test->requests)
        check_requests(test, &args);
    qemu_argv_free(result);
    qemu_args_done(&args);
}

static const struct rewrite_case rewrite_cases[] = {
    {.title = "the origin's netdev, device without MAC",
     .in = "qemu|-netdev|vmnet-macos,id=n0,mode=shared|-device|virtio-net-pci,netdev=n0",
     .out = "qemu|-netdev|tap,id=n0,fd=10|-device|virtio-net-pci,netdev=n0,mac=" MAC0,
     .requests = "shared - -"},
    {.title = "mode is shared where it is left out",
     .in = "qemu|-netdev|vmnet-macos,id=n0",
     .out = "qemu|-netdev|tap,id=n0,fd=10"},
    {.title = "two dashes, type= written out, not first",
     .in = "qemu|--netdev|id=n0,type=" SHARED "|--device|netdev=n0,driver=e1000",
     .out = "qemu|--netdev|tap,id=n0,fd=10|--device|netdev=n0,driver=e1000,mac=" MAC0},
    {.title = "vhost",
     .in = "qemu|-netdev|" SHARED ",id=n0|-nic|" SHARED,
     .vhost = true,
     .out = "qemu|-netdev|tap,id=n0,fd=10,vhost=on,vhostfd=20"
            "|-nic|tap,fd=11,vhost=on,vhostfd=21,mac=" MAC1},
    {.title = "JSON netdev and device",
     .in = "qemu|-netdev|{\"type\":\"" SHARED "\",\"id\":\"n0\",\"hostname\":\"db\"}"
           "|-device|{\"driver\":\"virtio-net-pci\",\"netdev\":\"n0\",\"mq\":false}",
     .out = "qemu|-netdev|{\"type\":\"tap\",\"id\":\"n0\",\"fd\":\"10\"}"
            "|-device|{\"driver\":\"virtio-net-pci\",\"netdev\":\"n0\",\"mq\":false,"
            "\"mac\":\"" MAC0 "\"}",
     .requests = "shared db -"},
    {.title = "JSON with vhost",
     .in = "qemu|-netdev|{\"id\":\"n0\",\"type\":\"vmnet-macos\",\"mode\":\"shared\"}",
     .vhost = true,
     .out = "qemu|-netdev|{\"type\":\"tap\",\"id\":\"n0\",\"fd\":\"10\",\"vhost\":true,"
            "\"vhostfd\":\"20\"}"},
    {.title = "MAC on the device",
     .in = "qemu|-device|virtio-net-pci,mac=52-54-00-AA-BB-CC,netdev=n0|-netdev|" SHARED ",id=n0",
     .out = "qemu|-device|virtio-net-pci,mac=52-54-00-AA-BB-CC,netdev=n0|-netdev|tap,id=n0,fd=10",
     .requests = "shared - 52:54:00:aa:bb:cc"},
    {.title = "MAC on a JSON device",
     .in = "qemu|-netdev|" SHARED ",id=n0|-device|"
           "{\"driver\":\"e1000\",\"netdev\":\"n0\",\"mac\":\"52:54:00:01:02:03\"}",
     .out = "qemu|-netdev|tap,id=n0,fd=10|-device|"
            "{\"driver\":\"e1000\",\"netdev\":\"n0\",\"mac\":\"52:54:00:01:02:03\"}",
     .requests = "shared - 52:54:00:01:02:03"},
    {.title = "only the device of the netdev gets the MAC",
     .in = "qemu|-device|usb-tablet|-device|e1000,netdev=n00|-device|e1000,netdev=n0|-device"
           "|e1000,netdev=u0|-netdev|user,id=u0|-netdev|" SHARED ",id=n0",
     .out = "qemu|-device|usb-tablet|-device|e1000,netdev=n00|-device|e1000,netdev=n0,mac=" MAC0
            "|-device|e1000,netdev=u0|-netdev|user,id=u0|-netdev|tap,id=n0,fd=10"},
    {.title = "the older -net nic",
     .in = "qemu|-netdev|" SHARED ",id=n0|-net|user,netdev=n0|-net|nic,netdev=n0",
     .out = "qemu|-netdev|tap,id=n0,fd=10|-net|user,netdev=n0|-net|nic,netdev=n0,macaddr=" MAC0},
    {.title = "a comma at a device's end stays a separator",
     .in = "qemu|-netdev|" SHARED ",id=n0|-device|e1000,netdev=n0,",
     .out = "qemu|-netdev|tap,id=n0,fd=10|-device|e1000,netdev=n0,mac=" MAC0},
    {.title = "a doubled comma at a device's end is a comma",
     .in = "qemu|-netdev|" SHARED ",id=n0|-device|e1000,netdev=n0,x=a,,",
     .out = "qemu|-netdev|tap,id=n0,fd=10|-device|e1000,netdev=n0,x=a,,,mac=" MAC0},
    {.title = "-nic with its own MAC and model",
     .in = "qemu|-nic|" SHARED ",model=virtio-net-pci,mac=52:54:00:01:02:03,hostname=db",
     .out = "qemu|-nic|tap,fd=10,model=virtio-net-pci,mac=52:54:00:01:02:03",
     .requests = "shared db 52:54:00:01:02:03"},
    {.title = "-nic passes on what it does not know, commas doubled",
     .in = "qemu|--nic|" SHARED ",id=n0,model=e1000,alias=a,,b,network=lab,flag",
     .out = "qemu|--nic|tap,id=n0,fd=10,model=e1000,alias=a,,b,flag=on,mac=" MAC0,
     .requests = "lab - -"},
    {.title = "several NICs of one VM",
     .in = "qemu|-name|guest=VM_1,debug-threads=on|-netdev|" SHARED ",id=lan|-netdev|" SHARED
           ",id=Other.2|-nic|" SHARED,
     .out = "qemu|-name|guest=VM_1,debug-threads=on|-netdev|tap,id=lan,fd=10|-netdev|"
            "tap,id=Other.2,fd=11|-nic|tap,fd=12,mac=52:56:00:00:00:03",
     .requests = "shared vm-1 -;shared vm-1-other-2 -;shared vm-1-3 -"},
    {.title = "one name on each network; hostname= goes before it",
     .in = "qemu|-name|vm|-nic|" SHARED "|-nic|" SHARED ",network=lab|-nic|" SHARED ",hostname=db",
     .out = "qemu|-name|vm|-nic|tap,fd=10,mac=" MAC0 "|-nic|tap,fd=11,mac=" MAC1
            "|-nic|tap,fd=12,mac=52:56:00:00:00:03",
     .requests = "shared vm -;lab vm -;shared db -"},
    {.title = "--name before -name, --network for ports without one",
     .in = "qemu|-name|foo|-nic|" SHARED "|-nic|" SHARED ",network=a.b-c",
     .name = "bar",
     .network = "lab",
     .out = "qemu|-name|foo|-nic|tap,fd=10,mac=" MAC0 "|-nic|tap,fd=11,mac=" MAC1,
     .requests = "lab bar -;a.b-c bar -"},
    {.title = "a name of which nothing is left",
     .in = "qemu|-name|___|-nic|" SHARED,
     .out = "qemu|-name|___|-nic|tap,fd=10,mac=" MAC0,
     .requests = "shared - -"},
    {.title = "a comma in a name",
     .in = "qemu|-name|a,,b|-nic|" SHARED,
     .out = "qemu|-name|a,,b|-nic|tap,fd=10,mac=" MAC0,
     .requests = "shared a-b -"},
    {.title = "behind a wrapper",
     .in = "sudo|-C|99|env|X=1|qemu-system-x86_64|-netdev|" SHARED ",id=n0",
     .out = "sudo|-C|99|env|X=1|qemu-system-x86_64|-netdev|tap,id=n0,fd=10"},
    {.title = "default NIC, with virtio",
     .in = "/usr/bin/qemu-system-x86_64|-m|1G|-name|vm",
     .vhost = true,
     .out = "/usr/bin/qemu-system-x86_64|-m|1G|-name|vm|-nic|"
            "tap,fd=10,vhost=on,vhostfd=20,model=virtio-net-pci,mac=" MAC0,
     .requests = "shared vm -"},
    {.title = "default NIC of a QEMU by a distribution's name",
     .in = "/usr/libexec/qemu-kvm|-m|1G",
     .out = "/usr/libexec/qemu-kvm|-m|1G|-nic|tap,fd=10,model=virtio-net-pci,mac=" MAC0},
    {.title = "the same, by another",
     .in = "kvm",
     .out = "kvm|-nic|tap,fd=10,model=virtio-net-pci,mac=" MAC0},
    {.title = "default NIC, the board's own",
     .in = "qemu-system-arm",
     .network = "lab",
     .name = "pi",
     .out = "qemu-system-arm|-nic|tap,fd=10,mac=" MAC0,
     .requests = "lab pi -"},
    {.title = "default NIC on a machine without PCI",
     .in = "qemu-system-x86_64|-machine|q35,accel=tcg|-M|microvm,rtc=on|-machine|acpi=off",
     .vhost = true,
     .out = "qemu-system-x86_64|-machine|q35,accel=tcg|-M|microvm,rtc=on|-machine|acpi=off|-netdev|"
            "tap,id=vmnet0,fd=10,vhost=on,vhostfd=20|-device|virtio-net-device,netdev=vmnet0,"
            "mac=" MAC0},
    {.title = "-nic there, with and without what QEMU would take for it",
     .in =
         "qemu|--machine|type=microvm|-nic|" SHARED ",id=x,speed=1000|-nic|" SHARED ",model=e1000",
     .out = "qemu|--machine|type=microvm|-netdev|tap,id=x,fd=10|-device|virtio-net-device,netdev=x,"
            "speed=1000,mac=" MAC0 "|-nic|tap,fd=11,model=e1000,mac=" MAC1},
    {.title = "-nic there, by dgram",
     .kind = PORT_DGRAM,
     .in = "qemu|-M|microvm|-nic|" SHARED,
     .out = "qemu|-M|microvm|-netdev|dgram,id=vmnet0,local.type=fd,local.str=10|-device|"
            "virtio-net-device,netdev=vmnet0,mac=" MAC0},
    {.title = "the last machine type is the one",
     .in = "qemu-system-x86_64|-M|microvm|-M|q35",
     .out = "qemu-system-x86_64|-M|microvm|-M|q35|-nic|tap,fd=10,model=virtio-net-pci,mac=" MAC0},
    {.title = "default NIC beside a network of another type",
     .in = "qemu-system-aarch64|-netdev|user,id=u0|-nic|none",
     .out = "qemu-system-aarch64|-netdev|user,id=u0|-nic|none|-nic|"
            "tap,fd=10,model=virtio-net-pci,mac=" MAC0},
    {.title = "an option without its value is QEMU's to refuse",
     .in = "qemu-system-arm|-netdev",
     .out = "qemu-system-arm|-netdev|-nic|tap,fd=10,mac=" MAC0},
    {.title = "so is what is neither JSON nor ours",
     .in = "qemu|-netdev|{'type':'user'}|-nic|" SHARED,
     .out = "qemu|-netdev|{'type':'user'}|-nic|tap,fd=10,mac=" MAC0},
    {.title = "nested JSON of others",
     .in = "qemu|-netdev|{\"type\":\"stream\",\"id\":\"s\",\"addr\":{\"type\":\"unix\"}}|-"
           "nic|" SHARED,
     .out = "qemu|-netdev|{\"type\":\"stream\",\"id\":\"s\",\"addr\":{\"type\":\"unix\"}}"
            "|-nic|tap,fd=10,mac=" MAC0},
    {.title = "an option's name as another's value",
     .in = "qemu|-append|-nic " SHARED "|-nic|" SHARED,
     .out = "qemu|-append|-nic " SHARED "|-nic|tap,fd=10,mac=" MAC0},
    {.title = "host",
     .in = "qemu|-netdev|vmnet-host,id=n0|-nic|vmnet-macos,mode=host,network=lab",
     .out = "qemu|-netdev|tap,id=n0,fd=10|-nic|tap,fd=11,mac=" MAC1,
     .requests = "host - -;lab - -"},
    {.title = "a UUID is a name: --network is not for it",
     .in = "qemu|-nic|vmnet-host,net-uuid=" UUID "|-nic|" SHARED,
     .network = "lab",
     .out = "qemu|-nic|tap,fd=10,mac=" MAC0 "|-nic|tap,fd=11,mac=" MAC1,
     .requests = "host-" UUID " - -;lab - -"},
    {.title = "braces that mean nothing stay, doubled ones lose a pair",
     .in = "qemu-system-arm|-append|{a} {} {fd {FD} {{x}} {{fd}} {fd-1}",
     .out = "qemu-system-arm|-append|{a} {} {fd {FD} {{x}} {fd} {fd-1}|-nic|tap,fd=10,mac=" MAC0},

    {.title = "stream netdev",
     .kind = PORT_STREAM,
     .in = "qemu|-netdev|" SHARED ",id=n0|-device|e1000,netdev=n0",
     .out = "qemu|-netdev|stream,id=n0,server=off,addr.type=fd,addr.str=10|-device|"
            "e1000,netdev=n0,mac=" MAC0},
    {.title = "stream netdev, JSON",
     .kind = PORT_STREAM,
     .in = "qemu|-netdev|{\"type\":\"" SHARED "\",\"id\":\"n0\"}",
     .out = "qemu|-netdev|{\"type\":\"stream\",\"id\":\"n0\",\"server\":false,"
            "\"addr\":{\"type\":\"fd\",\"str\":\"10\"}}"},
    {.title = "dgram netdev",
     .kind = PORT_DGRAM,
     .in = "qemu|--netdev|" SHARED ",id=n0",
     .out = "qemu|--netdev|dgram,id=n0,local.type=fd,local.str=10"},
    {.title = "dgram netdev, JSON",
     .kind = PORT_DGRAM,
     .in = "qemu|-netdev|{\"type\":\"" SHARED "\",\"id\":\"n0\"}",
     .out = "qemu|-netdev|{\"type\":\"dgram\",\"id\":\"n0\",\"local\":{\"type\":\"fd\","
            "\"str\":\"10\"}}"},
    {.title = "-nic has no stream: two options, in its place",
     .kind = PORT_STREAM,
     .in = "qemu|--nic|" SHARED ",model=e1000|-m|1G|-nic|" SHARED ",id=x",
     .out = "qemu|-netdev|stream,id=vmnet0,server=off,addr.type=fd,addr.str=10|-net|nic,"
            "netdev=vmnet0,model=e1000,macaddr=" MAC0 "|-m|1G|-netdev|"
            "stream,id=x,server=off,addr.type=fd,addr.str=11|-net|nic,netdev=x,macaddr=" MAC1},
    {.title = "default NIC by dgram",
     .kind = PORT_DGRAM,
     .in = "qemu-system-x86_64",
     .out = "qemu-system-x86_64|-netdev|dgram,id=vmnet0,local.type=fd,local.str=10|-net|nic,"
            "netdev=vmnet0,model=virtio-net-pci,macaddr=" MAC0},
    {.title = "a default NIC for each --nic",
     .in = "qemu-system-arm|-name|vm",
     .nics = {"mode=host,mac=52:54:00:01:02:03,hostname=db", "vmnet-shared,network=lab",
              "{\"mode\":\"shared\"}"},
     .network = "all",
     .out = "qemu-system-arm|-name|vm|-nic|tap,fd=10,mac=52:54:00:01:02:03|-nic|tap,fd=11,mac=" MAC1
            "|-nic|tap,fd=12,mac=52:56:00:00:00:03",
     .requests = "all db 52:54:00:01:02:03;lab vm -;all vm -"},

    {.title = "cloud-hypervisor",
     .in = "cloud-hypervisor|--net|fd={fd},mac={mac}",
     .out = "cloud-hypervisor|--net|fd=10,mac=" MAC0,
     .name = "web",
     .requests = "shared web -"},
    {.title = "a datagram socket",
     .in = "krunkit|--device|virtio-net,type=unixgram,path={socket},mac={mac}",
     .out = "krunkit|--device|virtio-net,type=unixgram,path=/run/p0,mac=" MAC0,
     .requests = "shared - -"},
    {.title = "all placeholders, of two ports, in JSON",
     .in = "vmm|{\"fd\":{fd},\"a\":[\"{tap}\",\"{mac}\",{\"ip\":\"{ip}\",\"mtu\":{mtu}}]}|{gateway}"
           "|{socket2}{tap2}{mac2}{ip2}{gateway2}{mtu2}|{fd1}",
     .out = "vmm|{\"fd\":10,\"a\":[\"tap0\",\"" MAC0 "\",{\"ip\":\"192.168.64.2\",\"mtu\":1500}]}|"
            "192.168.64.1|/run/p1tap1" MAC1 "192.168.64.3192.168.64.11500|10",
     .requests = "shared - -;shared - -"},
    {.title = "--nic, --network and --name for placeholders",
     .in = "vmm|{fd}|{fd2}|{fd3}|--name|ignored",
     .nics = {"network=lab,mac=52:54:00:01:02:03", "mode=host"},
     .network = "net",
     .name = "web",
     .out = "vmm|10|11|12|--name|ignored",
     .requests = "lab web 52:54:00:01:02:03;net web -;net web-2 -"},
    {.title = "--way for placeholders", .kind = PORT_STREAM, .in = "vmm|{fd}", .out = "vmm|10"},
    {.title = "{socket} beside --way dgram",
     .kind = PORT_DGRAM,
     .in = "vmm|{fd}|{socket2}",
     .out = "vmm|10|/run/p1"},
    {.title = "a QEMU with placeholders gets no default NIC",
     .in = "qemu-system-arm|-netdev|tap,id=a,fd={fd}|-device|e1000,netdev=a,mac={mac}",
     .out = "qemu-system-arm|-netdev|tap,id=a,fd=10|-device|e1000,netdev=a,mac=" MAC0},
};

static void test_rewrite(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rewrite_cases) / sizeof(rewrite_cases[0]); i++)
        check_rewrite(&rewrite_cases[i]);
}

static const struct error_case error_cases[] = {
    {"no id", "q|-netdev|" SHARED, "option 'id' is missing"},
    {"empty id", "q|-netdev|" SHARED ",id=", "'' is no valid id"},
    {"id with a comma", "q|-netdev|" SHARED ",id=a,,b", "'a,b' is no valid id"},
    {"id that begins with a digit", "q|-nic|" SHARED ",id=0", "'0' is no valid id"},
    {"the same id twice", "q|-netdev|" SHARED ",id=a|-nic|" SHARED ",id=a", "the id 'a' already"},
    {"unknown type", "q|-nic|vmnet-nat", "no network type 'vmnet-nat'; the types are: vmnet-macos"},
    {"unknown option", "q|-netdev|" SHARED ",id=a,foo=b",
     "-netdev '" SHARED ",id=a,foo=b': unknown option 'foo'; the options of vmnet-shared are: id, "
     "network, start-address, end-address, subnet-mask, dhcp-range, dhcp-host, nat66-prefix, mtu, "
     "workers, dhcp, dns, ra, nat44, nat66, host-loopback, host-ports, isolated, hostname, "
     "interface-id, "
     "anti-spoof, forward"},
    {"unknown switch", "q|-netdev|vmnet-macos,id=a,foo",
     "the options of vmnet-macos are: id, mode, network, start-address, end-address, subnet-mask, "
     "dhcp-range, dhcp-host, nat66-prefix, net-uuid, host-ip-address, host-subnet-mask, "
     "host-ipv6-address, ifname, mtu, workers, dhcp, dns, ra, nat44, nat66, host-loopback"},
    {"hostfwd", "q|-netdev|" SHARED ",id=a,hostfwd=tcp::2222-:22",
     "option 'hostfwd' is not one of vmnet-shared: write forward=PROTO:"},
    {"net, which is no property of a device", "q|-nic|vmnet-host,net=10.0.2.0/24",
     "option 'net' is not one of vmnet-host: write start-address"},
    {"ipv6-net, with an underscore", "q|-nic|" SHARED ",ipv6_net=fd00::", "write nat66-prefix"},
    {"restrict, JSON", "q|-netdev|{\"type\":\"" SHARED "\",\"id\":\"a\",\"restrict\":true}",
     "write nat44=off, nat66=off and host-ports=none"},
    {"hostfwd, JSON as QEMU has it",
     "q|-netdev|{\"type\":\"" SHARED "\",\"id\":\"a\",\"hostfwd\":[{\"str\":\"tcp::2222-:22\"}]}",
     "option 'hostfwd' is not one of vmnet-shared: write forward=PROTO:"},
    {"restrict, where there is no NAT", "q|-nic|vmnet-host,restrict=on",
     "option 'restrict' is not one of vmnet-host: leave it out"},
    {"net, bridged", "q|-nic|vmnet-bridged,net=10.0.2.0/24",
     "option 'net' is not one of vmnet-bridged: leave it out"},
    {"br, by --nic",
     "vmm|{fd}",
     "option 'br' is not one of vmnet-macos: write network",
     {"br=lab"}},
    {"MAC of a netdev", "q|-netdev|" SHARED ",id=a,mac=52:54:00:00:00:01",
     "option 'mac' does not belong to a netdev: give it to the -device"},

    /* Options that belong to another type. */
    {"mode, shared", "q|-netdev|" SHARED ",id=a,mode=shared",
     "option 'mode' does not belong to vmnet-shared: it is one of vmnet-macos"},
    {"mode, host", "q|-nic|vmnet-host,mode=host", "not belong to vmnet-host: it is one of vmnet-m"},
    {"mode, bridged", "q|-nic|vmnet-bridged,mode=shared", "not belong to vmnet-bridged"},
    {"nat66-prefix, host", "q|-nic|vmnet-host,nat66-prefix=fd00::",
     "-nic 'vmnet-host,nat66-prefix=fd00::': option 'nat66-prefix' does not belong to vmnet-host: "
     "it is one of vmnet-shared"},
    {"nat66-prefix, bridged", "q|-nic|vmnet-bridged,nat66_prefix=fd00::",
     "option 'nat66_prefix' does not belong to vmnet-bridged: it is one of vmnet-shared"},
    {"net-uuid, shared", "q|-nic|" SHARED ",net-uuid=" UUID,
     "option 'net-uuid' does not belong to vmnet-shared: it is one of vmnet-host"},
    {"net-uuid, bridged", "q|-nic|vmnet-bridged,net-uuid=" UUID, "it is one of vmnet-host"},
    {"ifname, shared", "q|-nic|" SHARED ",ifname=eth0",
     "option 'ifname' does not belong to vmnet-shared: it is one of vmnet-bridged"},
    {"ifname, host", "q|-nic|vmnet-host,ifname=eth0", "it is one of vmnet-bridged"},
    {"start-address, bridged", "q|-nic|vmnet-bridged,start-address=192.168.70.1",
     "option 'start-address' does not belong to vmnet-bridged: it is one of vmnet-shared and "
     "vmnet-host"},
    {"dhcp_end_address, bridged", "q|-nic|vmnet-bridged,dhcp_end_address=192.168.70.1",
     "option 'dhcp_end_address' does not belong to vmnet-bridged"},
    {"host-ports, bridged", "q|-nic|vmnet-bridged,host-ports=22",
     "option 'host-ports' does not belong to vmnet-bridged: it is one of vmnet-shared and "
     "vmnet-host"},
    {"subnet-mask, bridged", "q|-nic|vmnet-bridged,subnet-mask=255.255.255.0",
     "option 'subnet-mask' does not belong to vmnet-bridged"},

    /* The same with the origin's type, where the mode tells. */
    {"nat66-prefix, mode host",
     "q|-nic|vmnet-macos,mode=host,nat66-prefix=fd00::", "nat66-prefix=fd00:: is set in mode=host"},
    {"nat66-prefix, mode bridged", "q|-nic|vmnet-macos,nat66-prefix=fd00::,mode=bridged",
     "is set in mode=bridged"},
    {"net-uuid, mode shared", "q|-nic|vmnet-macos,net-uuid=" UUID, "is set in mode=shared"},
    {"net-uuid, mode bridged", "q|-nic|vmnet-macos,mode=bridge,net-uuid=" UUID, "in mode=bridged"},
    {"ifname, mode shared", "q|-nic|vmnet-macos,ifname=en0", "ifname=en0 is set in mode=shared"},
    {"ifname, mode host", "q|-nic|vmnet-macos,mode=host,ifname=en0", "is set in mode=host"},
    {"DHCP, mode bridged", "q|-nic|vmnet-macos,mode=bridged,dhcp_start_address=192.168.70.1",
     "start-address is set in mode=bridged"},
    {"net-uuid with addresses",
     "q|-nic|vmnet-host,net-uuid=" UUID ",start-address=192.168.70.1,end-address=192.168.70.9,"
     "subnet-mask=255.255.255.0",
     "is set together with start-address"},
    {"net-uuid with a name", "q|-nic|vmnet-host,network=lab,net-uuid=" UUID,
     "together with the network name 'lab'"},

    /* Values. */
    {"mode", "q|-nic|vmnet-macos,mode=nat", "unknown mode 'nat'"},
    {"net-uuid", "q|-nic|vmnet-host,net_uuid=1", "net-uuid=1 is not a UUID"},
    {"nat66-prefix", "q|-nic|" SHARED ",nat66-prefix=2001:db8::", "not in fd00::/8"},
    {"ifname", "q|-nic|vmnet-bridged,ifname=a/b", "ifname=a/b is not the name of an interface"},
    {"mtu", "q|-nic|" SHARED ",mtu=1279", "mtu=1279 is not a number of bytes from 1280 to 65520"},
    {"mtu, a number in JSON", "q|-netdev|{\"type\":\"" SHARED "\",\"id\":\"a\",\"mtu\":65521}",
     "mtu=65521"},
    {"mtu, a boolean", "q|-netdev|{\"type\":\"" SHARED "\",\"id\":\"a\",\"mtu\":true}",
     "mtu=on is"},
    {"isolated", "q|-nic|" SHARED ",isolated=maybe", "isolated=maybe is neither on nor off"},
    {"isolated, a number", "q|-netdev|{\"type\":\"" SHARED "\",\"id\":\"a\",\"isolated\":1}",
     "isolated=1 is neither on nor off"},
    {"anti-spoof", "q|-nic|" SHARED ",anti_spoof=", "anti-spoof= is none of on, off and auto"},
    {"forward", "q|-nic|" SHARED ",forward=tcp::22", "-nic 'vmnet-shared,forward=tcp::22': "},
    {"second forward", "q|-nic|" SHARED ",forward=tcp::22-:22,forward=sctp::1-:1", "sctp"},
    {"forward in an array",
     "q|-netdev|{\"type\":\"" SHARED "\",\"id\":\"a\",\"forward\":[\"tcp::22-:22\",\"x\"]}",
     "-netdev '{"},
    {"a number in that array", "q|-netdev|{\"type\":\"" SHARED "\",\"id\":\"a\",\"forward\":[[]]}",
     "option 'forward' must be a string, an integer or a boolean, or an array of them"},
    {"an array of what does not repeat", "q|-netdev|{\"type\":\"" SHARED "\",\"id\":[\"a\",\"b\"]}",
     "option 'id' takes one value, not an array of them"},
    {"an array of an option of ours",
     "q|-netdev|{\"type\":\"" SHARED "\",\"id\":\"a\",\"network\":[\"b\"]}",
     "option 'network' takes one value"},

    /* What vmnet run is given beside the command. */
    {"--forward", "qemu-system-arm", "--forward 'tcp::x-:22': ", {0}, {"tcp::x-:22"}},
    {"--nic beside an option",
     "q|-nic|" SHARED,
     "--nic 'mode=host': the command has a network of its own, '" SHARED "'",
     {"mode=host"}},
    {"--nic, unknown option",
     "vmm|{fd}",
     "--nic 'colour=red': unknown option 'colour'; the options of vmnet-macos are: mode, network",
     {"colour=red"}},
    {"--nic, an id", "vmm|{fd}", "unknown option 'id'", {"id=a"}},
    {"--nic, a type", "vmm|{fd}", "no network type 'isolated'", {"isolated"}},
    {"--nic, another type's option",
     "vmm|{fd}",
     "'ifname' does not belong to vmnet-host",
     {"vmnet-host,ifname=a"}},
    {"--nic, half of JSON", "vmm|{fd}", "--nic '{': not JSON", {"{"}},
    {"one --nic too many",
     "vmm|{fd}",
     "--nic 'mode=host': number 2 of them, but the placeholders of the command are those of 1 "
     "port;",
     {"mode=shared", "mode=host"}},
    {"--way stream and {socket}", "vmm|{socket}", "--way stream: {socket}", {0}, {0}, PORT_STREAM},

    /* Placeholders; more in test_placeholders.c. */
    {"beside an option", "q|-nic|" SHARED "|-append|{mac} {fd}",
     "both '" SHARED "' and placeholders"},
    {"no way to the port", "vmm|{mac}", "'{mac}' in the command, but nothing that connects it"},
    {"only in the command's name", "{fd}", "'{fd}': no vmnet network in its arguments"},

    {"network's name", "q|-nic|" SHARED ",network=../x", "-nic 'vmnet-shared,network=../x': "},
    {"host name", "q|-nic|" SHARED ",hostname=a_b", "-nic 'vmnet-shared,hostname=a_b': "},
    {"interface id", "q|-nic|" SHARED ",interface-id=1", "-nic 'vmnet-shared,interface-id=1': "},
    {"an address", "q|-nic|" SHARED ",start-address=192.168.64.x", "192.168.64.x"},
    {"one address of three", "q|-nic|" SHARED ",start-address=192.168.64.1", "subnet-mask"},
    {"JSON object as a value", "q|-netdev|{\"type\":\"" SHARED "\",\"id\":{}}",
     "option 'id' must be a string, an integer or a boolean"},
    {"JSON in single quotes", "q|-netdev|{'type':'" SHARED "','id':'a'}", "double quotes"},
    {"half of JSON", "q|-netdev|{\"type\":\"" SHARED "\"", "not JSON at byte"},
    {"half of JSON, device", "q|-netdev|" SHARED ",id=a|-device|{\"netdev\":\"a\"",
     "-device '{\"netdev\":\"a\"': not JSON"},
    {"MAC", "q|-nic|" SHARED ",mac=52:54:00:12:34", "mac=52:54:00:12:34 is not a MAC address"},
    {"MAC of a device", "q|-netdev|" SHARED ",id=a|-device|e1000,netdev=a,mac=x",
     "-device 'e1000,netdev=a,mac=x': mac=x is not a MAC address"},
    {"multicast MAC", "q|-nic|" SHARED ",mac=53:54:00:12:34:56", "multicast"},
    {"zero MAC", "q|-nic|" SHARED ",mac=00:00:00:00:00:00", "all zero"},
    {"no network at all", "prog|-m|1G", "'prog': no vmnet network in its arguments"},
    {"QEMU behind a wrapper, no network", "sudo|qemu-system-arm", "'sudo': no vmnet network"},
    {"a later argument is wrong", "q|-nic|" SHARED "|-netdev|" SHARED ",id=a,x=1", "option 'x'"},
};

static void test_errors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(error_cases) / sizeof(error_cases[0]); i++) {
        const struct error_case *test = &error_cases[i];
        struct qemu_args_defaults defaults = {.nics = test->nics,
                                              .forwards = test->forwards,
                                              .kind = test->kind,
                                              .fd_kind = test->kind};
        int code = test->code ? test->code : -EINVAL, rc;
        char line[TEXT_MAX];
        char *argv[ARGS_MAX];
        struct qemu_args args;
        struct err err = {0};

        snprintf(line, sizeof(line), "%s", test->in);
        split(line, argv);
        rc = qemu_args_parse(argv, &defaults, &args, &err);
        if (rc != code)
            fail_msg("%s: %d, not %d: %s", test->title, rc, code, err.text);
        if (!strstr(err.text, test->text))
            fail_msg("%s: '%s' lacks '%s'", test->title, err.text, test->text);
        qemu_args_done(&args);
    }
}

/* Which network of QEMU's own is beside the NIC that a command is given. */
static void test_beside(void **state)
{
    static const struct {
        const char *in, *beside; /* "": none */
    } cases[] = {
        {"kvm|-m|1G", ""},
        {"kvm|-nic|none|-net|nic,model=e1000|-netdev", ""},
        {"kvm|-net|nic|-net|user", "user"},
        {"kvm|-netdev|user,id=u|-device|e1000,netdev=u", "user,id=u"},
        {"kvm|-netdev|{\"type\":\"user\",\"id\":\"u\"}", "{\"type\":\"user\",\"id\":\"u\"}"},
        {"kvm|-netdev|{'type'|-nic|tap,id=t", "tap,id=t"},
        {"kvm|-nic|user|-nic|" SHARED, ""},
        {"kvm|-netdev|tap,id=t,fd={fd}", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct qemu_args_defaults defaults = {0};
        struct qemu_args args;
        char line[TEXT_MAX];
        char *argv[ARGS_MAX];

        snprintf(line, sizeof(line), "%s", cases[i].in);
        split(line, argv);
        assert_int_equal(qemu_args_parse(argv, &defaults, &args, NULL), 0);
        assert_string_equal(args.beside ? args.beside[1] : "", cases[i].beside);
        qemu_args_done(&args);
    }
}

/* Everything that a port can be asked to be, as one line. */
static void dump(const struct qemu_nic *nic, char text[TEXT_MAX])
{
    const struct net_spec *spec = &nic->spec;
    char start[IP_TEXT_MAX], end[IP_TEXT_MAX], mask[IP_TEXT_MAX], prefix[IP_TEXT_MAX];
    char forward[FORWARD_TEXT_MAX], ports[PORT_SET_TEXT_MAX];
    char range[NET_RANGE_TEXT_MAX], host[NET_DHCP_HOST_TEXT_MAX];
    int len = snprintf(text, TEXT_MAX, "%s %s%s %s-%s/%s %s uuid=%s if=%s mtu=%u %s %s %s %s",
                       spec->name, net_mode_name(spec->mode), spec->mode_given ? "!" : "",
                       ip_format(&spec->start_address, start), ip_format(&spec->end_address, end),
                       ip_format(&spec->subnet_mask, mask), ip_format(&spec->nat66_prefix, prefix),
                       spec->net_uuid, spec->ifname, spec->mtu, nic->request.name,
                       nic->request.interface_id, nic->request.isolated ? "isolated" : "open",
                       nic->request.anti_spoof == ANTI_SPOOF_OFF ? "spoofs" : "checked");

    if (spec->host_ports.given)
        len += snprintf(text + len, (size_t)(TEXT_MAX - len), " ports=%s%s",
                        port_set_format(&spec->host_ports, ports),
                        net_spec_is_on(spec, NET_HOST_LOOPBACK) ? " loopback" : "");
    for (enum net_switch which = NET_DHCP; which < NET_SWITCHES; which++)
        if (spec->switches[which] != NET_NOT_GIVEN)
            len += snprintf(text + len, (size_t)(TEXT_MAX - len), " %s=%s",
                            net_switch_option(which), net_spec_is_on(spec, which) ? "on" : "off");
    if (spec->range_first.family)
        len += snprintf(text + len, (size_t)(TEXT_MAX - len), " range=%s",
                        net_spec_format_range(spec, range));
    for (unsigned i = 0; i < spec->dhcp_hosts_len; i++)
        len += snprintf(text + len, (size_t)(TEXT_MAX - len), " %s",
                        net_dhcp_host_format(&spec->dhcp_hosts[i], host));
    for (unsigned i = 0; i < nic->request.forwards_len; i++)
        len += snprintf(text + len, (size_t)(TEXT_MAX - len), " %s",
                        forward_format(&nic->request.forwards[i], forward));
}

/*
 * Every option by every way in: -netdev, -nic, -netdev in JSON and --nic. The type and the id are
 * put in front of what is here.
 */
static void test_options(void **state)
{
    static const struct {
        const char *type, *pairs, *json, *result;
    } cases[] = {
        {"vmnet-macos",
         "mode=shared,dhcp_start_address=192.168.70.1,dhcp_end_address=192.168.70.9,"
         "dhcp_subnet_mask=255.255.255.0,network=lab",
         "\"mode\":\"shared\",\"dhcp_start_address\":\"192.168.70.1\","
         "\"dhcp_end_address\":\"192.168.70.9\",\"dhcp_subnet_mask\":\"255.255.255.0\","
         "\"network\":\"lab\"",
         "lab shared! 192.168.70.1-192.168.70.9/255.255.255.0 none uuid= if= mtu=0   open checked"},
        {"vmnet-macos", "hostname=web", "\"hostname\":\"web\"",
         "shared shared none-none/none none uuid= if= mtu=0 web  open checked"},
        {"vmnet-shared",
         "start-address=192.168.70.1,end-address=192.168.70.9,subnet-mask=255.255.255.0,isolated,"
         "nat66-prefix=fd12:3456:789a:1::,mtu=9000,anti-spoof=off",
         "\"start-address\":\"192.168.70.1\",\"end-address\":\"192.168.70.9\","
         "\"subnet-mask\":\"255.255.255.0\",\"isolated\":true,"
         "\"nat66-prefix\":\"fd12:3456:789a:1::\",\"mtu\":9000,\"anti-spoof\":false",
         "shared-192.168.70.1-192.168.70.9-24 shared! 192.168.70.1-192.168.70.9/255.255.255.0 "
         "fd12:3456:789a:1:: uuid= if= mtu=9000   isolated spoofs"},
        {"vmnet-host", "host-loopback=on,host-ports=22,,8000-8100,host_ports=23",
         "\"host-loopback\":true,\"host-ports\":[\"22,8000-8100\",23]",
         "host host! none-none/none none uuid= if= mtu=0   open checked ports=22-23,8000-8100 "
         "loopback"},
        {"vmnet-shared",
         "start-address=10.1.0.1,end-address=10.1.0.9,subnet-mask=255.255.0.0,"
         "dhcp-range=10.1.0.4-10.1.0.5,dhcp-host=52:54:00:00:00:01,,10.1.0.7,"
         "dhcp_host=52:54:00:00:00:02,,10.1.0.8",
         "\"start-address\":\"10.1.0.1\",\"end-address\":\"10.1.0.9\","
         "\"subnet-mask\":\"255.255.0.0\",\"dhcp-range\":\"10.1.0.4-10.1.0.5\","
         "\"dhcp-host\":[\"52:54:00:00:00:01,10.1.0.7\",\"52:54:00:00:00:02,10.1.0.8\"]",
         "shared-10.1.0.1-10.1.0.9-16 shared! 10.1.0.1-10.1.0.9/255.255.0.0 none uuid= if= mtu=0   "
         "open checked range=10.1.0.4-10.1.0.5 52:54:00:00:00:01,10.1.0.7 "
         "52:54:00:00:00:02,10.1.0.8"},
        {"vmnet-shared", "dhcp=off,dns=off,ra=no,nat44=false,nat66=on",
         "\"dhcp\":false,\"dns\":false,\"ra\":false,\"nat44\":false,\"nat66\":true",
         "shared shared! none-none/none none uuid= if= mtu=0   open checked dhcp=off dns=off "
         "ra=off nat44=off nat66=on"},
        {"vmnet-shared", "isolated=yes,isolated=no,interface_id=" UUID,
         "\"isolated\":false,\"interface_id\":\"" UUID "\"",
         "shared shared! none-none/none none uuid= if= mtu=0  " UUID " open checked"},
        {"vmnet-shared", "forward=tcp::2222-:22,network=lab,forward=udp:[::1]:53-ns:53",
         "\"network\":\"lab\",\"forward\":[\"tcp::2222-:22\",\"udp:[::1]:53-ns:53\"]",
         "lab shared! none-none/none none uuid= if= mtu=0   open checked "
         "tcp:127.0.0.1:2222-:22 udp:[::1]:53-ns:53"},
        {"vmnet-shared", "forward=tcp::2222-:22", "\"forward\":\"tcp::2222-:22\"",
         "shared shared! none-none/none none uuid= if= mtu=0   open checked "
         "tcp:127.0.0.1:2222-:22"},
        {"vmnet-host", "net-uuid=" UUID ",isolated=on",
         "\"net-uuid\":\"" UUID "\",\"isolated\":true",
         "host-" UUID " host! none-none/none none uuid=" UUID " if= mtu=0   isolated checked"},
        {"vmnet-host",
         "start_address=10.1.0.1,end_address=10.1.0.9,subnet_mask=255.255.0.0,network=lab",
         "\"start-address\":\"10.1.0.1\",\"end-address\":\"10.1.0.9\","
         "\"subnet-mask\":\"255.255.0.0\",\"network\":\"lab\"",
         "lab host! 10.1.0.1-10.1.0.9/255.255.0.0 none uuid= if= mtu=0   open checked"},
    };

    (void)state;
    for (size_t i = 0; i < 4 * sizeof(cases) / sizeof(cases[0]); i++) {
        const char *type = cases[i / 4].type, *pairs = cases[i / 4].pairs;
        char value[TEXT_MAX], text[TEXT_MAX];
        const char *nics[] = {value, NULL};
        struct qemu_args_defaults defaults = {.nics = i % 4 == 3 ? nics : NULL};
        char *netdev[] = {"qemu", i % 4 == 1 ? "-nic" : "-netdev", value, NULL};
        char *placeholder[] = {"vmm", "{fd}", NULL};
        struct qemu_args args;
        struct err err = {0};

        if (i % 4 == 2)
            snprintf(value, sizeof(value), "{\"type\":\"%s\",\"id\":\"n0\",%s}", type,
                     cases[i / 4].json);
        else
            snprintf(value, sizeof(value), "%s%s,%s", type, i % 4 == 0 ? ",id=n0" : "", pairs);
        if (qemu_args_parse(i % 4 == 3 ? placeholder : netdev, &defaults, &args, &err) != 0)
            fail_msg("%s: %s", value, err.text);
        assert_int_equal(args.count, 1);
        dump(&args.nics[0], text);
        if (strcmp(text, cases[i / 4].result) != 0)
            fail_msg("%s: '%s', not '%s'", value, text, cases[i / 4].result);
        assert_null(args.nics[0].properties);
        qemu_args_done(&args);
    }
}

/* To the first port only, behind those that it has. */
static void test_forwards(void **state)
{
    static const char *const forwards[] = {"tcp::80-:80", "udp::53-:53", NULL};
    struct qemu_args_defaults defaults = {.forwards = forwards};
    char *argv[] = {"qemu", "-nic", SHARED ",forward=tcp::22-:22", "-nic", SHARED, NULL};
    struct qemu_args args;
    struct err err = {0};
    char text[TEXT_MAX];

    (void)state;
    assert_int_equal(qemu_args_parse(argv, &defaults, &args, &err), 0);
    dump(&args.nics[0], text);
    assert_non_null(strstr(text, "127.0.0.1:22-:22 tcp:127.0.0.1:80-:80 udp:127.0.0.1:53-:53"));
    assert_int_equal(args.nics[1].request.forwards_len, 0);
    qemu_args_done(&args);
}

/* A network without DHCP knows no addresses: nothing is put in their place silently. */
static void test_missing_value(void **state)
{
    struct qemu_args_defaults defaults = {0};
    char *argv[] = {"vmm", "{fd}", "{ip}", NULL}, **result;
    struct client_port port = {.fd = 3, .network = "lab", .mac = MAC0};
    struct qemu_args_port given = {.port = &port, .vhost_fd = -1};
    struct qemu_args args;
    struct err err = {0};

    (void)state;
    assert_int_equal(qemu_args_parse(argv, &defaults, &args, &err), 0);
    assert_int_equal(qemu_args_rewrite(&args, &given, &result, &err), -ENODATA);
    assert_string_equal(err.text,
                        "{ip} in the command: the port on network 'lab' has none; leave it out");
    qemu_args_done(&args);
}

/* The three addresses in all spellings that QEMU and the origin have had. */
static void test_addresses(void **state)
{
    static const char *const prefixes[] = {"", "dhcp-", "dhcp_"};
    static const char separators[] = "-_";
    struct qemu_args_defaults defaults = {0};
    const uint32_t start = htonl(0xc0a83201);

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        const char *prefix = prefixes[i / 2];
        char c = separators[i % 2];
        char value[256];
        char *argv[] = {"qemu", "-nic", value, NULL};
        struct qemu_args args;
        struct err err = {0};

        snprintf(value, sizeof(value),
                 SHARED ",%sstart%caddress=192.168.50.1,%send%caddress=192.168.50.99,"
                        "%ssubnet%cmask=255.255.255.0,interface%cid=" UUID,
                 prefix, c, prefix, c, prefix, c, c);
        if (qemu_args_parse(argv, &defaults, &args, &err) != 0)
            fail_msg("%s: %s", value, err.text);
        assert_int_equal(args.nics[0].spec.start_address.v4.s_addr, start);
        assert_int_equal(args.nics[0].spec.subnet_mask.family, AF_INET);
        assert_string_equal(args.nics[0].request.interface_id, UUID);
        assert_true(args.nics[0].spec.name[0] != '\0');
        assert_null(args.nics[0].properties);
        qemu_args_done(&args);
    }
}

static void test_too_many(void **state)
{
    struct qemu_args_defaults defaults = {0};
    char *argv[2 * QEMU_NICS_MAX + 4] = {"qemu"};
    struct qemu_args args;
    struct err err = {0};

    (void)state;
    for (size_t i = 0; i <= QEMU_NICS_MAX; i++) {
        argv[2 * i + 1] = "-nic";
        argv[2 * i + 2] = SHARED;
    }
    assert_int_equal(qemu_args_parse(argv, &defaults, &args, &err), -EINVAL);
    assert_non_null(strstr(err.text, "more than 64 vmnet networks"));
    qemu_args_done(&args);
}

static void test_hostname(void **state)
{
    static const struct {
        const char *text, *name;
    } cases[] = {
        {"", ""},        {"vm", "vm"},         {"My VM", "my-vm"}, {"-a-", "a"},
        {"--", ""},      {"a.b_c", "a-b-c"},   {"\xc3\xa4", ""},   {"a\xc3\xa4", "a"},
        {"a b ", "a-b"}, {"..1..2..", "1--2"},
    };
    char name[NET_HOSTNAME_MAX + 1], text[200];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        qemu_args_hostname(cases[i].text, name);
        assert_string_equal(name, cases[i].name);
    }
    memset(text, 'A', sizeof(text));
    text[NET_HOSTNAME_MAX - 1] = '.'; /* is the last that fits, and goes */
    text[sizeof(text) - 1] = '\0';
    qemu_args_hostname(text, name);
    assert_int_equal(strlen(name), NET_HOSTNAME_MAX - 1);
    assert_int_equal(name[0], 'a');
}

/* The base of a long name gives way to what tells the ports apart. */
static void test_long_names(void **state)
{
    char name[NET_HOSTNAME_MAX + 1], id[200];
    struct qemu_args_defaults defaults = {.name = name};
    char *argv[] = {"qemu", "-nic", SHARED, "-nic", SHARED, "-nic", id, NULL};
    struct qemu_args args;
    struct err err = {0};

    (void)state;
    memset(name, 'n', sizeof(name));
    name[NET_HOSTNAME_MAX] = '\0';
    snprintf(id, sizeof(id), SHARED ",id=%0*d", 150, 0);
    memset(strrchr(id, '=') + 1, 'i', 150);
    assert_int_equal(qemu_args_parse(argv, &defaults, &args, &err), 0);
    assert_string_equal(args.nics[0].request.name, name);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(strlen(args.nics[i].request.name), NET_HOSTNAME_MAX);
    assert_string_equal(strrchr(args.nics[1].request.name, '-'), "-2");
    assert_int_equal(strrchr(args.nics[2].request.name, '-')[1], 'i');
    qemu_args_done(&args);
}

/* A QEMU that waits for a machine is not announced: the machine runs elsewhere. */
static void test_arriving(void **state)
{
    char *here[] = {"qemu-system-x86_64", "-nic", "vmnet-shared", NULL};
    char *migrated[] = {"qemu-system-x86_64", "--incoming", "defer", "-nic", "vmnet-shared", NULL};
    const struct qemu_args_defaults defaults = {.kind = PORT_TAP, .fd_kind = PORT_TAP};
    struct qemu_args args;
    struct err err;

    (void)state;
    assert_int_equal(qemu_args_parse(here, &defaults, &args, &err), 0);
    assert_false(args.nics[0].request.arriving);
    qemu_args_done(&args);
    assert_int_equal(qemu_args_parse(migrated, &defaults, &args, &err), 0);
    assert_true(args.nics[0].request.arriving);
    qemu_args_done(&args);
}

static void test_keyvalue(void **state)
{
    struct kv_list list;
    struct err err = {0};
    char *escaped;

    (void)state;
    assert_int_equal(kv_parse("a,,b,k=v,,,k=w=x,on,e=,", "type", &list, &err), 0);
    assert_int_equal(list.count, 5);
    assert_string_equal(kv_get(&list, "type"), "a,b");
    assert_string_equal(list.pairs[1].value, "v,");
    assert_string_equal(kv_get(&list, "k"), "w=x");
    assert_string_equal(kv_get(&list, "on"), "on");
    assert_string_equal(kv_get(&list, "e"), "");
    assert_null(kv_get(&list, "v"));
    kv_done(&list);

    assert_int_equal(kv_parse("", "type", &list, &err), 0);
    assert_int_equal(list.count, 0);
    kv_done(&list);

    assert_int_equal(kv_parse("{\"a\":-1,\"b\":true,\"c\":[],\"d\":false}", "type", &list, &err),
                     0);
    assert_string_equal(kv_get(&list, "a"), "-1");
    assert_string_equal(kv_get(&list, "b"), "on");
    assert_null(kv_get(&list, "c"));
    assert_string_equal(kv_get(&list, "d"), "off");
    kv_done(&list);

    assert_int_equal(kv_parse("{\"a\":[\"x\",7,null],\"b\":\"y\"}", "type", &list, &err), 0);
    assert_int_equal(list.count, 4);
    assert_string_equal(list.pairs[0].value, "x");
    assert_string_equal(list.pairs[1].value, "7");
    assert_null(list.pairs[2].value);
    assert_true(list.pairs[2].listed);
    assert_false(list.pairs[3].listed);
    kv_done(&list);

    assert_int_equal(kv_parse("{\"a\":1,\"a\":2}", "type", &list, &err), -EINVAL);
    kv_done(&list);

    escaped = kv_escape(",a,,");
    assert_string_equal(escaped, ",,a,,,,");
    free(escaped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arriving),   cmocka_unit_test(test_keyvalue),
        cmocka_unit_test(test_rewrite),    cmocka_unit_test(test_errors),
        cmocka_unit_test(test_beside),     cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_too_many),   cmocka_unit_test(test_hostname),
        cmocka_unit_test(test_long_names), cmocka_unit_test(test_options),
        cmocka_unit_test(test_forwards),   cmocka_unit_test(test_missing_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
