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
    const char *network; /* --network and --name of vmnet run */
    const char *name;
    bool vhost;
};

struct error_case {
    const char *title;
    const char *in;
    const char *text; /* part of the message */
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
        const struct client_port_request *request = &args->nics[i].request;

        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s %s %s", i ? ";" : "",
                                args->nics[i].spec.name, *request->name ? request->name : "-",
                                request->mac_given ? mac_format(&request->mac, mac) : "-");
    }
    if (strcmp(text, test->requests) != 0)
        fail_msg("%s: requests '%s', not '%s'", test->title, text, test->requests);
}

static void check_rewrite(const struct rewrite_case *test)
{
    static const char *const macs[] = {MAC0, MAC1, "52:56:00:00:00:03"};
    struct qemu_args_defaults defaults = {.network = test->network, .name = test->name};
    struct qemu_args_port ports[3];
    char line[TEXT_MAX], text[TEXT_MAX], given[3][MAC_TEXT_MAX];
    char *argv[ARGS_MAX], **result;
    struct qemu_args args;
    struct err err = {0};

    snprintf(line, sizeof(line), "%s", test->in);
    split(line, argv);
    if (qemu_args_parse(argv, &defaults, &args, &err) != 0)
        fail_msg("%s: %s", test->title, err.text);
    assert_in_range(args.count, 1, 3);
    for (size_t i = 0; i < args.count; i++) {
        const struct client_port_request *request = &args.nics[i].request;

        ports[i] = (struct qemu_args_port){
            .fd = 10 + (int)i,
            .vhost_fd = test->vhost ? 20 + (int)i : -1,
            .mac = request->mac_given ? mac_format(&request->mac, given[i]) : macs[i],
        };
    }
    assert_int_equal(qemu_args_rewrite(&args, ports, &result), 0);
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
    {.title = "default NIC, the board's own",
     .in = "qemu-system-arm",
     .network = "lab",
     .name = "pi",
     .out = "qemu-system-arm|-nic|tap,fd=10,mac=" MAC0,
     .requests = "lab pi -"},
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
     "unknown option 'foo' in -netdev '" SHARED ",id=a,foo=b'; the options are: id, network,"},
    {"unknown switch", "q|-netdev|vmnet-macos,id=a,foo", "the options are: id, mode, network"},
    {"mode beside the type", "q|-netdev|" SHARED ",id=a,mode=shared", "unknown option 'mode'"},
    {"the same for -nic", "q|-nic|" SHARED ",mode=shared", "unknown option 'mode' in -nic"},
    {"mode host", "q|-netdev|vmnet-macos,id=a,mode=host", "-netdev 'vmnet-macos,id=a,mode=host': "},
    {"mode bridged", "q|-nic|vmnet-macos,mode=bridged", "bridged"},
    {"type host", "q|-netdev|vmnet-host,id=a", "-netdev 'vmnet-host,id=a': "},
    {"type bridged", "q|-nic|vmnet-bridged", "-nic 'vmnet-bridged': "},
    {"type bridged in JSON", "q|-netdev|{\"type\":\"vmnet-bridged\",\"id\":\"a\"}", "bridged"},
    {"isolated", "q|-nic|" SHARED ",isolated=on",
     "-nic 'vmnet-shared,isolated=on': option 'isolated' is not supported by this version"},
    {"nat66-prefix", "q|-nic|" SHARED ",nat66-prefix=fd00::", "is not supported by this version"},
    {"ifname", "q|-nic|" SHARED ",ifname=eth0", "is not supported by this version"},
    {"net-uuid", "q|-nic|" SHARED ",net_uuid=" UUID, "'net_uuid' is not supported"},
    {"forward", "q|-nic|" SHARED ",forward=tcp::22-:22", "is not supported by this version"},
    {"mtu, a number", "q|-netdev|{\"type\":\"" SHARED "\",\"id\":\"a\",\"mtu\":9000}",
     "'mtu' is not"},
    {"isolated, a boolean", "q|-netdev|{\"type\":\"" SHARED "\",\"isolated\":true}", "'isolated'"},
    {"anti-spoof", "q|-nic|" SHARED ",anti-spoof", "is not supported by this version"},
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
    {"MAC", "q|-nic|" SHARED ",mac=52:54:00:12:34", "'52:54:00:12:34' is not a MAC address"},
    {"MAC of a device", "q|-netdev|" SHARED ",id=a|-device|e1000,netdev=a,mac=x",
     "-device 'e1000,netdev=a,mac=x': 'x' is not a MAC address"},
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
        struct qemu_args_defaults defaults = {0};
        char line[TEXT_MAX];
        char *argv[ARGS_MAX];
        struct qemu_args args;
        struct err err = {0};

        snprintf(line, sizeof(line), "%s", test->in);
        split(line, argv);
        if (qemu_args_parse(argv, &defaults, &args, &err) != -EINVAL)
            fail_msg("%s: was accepted", test->title);
        if (!strstr(err.text, test->text))
            fail_msg("%s: '%s' lacks '%s'", test->title, err.text, test->text);
        qemu_args_done(&args);
    }
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

    assert_int_equal(kv_parse("{\"a\":1,\"a\":2}", "type", &list, &err), -EINVAL);
    kv_done(&list);

    escaped = kv_escape(",a,,");
    assert_string_equal(escaped, ",,a,,,,");
    free(escaped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keyvalue),   cmocka_unit_test(test_rewrite),
        cmocka_unit_test(test_errors),     cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_too_many),   cmocka_unit_test(test_hostname),
        cmocka_unit_test(test_long_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
