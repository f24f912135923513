/* SPDX-License-Identifier: Apache-2.0 */
/* Files written from tables, and one file that is broken line by line and byte by byte. */
#include "netfile_fixture.h"

#include <sys/stat.h>

static const char whole[] = "# comment\n"
                            "mode = shared\n" ADDRESSES "nat66-prefix = fd12:3456:789a:1::/64\n"
                            "mtu = 9000\n"
                            "lease-time = 2h\n"
                            "udp-timeout = 3m\n"
                            "udp-filtering = address-dependent\n"
                            "host-loopback = on\n"
                            "host-ports = 8000-8100\n"
                            "host-ports = 22\n"
                            "deny = 10.0.0.0/8\n"
                            "allow = 10.1.2.3:443\n"
                            "allow-user = root\n"
                            "allow-user = 1000\n"
                            "allow-group = root\n"
                            "user-ports = 4\n"
                            "forward = tcp::2222-web:22\n"
                            "forward = udp:[::1]:5000-5009-[fd12:3456:789a:1::5]:5000\n"
                            "\n"
                            "[host web]\n"
                            "mac = 52:54:00:00:00:01\n"
                            "interface-id = 8A2C5F10-0D3B-4C7E-9A51-6F1E2D3C4B5A\n"
                            "address = 192.168.70.10\n"
                            "\n"
                            "[host db]\n"
                            "mac = 52:54:00:00:00:02\n"
                            "\n"
                            "[dns]\n"
                            "db.example = 192.168.70.20\n"
                            "db.example = fd00::20\n"
                            "printer = 192.168.70.21\n"
                            "\n"
                            "[dhcp-options]\n"
                            "ntp-server = 192.168.70.1,192.168.70.2\n"
                            "42 = 1;2\n";

static void test_whole(void **state)
{
    struct fixture *fixture = *state;
    const struct net_file *file = fixture->file;
    char text[FORWARD_TEXT_MAX + PORT_SET_TEXT_MAX];
    struct err err;

    if (read_text(fixture, whole, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(file->path, fixture->path);
    assert_string_equal(file->spec.name, "lab");
    assert_int_equal(file->spec.mode, NET_MODE_SHARED);
    assert_true(file->spec.mode_given);
    assert_string_equal(ip_format(&file->spec.end_address, text), "192.168.70.99");
    assert_int_equal(file->spec.mtu, 9000);
    assert_int_equal(file->spec.nat66_prefix.family, AF_INET6);
    assert_int_equal(file->lease_time_s, 7200);
    assert_int_equal(file->udp_timeout_s, 180);
    assert_int_equal(file->udp_filtering, NET_UDP_ADDRESS_DEPENDENT);
    assert_int_equal(file->spec.switches[NET_HOST_LOOPBACK], NET_ON);
    assert_string_equal(port_set_format(&file->spec.host_ports, text), "22,8000-8100");
    assert_int_equal(file->rules_len, 2);
    assert_false(file->rules[0].allow);
    assert_true(file->rules[1].allow);
    assert_int_equal(file->rules[1].port, 443);
    assert_int_equal(file->forwards_len, 2);
    assert_string_equal(forward_format(&file->forwards[0], text), "tcp:127.0.0.1:2222-web:22");
    assert_int_equal(file->forwards[1].ports, 10);
    assert_true(file->access.given && !file->access.everybody);
    assert_int_equal(file->access.users_len, 2);
    assert_int_equal(file->access.users[0], 0);
    assert_int_equal(file->access.users[1], 1000);
    assert_int_equal(file->access.groups_len, 1);
    assert_int_equal(file->access.user_ports, 4);
    assert_int_equal(file->access.user_forwards, NET_USER_FORWARDS_DEFAULT);
    assert_int_equal(file->reservations_len, 2);
    assert_string_equal(file->reservations[0].name, "web");
    assert_string_equal(file->reservations[0].interface_id, UUID);
    assert_int_equal(file->reservations[0].line, 23);
    assert_int_equal(file->reservations[1].line, 28);
    assert_true(file->reservations[1].mac_given);
    assert_int_equal(file->reservations[1].address.family, 0);
    assert_string_equal(file->reservations[1].interface_id, "");
    assert_int_equal(file->records_len, 3);
    assert_string_equal(file->records[1].name, "db.example");
    assert_int_equal(file->records[1].address.family, AF_INET6);
    assert_string_equal(file->records[2].name, "printer");
    assert_int_equal(file->dhcp_options_len, 2);
    assert_string_equal(file->dhcp_options[0].name, "ntp-server");
    assert_string_equal(file->dhcp_options[0].value, "192.168.70.1,192.168.70.2");
    assert_string_equal(file->dhcp_options[1].name, "42");
    assert_string_equal(file->dhcp_options[1].value, "1;2");
}

static void test_accepted(void **state)
{
    static const char *const all[] = {
        "",
        "\n\n",
        "# only a comment",
        "mode=shared",
        "mode=host\r\nmtu=1500\r\n",
        "\xef\xbb\xbfmode = host\n",
        "\xef\xbb\xbf[dns]\na = 10.0.0.1\n",
        "mode = shared ; a comment behind a blank\n",
        "; " X50 X50 X50 X50 X50 "\nmode = shared\n",
        "mode = bridged\nifname = eth0\nmtu = 1500\n",
        "mode = bridge\n",
        "allow-user = *\nallow-group = 4294967294\nuser_ports = 0\n",
        "mode = host\n" ADDRESSES "lease-time = 120\n",
        "dhcp_start_address=10.0.0.1\ndhcp-end-address=10.0.0.9\nsubnet_mask=255.255.255.0\n",
        "lease_time = 30d\n",
        "lease-time = 2592000\n",
        "lease-time = 2m\n",
        "udp-timeout = 120\n",
        "udp_timeout = 1d\nudp_filtering = endpoint-independent\n",
        "mode = host\nudp-filtering = address-and-port-dependent\n",
        /* Indentation means nothing. */
        "[host a]\n  mac = 52:54:00:00:00:01\n    address = 192.168.70.5\n",
        "  [host a] ; comment\n\tinterface-id = " UUID "\n",
        "[ host  a ]\nmac = 52:54:00:00:00:01\n",
        "[host " LABEL63 "]\nmac = 52:54:00:00:00:01\n",
        "[dns]\n[dhcp-options]\n[dns]\na = 10.0.0.1\n",
        ADDRESSES "[host a]\nmac=52:54:00:00:00:01\naddress=192.168.70.2\n"
                  "[host b]\nmac=52:54:00:00:00:02\naddress=192.168.70.99\n",
        "[dns]\n" LABEL63 "." LABEL63 ".example = ::1\n",
        "[dhcp-options]\n1a = x\n254 = \"#,x y\"\n6 = 192.168.70.5\n",
        ADDRESSES "forward = tcp::80-192.168.70.99:80\nforward = tcp::81-192.168.70.254:80\n",
        "forward = tcp::80-a:80\nforward = udp::80-a:80\nforward = tcp:[::]:80-a:80\n",
        "forward = tcp:10.0.0.1:80-a:80\nforward = tcp:10.0.0.2:80-a:80\n",
        "forward = tcp::80-89-a:80\nforward = tcp::90-a:80\nforward = tcp::79-a:80\n",
        "allow = 0.0.0.0/0\ndeny = ::/0\nallow = [fd00::/8]:443\n",
    };
    struct fixture *fixture = *state;
    struct err err;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (read_text(fixture, all[i], &err) < 0)
            fail_msg("'%s': %s", all[i], err.text);
        assert_string_equal(fixture->file->spec.name, "lab");
    }
    assert_int_equal(read_text(fixture, "[host " LABEL63 "]\nmac = 52:54:00:00:00:01\n", &err), 0);
    assert_string_equal(fixture->file->reservations[0].name, LABEL63);
    assert_int_equal(read_text(fixture, "[dhcp-options]\n042 = x ; y\n", &err), 0);
    assert_string_equal(fixture->file->dhcp_options[0].name, "42");
    assert_string_equal(fixture->file->dhcp_options[0].value, "x");
}

static void test_not_text(void **state)
{
    static const char nul[] = "mode = shared\nmtu\0 = 1500\n";
    struct fixture *fixture = *state;
    char path[128], long_path[700];
    struct err err;

    assert_int_equal(read_bytes(fixture, nul, sizeof(nul) - 1, "lab", &err), -EINVAL);
    assert_non_null(strstr(err.text, "lab.conf:2: byte 0x00 is not text"));
    assert_int_equal(net_file_read(fixture->directory, "lab", fixture->file, &err), -EINVAL);
    assert_non_null(strstr(err.text, "is not a regular file"));
    snprintf(path, sizeof(path), "%s/fifo", fixture->directory);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(net_file_read(path, "lab", fixture->file, &err), -EINVAL);
    assert_non_null(strstr(err.text, "is not a regular file"));
    snprintf(path, sizeof(path), "%s/none", fixture->directory);
    assert_int_equal(net_file_read(path, "lab", fixture->file, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/none: cannot be read: No such file"));
    memset(long_path, 'x', sizeof(long_path) - 1);
    long_path[sizeof(long_path) - 1] = '\0';
    assert_int_equal(net_file_read(long_path, "lab", fixture->file, &err), -ENAMETOOLONG);
}

/* One more than each bound. */
static void test_bounds(void **state)
{
    static const struct {
        const char *head, *format; /* of the number's two parts */
        unsigned max;
        const char *message;
    } all[] = {
        {"", "deny = 10.0.%u.%u\n", NET_RULES_MAX, "one rule more than the 1024"},
        {"", "forward = tcp:10.0.%u.%u:80-a:80\n", NET_FILE_FORWARDS_MAX, "more than the 1024"},
        {"", "[host a%u-%u]\n", NET_RESERVATIONS_MAX, "one more than the 1024"},
        {"[dns]\n", "a%u-%u = 10.0.0.1\n", NET_RECORDS_MAX, "one more than the 1024"},
        {"[dhcp-options]\n", "x%u-%u = a\n", NET_DHCP_OPTIONS_MAX, "one more than the 64"},
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        size_t max_bytes = 64 * (NET_RULES_MAX + 2), len_bytes;
        char *text = malloc(max_bytes), line[64];
        bool hosts = strstr(all[i].format, "host") != NULL;
        struct err err;

        assert_non_null(text);
        len_bytes = (size_t)snprintf(text, max_bytes, "%s", all[i].head);
        for (unsigned j = 0; j <= all[i].max; j++) {
            if (j == all[i].max) {
                /* As many as there may be. */
                assert_int_equal(read_text(fixture, text, &err), 0);
            }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(line, sizeof(line), all[i].format, j / 250, j % 250 + 1);
#pragma GCC diagnostic pop
            len_bytes += (size_t)snprintf(text + len_bytes, max_bytes - len_bytes, "%s", line);
            if (hosts)
                len_bytes += (size_t)snprintf(text + len_bytes, max_bytes - len_bytes,
                                              "mac=52:54:00:00:%02x:%02x\n", j >> 8, j & 255);
        }
        assert_int_equal(read_text(fixture, text, &err), -EINVAL);
        if (!strstr(err.text, all[i].message))
            fail_msg("\"%s\" has no \"%s\"", err.text, all[i].message);
        free(text);
    }
}

/* A line of each length about the bound: whole or refused, never cut. */
static void test_line_length(void **state)
{
    struct fixture *fixture = *state;
    char text[512], value[256];
    unsigned accepted = 0;

    for (unsigned len = 150; len < 255; len++) {
        const struct net_file *file = fixture->file;
        struct err err;
        int result;

        memset(value, 'v', len);
        value[len - 1] = 'w';
        value[len] = '\0';
        /* Without a newline at the end of every second. */
        snprintf(text, sizeof(text), "[dhcp-options]\n42 = %s%s", value, len % 2 ? "\n" : "");
        result = read_text(fixture, text, &err);
        if (result == 0) {
            accepted++;
            assert_int_equal(file->dhcp_options_len, 1);
            assert_string_equal(file->dhcp_options[0].value, value);
        } else {
            assert_non_null(strstr(err.text, "lab.conf:2: the line has more than"));
        }
    }
    assert_int_equal(accepted, 198 - strlen("42 = ") - 150 + 1);
}

/* Whatever is in a file that is taken, it is within what the rest relies on. */
static void check_file(const struct net_file *file)
{
    struct err err;

    assert_int_equal(net_name_check(file->spec.name, &err), 0);
    assert_true(file->lease_time_s == 0 || file->lease_time_s >= 120);
    for (unsigned i = 0; i < file->reservations_len; i++) {
        const struct net_reservation *host = &file->reservations[i];

        assert_int_equal(net_hostname_check(host->name, &err), 0);
        assert_true(host->mac_given || host->interface_id[0]);
        assert_true(!host->mac_given || !(host->mac.bytes[0] & 1));
        assert_true(host->address.family == 0 || host->address.family == AF_INET);
    }
    for (unsigned i = 0; i < file->records_len; i++)
        assert_true(file->records[i].name[0] && file->records[i].address.family);
    for (unsigned i = 0; i < file->dhcp_options_len; i++)
        assert_true(file->dhcp_options[i].name[0] && file->dhcp_options[i].value[0]);
    for (unsigned i = 0; i < file->forwards_len; i++)
        assert_true(file->forwards[i].ports > 0);
}

static void test_broken(void **state)
{
    static const char bytes[] = "a0=[]#;:. \n\r\t\x01\xff";
    struct fixture *fixture = *state;
    char text[sizeof(whole)];
    unsigned counts[2] = {0};
    struct err err;

    for (size_t i = 0; i < sizeof(whole) - 1; i++) {
        const char *end = strchr(whole + i, '\n');
        size_t len_bytes = sizeof(whole) - 1;
        int result;

        /* The byte is another, or it and the rest of its line are gone, or the rest of the file. */
        memcpy(text, whole, sizeof(whole));
        switch (i % 3) {
        case 0: text[i] = bytes[i / 3 % sizeof(bytes)]; break;
        case 1:
            memmove(text + i, end, (size_t)(whole + sizeof(whole) - end));
            len_bytes -= (size_t)(end - whole) - i;
            break;
        default: len_bytes = i; break;
        }
        result = read_bytes(fixture, text, len_bytes, "lab", &err);
        counts[result == 0]++;
        assert_true(result == 0 || result == -EINVAL);
        assert_int_equal(result == 0, err.text[0] == '\0');
        if (result == 0)
            check_file(fixture->file);
        else
            assert_int_equal(strncmp(err.text, fixture->path, strlen(fixture->path)), 0);
    }
    assert_true(counts[0] > 50 && counts[1] > 50);
}

static void test_find(void **state)
{
    struct fixture *fixture = *state;
    char config[96], home[96], path[192], found[512];
    struct err err = {""};

    snprintf(config, sizeof(config), "%s/config", fixture->directory);
    snprintf(home, sizeof(home), "%s/home", fixture->directory);
    snprintf(path, sizeof(path), "%s/openvmnet", config);
    assert_int_equal(path_make(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/.config/openvmnet", home);
    assert_int_equal(path_make(path, 0700), 0);
    setenv("HOME", home, 1);
    setenv("XDG_CONFIG_HOME", config, 1);

    assert_int_equal(net_file_find(NET_OF_USER, "test-netfile-lab", found, &err), -ENOENT);
    assert_string_equal(err.text, "");
    snprintf(path, sizeof(path), "%s/.config/openvmnet/test-netfile-lab.conf", home);
    write_bytes(path, "", 0);
    assert_int_equal(net_file_find(NET_OF_USER, "test-netfile-lab", found, &err), -ENOENT);
    /* A relative one is as none. */
    setenv("XDG_CONFIG_HOME", "config", 1);
    assert_int_equal(net_file_find(NET_OF_USER, "test-netfile-lab", found, &err), 0);
    assert_string_equal(found, path);
    setenv("XDG_CONFIG_HOME", config, 1);
    snprintf(path, sizeof(path), "%s/openvmnet/test-netfile-lab.conf", config);
    write_bytes(path, "mode = x", 8);
    assert_int_equal(net_file_find(NET_OF_USER, "test-netfile-lab", found, &err), 0);
    assert_string_equal(found, path);

    if (geteuid() != 0) {
        assert_int_equal(chmod(path, 0), 0);
        assert_int_equal(net_file_find(NET_OF_USER, "test-netfile-lab", found, &err), -EACCES);
        assert_non_null(strstr(err.text, "test-netfile-lab.conf: cannot be read: Permission"));
    }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(net_file_find(NET_OF_USER, "test-netfile-lab", found, &err), -EINVAL);
    assert_non_null(strstr(err.text, "is not a regular file"));
    assert_int_equal(net_file_find(NET_OF_USER, "../x", found, &err), -EINVAL);
    assert_true(path_config_exists(NET_OF_USER, "test-netfile-lab"));
    assert_false(path_config_exists(NET_OF_USER, "../x"));
    unsetenv("XDG_CONFIG_HOME");
    unsetenv("HOME");
    assert_int_equal(net_file_find(NET_OF_USER, "test-netfile-lab", found, &err), -ENOENT);

    /* The system's are apart: neither is found in place of the other. */
    setenv("OPENVMNET_ROOT", home, 1);
    snprintf(path, sizeof(path), "%s/etc/openvmnet", home);
    assert_int_equal(path_make(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/etc/openvmnet/test-netfile-lab.conf", home);
    write_bytes(path, "", 0);
    assert_int_equal(net_file_find(NET_OF_USER, "test-netfile-lab", found, &err), -ENOENT);
    assert_int_equal(net_file_find(NET_OF_SYSTEM, "test-netfile-lab", found, &err), 0);
    assert_string_equal(found, path);
    assert_true(path_config_exists(NET_OF_SYSTEM, "test-netfile-lab"));
    assert_false(path_config_exists(NET_OF_USER, "test-netfile-lab"));
    unsetenv("OPENVMNET_ROOT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_accepted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_line_length, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken, setup, teardown),
        cmocka_unit_test_setup_teardown(test_find, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
