/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text is cut at its separators from left to right in a copy: a part ends at the first one that
 * may follow it, but for addresses in brackets, which have colons of their own. Each part is then
 * checked by itself, and the sums last.
 */
#include "base/forward.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define PORT_MAX 65535
#define EXAMPLE "tcp::8080-web:80"

struct parts {
    char *proto, *host, *first, *last, *guest, *guest_port;
    bool host_bracketed, guest_bracketed;
};

static int refuse_shape(const char *text, const char *missing, struct err *err)
{
    return err_set(err, -EINVAL,
                   "forward '%s' has no %s: write "
                   "PROTO:[HOSTADDR]:HOSTPORT[-LASTPORT]-[GUEST]:GUESTPORT, such as " EXAMPLE,
                   text_show(text).text, missing);
}

/* Ends the part at *@at with the first @separator and moves behind it. NULL where there is none. */
static char *cut(char **at, char separator)
{
    char *part = *at, *end = strchr(part, separator);

    if (!end)
        return NULL;
    *end = '\0';
    *at = end + 1;
    return part;
}

/* An address up to ':', in brackets or not. */
static char *cut_address(char **at, bool *ret_bracketed)
{
    char *part;

    *ret_bracketed = **at == '[';
    if (!*ret_bracketed)
        return cut(at, ':');
    ++*at;
    part = cut(at, ']');
    if (!part || **at != ':')
        return NULL;
    ++*at;
    return part;
}

/* The end of a range is digits up to a hyphen, perhaps none; else nothing is cut. */
static char *cut_last(char **at)
{
    return (*at)[strspn(*at, "0123456789")] == '-' ? cut(at, '-') : NULL;
}

static int cut_parts(const char *text, char *copy, struct parts *parts, struct err *err)
{
    char *at = copy;

    parts->proto = cut(&at, ':');
    if (!parts->proto)
        return refuse_shape(text, "protocol with ':' after it", err);
    parts->host = cut_address(&at, &parts->host_bracketed);
    if (!parts->host)
        return refuse_shape(text, "host address (or none) with ':' after it", err);
    parts->first = cut(&at, '-');
    if (!parts->first)
        return refuse_shape(text, "host port with '-' after it", err);
    if (strchr(parts->first, ':'))
        return err_set(err, -EINVAL,
                       "forward '%s' has too many ':' before the host port: an IPv6 address goes "
                       "in brackets, as in tcp:[::1]:8080-web:80",
                       text_show(text).text);
    parts->last = cut_last(&at);
    parts->guest = cut_address(&at, &parts->guest_bracketed);
    if (!parts->guest)
        return refuse_shape(text, "guest (or none) with ':' after it", err);
    parts->guest_port = at;
    return 0;
}

static int refuse(const char *text, const char *part, const char *value, const char *why,
                  struct err *err)
{
    return err_set(err, -EINVAL, "forward '%s': %s '%s' %s", text_show(text).text, part,
                   text_show(value).text, why);
}

static int read_port(const char *text, const char *part, const char *value, unsigned *ret_port,
                     struct err *err)
{
    if (text_to_uint(value, 1, PORT_MAX, ret_port) < 0)
        return refuse(text, part, value, "is not a number from 1 to 65535, as in " EXAMPLE, err);
    return 0;
}

/* Why the host cannot listen there; NULL where it can. */
static const char *refuse_listen(const struct ip_addr *addr)
{
    static const struct ip_addr any4 = {.family = AF_INET}, any6 = {.family = AF_INET6};
    const uint8_t *b = addr->bytes;

    if (ip_equal(addr, &any4) || ip_equal(addr, &any6))
        return NULL;
    if (ip_is_multicast(addr))
        return "is a multicast address, where nothing can listen: write one of the host, such as "
               "tcp:127.0.0.1:8080-web:80";
    if (addr->family == AF_INET && (b[0] == 0 || b[0] >= 240))
        return "is no address that a host can have: write one of the host, such as "
               "tcp:127.0.0.1:8080-web:80, or 0.0.0.0 for all";
    if (addr->family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&addr->v6))
        return "is an IPv4 address in IPv6 form: write it as IPv4, such as "
               "tcp:127.0.0.1:8080-web:80";
    if (addr->family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&addr->v6))
        return "is a link-local address, which is not unique on a host: write another of the host, "
               "such as tcp:[::1]:8080-web:80, or :: for all";
    return NULL;
}

static int read_host(const char *text, const struct parts *parts, struct ip_addr *ret_addr,
                     struct err *err)
{
    const char *part = "host address", *why;

    if (!*parts->host && !parts->host_bracketed) {
        *ret_addr = ip_from_u32(INADDR_LOOPBACK);
        return 0;
    }
    if (ip_parse(parts->host, ret_addr) < 0)
        return refuse(text, part, parts->host,
                      "is not an address (names are not looked up, and IPv6 goes in brackets): "
                      "write one of the host, such as tcp:127.0.0.1:8080-web:80 or "
                      "tcp:[::1]:8080-web:80, or none for 127.0.0.1",
                      err);
    if (parts->host_bracketed && ret_addr->family != AF_INET6)
        return refuse(text, part, parts->host,
                      "is IPv4, and brackets are for IPv6: leave them out, as in "
                      "tcp:127.0.0.1:8080-web:80",
                      err);
    why = refuse_listen(ret_addr);
    return why ? refuse(text, part, parts->host, why, err) : 0;
}

static bool is_digits(const char *text)
{
    return *text && text[strspn(text, "0123456789")] == '\0';
}

static int read_guest(const char *text, const struct parts *parts, struct forward_spec *spec,
                      struct err *err)
{
    const char *part = "guest", *value = parts->guest;

    if (!*value && !parts->guest_bracketed)
        return 0;
    if (ip_parse(value, &spec->guest_addr) == 0) {
        if (parts->guest_bracketed && spec->guest_addr.family != AF_INET6)
            return refuse(text, part, value,
                          "is IPv4, and brackets are for IPv6: leave them out, as in "
                          "tcp::8080-192.168.70.10:80",
                          err);
        if (ip_is_forbidden(&spec->guest_addr))
            return refuse(text, part, value,
                          "is no address that a machine on a network can have: write its address "
                          "there or its name, as in " EXAMPLE,
                          err);
        return 0;
    }
    if (parts->guest_bracketed)
        return refuse(text, part, value,
                      "is not an IPv6 address, which is what brackets are for: write one such as "
                      "tcp::8080-[fd00::10]:80",
                      err);
    if (is_digits(value))
        return refuse(text, part, value,
                      "is a number: a range of ports has a '-' after it as well, as in "
                      "tcp::8080-8090-:80",
                      err);
    if (net_hostname_check(value, NULL) < 0)
        return refuse(text, part, value,
                      "is neither an address nor a host name, one label without dots: write it as "
                      "in " EXAMPLE ", tcp::8080-192.168.70.10:80 or tcp::8080-[fd00::10]:80",
                      err);
    snprintf(spec->guest_name, sizeof(spec->guest_name), "%s", value);
    return 0;
}

static int read_ports(const char *text, const struct parts *parts, struct forward_spec *spec,
                      struct err *err)
{
    unsigned first = 0, last = 0, guest = 0;
    int error = read_port(text, "host port", parts->first, &first, err);

    last = first;
    if (!error && parts->last)
        error = read_port(text, "last host port", parts->last, &last, err);
    if (!error)
        error = read_port(text, "guest port", parts->guest_port, &guest, err);
    if (error)
        return error;
    if (last < first)
        return refuse(text, "last host port", parts->last,
                      "is below the first: write the lower one first, as in tcp::8080-8090-:80",
                      err);
    if (guest + (last - first) > PORT_MAX)
        return err_set(err, -EINVAL,
                       "forward '%s': guest port '%u' is the first of %u, and the last would be "
                       "above 65535: write one up to %u",
                       text_show(text).text, guest, last - first + 1, PORT_MAX - (last - first));
    spec->host.port = (uint16_t)first;
    spec->ports = last - first + 1;
    spec->guest_port = (uint16_t)guest;
    return 0;
}

int forward_parse(const char *text, struct forward_spec *ret_spec, struct err *err)
{
    struct forward_spec spec = {0};
    struct parts parts = {0};
    char copy[FORWARD_TEXT_MAX];
    int error;

    if (strlen(text) >= sizeof(copy))
        return err_set(
            err, -EINVAL,
            "forward '%s' has %zu characters: write one of at most %zu, such as " EXAMPLE,
            text_show(text).text, strlen(text), sizeof(copy) - 1);
    snprintf(copy, sizeof(copy), "%s", text);
    error = cut_parts(text, copy, &parts, err);
    if (error)
        return error;
    assert(parts.proto && parts.guest); /* cut_parts() finds all or none */
    spec.udp = strcmp(parts.proto, "udp") == 0;
    if (!spec.udp && strcmp(parts.proto, "tcp") != 0)
        return refuse(text, "protocol", parts.proto, "is not tcp or udp: write it as in " EXAMPLE,
                      err);
    error = read_host(text, &parts, &spec.host.addr, err);
    if (!error)
        error = read_ports(text, &parts, &spec, err);
    if (!error)
        error = read_guest(text, &parts, &spec, err);
    if (!error)
        *ret_spec = spec;
    return error;
}

/* "8080", or "8080-8090"; a name that would read as the end of a range needs one before it. */
static void format_ports(const struct forward_spec *spec, char *buf, size_t max_bytes)
{
    const char *name = spec->guest_name;

    if (spec->ports > 1 || name[strspn(name, "0123456789")] == '-')
        snprintf(buf, max_bytes, "%u-%u", spec->host.port, spec->host.port + spec->ports - 1);
    else
        snprintf(buf, max_bytes, "%u", spec->host.port);
}

const char *forward_format(const struct forward_spec *spec, char buf[FORWARD_TEXT_MAX])
{
    char host[IP_TEXT_MAX], ports[24], guest[NET_HOSTNAME_MAX + 1] = "";
    bool host6 = spec->host.addr.family == AF_INET6, guest6 = spec->guest_addr.family == AF_INET6;

    if (spec->guest_addr.family)
        ip_format(&spec->guest_addr, guest);
    else
        snprintf(guest, sizeof(guest), "%s", spec->guest_name);
    format_ports(spec, ports, sizeof(ports));
    snprintf(buf, FORWARD_TEXT_MAX, "%s:%s%s%s:%s-%s%s%s:%u", spec->udp ? "udp" : "tcp",
             host6 ? "[" : "", ip_format(&spec->host.addr, host), host6 ? "]" : "", ports,
             guest6 ? "[" : "", guest, guest6 ? "]" : "", spec->guest_port);
    return buf;
}
