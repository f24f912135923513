/* SPDX-License-Identifier: Apache-2.0 */
#include "base/portspec.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

static const char *const kind_names[PORT_KINDS] = {
    [PORT_TAP] = "tap", [PORT_STREAM] = "stream", [PORT_DGRAM] = "dgram", [PORT_VETH] = "veth"};

const char *port_kind_name(enum port_kind kind)
{
    return (unsigned)kind < PORT_KINDS ? kind_names[kind] : "unknown";
}

int port_kind_parse(const char *name, enum port_kind *ret_kind)
{
    for (unsigned i = 0; i < PORT_KINDS; i++) {
        if (strcmp(name, kind_names[i]) == 0) {
            *ret_kind = (enum port_kind)i;
            return 0;
        }
    }
    return -EINVAL;
}

int spec_parse_switch(const char *option, const char *value, bool *ret_value, struct err *err)
{
    static const struct {
        const char *text;
        bool value;
    } texts[] = {{"on", true},   {"yes", true}, {"true", true},
                 {"off", false}, {"no", false}, {"false", false}};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strcmp(value, texts[i].text) == 0) {
            *ret_value = texts[i].value;
            return 0;
        }
    }
    return err_set(err, -EINVAL, "%s=%s is neither on nor off: write %s=on or %s=off", option,
                   text_show(value).text, option, option);
}

int port_mac_parse(const char *value, struct mac_addr *ret_mac, struct err *err)
{
    static const struct mac_addr zero;
    struct mac_addr mac;

    if (mac_parse(value, &mac) < 0)
        return err_set(err, -EINVAL,
                       "mac=%s is not a MAC address: write six pairs of hex digits, such as "
                       "52:54:00:12:34:56",
                       text_show(value).text);
    if (mac.bytes[0] & 1)
        return err_set(err, -EINVAL,
                       "mac=%s is a multicast address, which no device can have: make its first "
                       "byte even, such as 52:54:00:12:34:56",
                       text_show(value).text);
    if (memcmp(&mac, &zero, sizeof(zero)) == 0)
        return err_set(err, -EINVAL,
                       "mac=%s is all zero: write another, or none to get one from the network",
                       text_show(value).text);
    *ret_mac = mac;
    return 0;
}

int port_id_parse(const char *value, char ret_id[NET_UUID_LEN + 1], struct err *err)
{
    int error = net_uuid_check(value, err);

    if (error)
        return err_prefix(err, error, "interface-id");
    text_lower(value, ret_id, NET_UUID_LEN + 1);
    return 0;
}

static int set_hostname(struct port_spec *spec, const char *value, struct err *err)
{
    int error = net_hostname_check(value, err);

    if (error)
        return err_prefix(err, error, "hostname");
    snprintf(spec->name, sizeof(spec->name), "%s", value);
    return 0;
}

static int set_interface_id(struct port_spec *spec, const char *value, struct err *err)
{
    return port_id_parse(value, spec->interface_id, err);
}

static int set_mac(struct port_spec *spec, const char *value, struct err *err)
{
    int error = port_mac_parse(value, &spec->mac, err);

    if (!error)
        spec->mac_given = true;
    return error;
}

static int set_isolated(struct port_spec *spec, const char *value, struct err *err)
{
    return spec_parse_switch("isolated", value, &spec->isolated, err);
}

static int set_anti_spoof(struct port_spec *spec, const char *value, struct err *err)
{
    bool on;

    if (strcmp(value, "auto") == 0) {
        spec->anti_spoof = ANTI_SPOOF_AUTO;
        return 0;
    }
    if (spec_parse_switch("anti-spoof", value, &on, NULL) < 0)
        return err_set(err, -EINVAL,
                       "anti-spoof=%s is none of on, off and auto: write anti-spoof=on, "
                       "anti-spoof=off or anti-spoof=auto",
                       text_show(value).text);
    spec->anti_spoof = on ? ANTI_SPOOF_ON : ANTI_SPOOF_OFF;
    return 0;
}

static int set_forward(struct port_spec *spec, const char *value, struct err *err)
{
    int error;

    if (spec->forwards_len == PORT_FORWARDS_MAX)
        return err_set(err, -EINVAL,
                       "forward=%s is one more than the %d that a port may have: write ranges, "
                       "such as tcp::8000-8099-:8000, or forwards of the network",
                       text_show(value).text, PORT_FORWARDS_MAX);
    error = forward_parse(value, &spec->forwards[spec->forwards_len], err);
    if (!error)
        spec->forwards_len++;
    return error;
}

static const struct option {
    const char *name;
    int (*set)(struct port_spec *spec, const char *value, struct err *err);
} options[] = {
    {"hostname", set_hostname}, {"interface-id", set_interface_id}, {"mac", set_mac},
    {"isolated", set_isolated}, {"forward", set_forward},           {"anti-spoof", set_anti_spoof},
};

int port_spec_set(struct port_spec *spec, const char *option, const char *value, struct err *err)
{
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        if (text_is_option(options[i].name, option))
            return options[i].set(spec, value, err);
    return err_set(err, -ENOENT,
                   "unknown option '%s': the options of a port are hostname, interface-id, mac, "
                   "isolated, forward and anti-spoof",
                   text_show(option).text);
}
