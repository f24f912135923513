/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of networks as OpenMetrics text 1.0, https://openmetrics.io, which the textfile collector of
 * Prometheus' node_exporter takes too: for its sake a family of facts is a gauge of 1, not of type "info".
 *
 * All samples of a family stand together, below its TYPE, UNIT and HELP. So the families are walked through
 * outermost, and each collects its samples from all networks. Directions are seen from the guests: up is
 * from them.
 */
#include "cli/metrics.h"

#include <string.h>

#include "cli/rates.h"

#define PREFIX "openvmnet_"
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum family_kind {
    COUNTER,
    GAUGE
};

struct family {
    const char *name;
    enum family_kind kind;
    const char *unit; /* or NULL; the last word of the name */
    const char *help;
};

/* A counter of Status: the family that it is in, and what tells it from the others there. */
struct counter {
    const char *name;
    const char *family;
    const char *label, *value; /* or NULL */
};

static const struct family counter_families[] = {
    {"uplink_packets", COUNTER, "packets", "Packets between guests and the way out"},
    {"uplink_drops", COUNTER, NULL, "Packets of guests that went no further, by reason"},
    {"tcp_connections", COUNTER, NULL, "TCP connections of guests to the outside"},
    {"tcp_connections_open", GAUGE, NULL, "TCP connections that are open now"},
    {"tcp_failures", COUNTER, NULL, "TCP connections that did not come about, by reason"},
    {"tcp_payload_bytes", COUNTER, "bytes", "Payload of TCP connections of guests"},
    {"tcp_paths_gone", COUNTER, NULL,
     "TCP connections ended when the host's address of theirs was gone"},
    {"tcp_stray_segments", COUNTER, "segments", "TCP segments of no connection"},
    {"tcp_returned_segments", COUNTER, "segments",
     "TCP segments that the kernel had missed the connection of, and got again"},
    {"udp_mappings", COUNTER, NULL, "UDP sockets of guests that got one on the host"},
    {"udp_mappings_open", GAUGE, NULL, "UDP mappings that are open now"},
    {"udp_datagrams", COUNTER, "datagrams", "UDP datagrams between guests and the outside"},
    {"udp_errors", COUNTER, NULL, "ICMP errors about datagrams, carried back to a guest"},
    {"udp_send_failures", COUNTER, NULL, "UDP datagrams that the host did not take"},
    {"udp_filtered", COUNTER, NULL, "UDP datagrams from whom the guest has not written to"},
    {"udp_overruns", COUNTER, NULL, "UDP datagrams to guests that came faster than they were read"},
    {"echo_packets", COUNTER, "packets", "Echo requests of guests, and the replies"},
    {"echo_errors", COUNTER, NULL, "ICMP errors about echo requests, carried back to a guest"},
    {"dns_queries", COUNTER, "queries", "DNS queries passed on to the host's resolvers"},
    {"dns_answers", COUNTER, "answers", "DNS answers of the host's resolvers"},
    {"dns_timeouts", COUNTER, "timeouts", "DNS queries that no resolver answered"},
    {"dns_retries", COUNTER, "retries", "DNS queries asked again, of another resolver or the same"},
    {"dns_kept", COUNTER, NULL, "DNS queries about the network itself, not asked outside"},
    {"dns_mismatched", COUNTER, NULL, "DNS answers to something else than was asked"},
    {"dns_dropped", COUNTER, NULL, "DNS queries that were none, or too many at once"},
    {"forward_connections", COUNTER, NULL, "Connections from outside handed to a guest"},
    {"forward_connections_open", GAUGE, NULL, "Forwarded connections that are open now"},
    {"forward_failures", COUNTER, NULL, "Forwarded connections that no guest took"},
    {"forward_datagrams", COUNTER, "datagrams", "Forwarded UDP datagrams"},
    {"socket_clients", GAUGE, "clients", "Machines that are attached by a socket now"},
    {"socket_frames", COUNTER, "frames", "Frames of machines that are attached by a socket"},
    {"socket_drops", COUNTER, NULL, "Frames of such machines that went no further, by reason"},
    {"socket_clients_broken", COUNTER, NULL, "Machines cut off for breaking the framing"},
};

static const struct counter counters[] = {
    {"packets_in", "uplink_packets", "direction", "up"},
    {"packets_out", "uplink_packets", "direction", "down"},
    {"packets_out_failed", "uplink_drops", "reason", "not_taken"},
    {"drop_malformed", "uplink_drops", "reason", "malformed"},
    {"drop_checksum", "uplink_drops", "reason", "checksum"},
    {"drop_fragment", "uplink_drops", "reason", "fragment"},
    {"drop_source", "uplink_drops", "reason", "source"},
    {"drop_denied", "uplink_drops", "reason", "denied"},
    {"drop_protocol", "uplink_drops", "reason", "protocol"},
    {"drop_icmp", "uplink_drops", "reason", "icmp"},
    {"drop_icmp_forged", "uplink_drops", "reason", "icmp_forged"},
    {"drop_quota_tcp", "uplink_drops", "reason", "quota_tcp"},
    {"drop_quota_half_open", "uplink_drops", "reason", "quota_half_open"},
    {"drop_quota_udp", "uplink_drops", "reason", "quota_udp"},
    {"drop_quota_echo", "uplink_drops", "reason", "quota_echo"},
    {"drop_quota_forward", "uplink_drops", "reason", "quota_forward"},
    {"drop_no_descriptor", "uplink_drops", "reason", "no_descriptor"},
    {"drop_no_port", "uplink_drops", "reason", "no_port"},
    {"drop_echo_forbidden", "uplink_drops", "reason", "echo_forbidden"},
    {"drop_rule", "uplink_drops", "reason", "rule"},
    {"tcp_opened", "tcp_connections", NULL, NULL},
    {"tcp_open", "tcp_connections_open", NULL, NULL},
    {"tcp_refused", "tcp_failures", "reason", "refused"},
    {"tcp_unreachable", "tcp_failures", "reason", "unreachable"},
    {"tcp_timeout", "tcp_failures", "reason", "timeout"},
    {"tcp_bytes_up", "tcp_payload_bytes", "direction", "up"},
    {"tcp_bytes_down", "tcp_payload_bytes", "direction", "down"},
    {"tcp_path_gone", "tcp_paths_gone", NULL, NULL},
    {"tcp_stray", "tcp_stray_segments", NULL, NULL},
    {"tcp_returned", "tcp_returned_segments", NULL, NULL},
    {"udp_opened", "udp_mappings", NULL, NULL},
    {"udp_open", "udp_mappings_open", NULL, NULL},
    {"udp_up", "udp_datagrams", "direction", "up"},
    {"udp_down", "udp_datagrams", "direction", "down"},
    {"udp_errors", "udp_errors", NULL, NULL},
    {"udp_send_failed", "udp_send_failures", NULL, NULL},
    {"udp_filtered", "udp_filtered", NULL, NULL},
    {"udp_overrun", "udp_overruns", NULL, NULL},
    {"echo_up", "echo_packets", "direction", "up"},
    {"echo_down", "echo_packets", "direction", "down"},
    {"echo_errors", "echo_errors", NULL, NULL},
    {"dns_queries", "dns_queries", NULL, NULL},
    {"dns_answers", "dns_answers", NULL, NULL},
    {"dns_timeouts", "dns_timeouts", NULL, NULL},
    {"dns_retries", "dns_retries", NULL, NULL},
    {"dns_kept", "dns_kept", NULL, NULL},
    {"dns_mismatched", "dns_mismatched", NULL, NULL},
    {"dns_dropped", "dns_dropped", NULL, NULL},
    {"forward_opened", "forward_connections", NULL, NULL},
    {"forward_open", "forward_connections_open", NULL, NULL},
    {"forward_failed", "forward_failures", NULL, NULL},
    {"forward_udp_up", "forward_datagrams", "direction", "up"},
    {"forward_udp_down", "forward_datagrams", "direction", "down"},
    {"pump_clients", "socket_clients", NULL, NULL},
    {"pump_frames_up", "socket_frames", "direction", "up"},
    {"pump_frames_down", "socket_frames", "direction", "down"},
    {"pump_drop_queue_full", "socket_drops", "reason", "queue_full"},
    {"pump_drop_tap", "socket_drops", "reason", "tap"},
    {"pump_drop_malformed", "socket_drops", "reason", "malformed"},
    {"pump_broken", "socket_clients_broken", NULL, NULL},
};

static const struct counter *find_counter(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(counters); i++)
        if (strcmp(counters[i].name, name) == 0)
            return &counters[i];
    return NULL;
}

bool metrics_know(const char *counter)
{
    return find_counter(counter) != NULL;
}

static void print_family(FILE *file, const struct family *family)
{
    fprintf(file, "# TYPE " PREFIX "%s %s\n", family->name,
            family->kind == COUNTER ? "counter" : "gauge");
    if (family->unit)
        fprintf(file, "# UNIT " PREFIX "%s %s\n", family->name, family->unit);
    fprintf(file, "# HELP " PREFIX "%s %s.\n", family->name, family->help);
}

/* One sample, in three steps: its name with the first label, more labels, its value. */
static void print_label(FILE *file, char separator, const char *label, const char *value)
{
    fprintf(file, "%c%s=\"", separator, label);
    for (; *value; value++) {
        if (*value == '\n')
            fputs("\\n", file);
        else if (*value == '"' || *value == '\\')
            fprintf(file, "\\%c", *value);
        else
            fputc(*value, file);
    }
    fputc('"', file);
}

/* The text of a fact; "" where it is not known. */
static const char *text_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    if (json_is_boolean(value))
        return json_is_true(value) ? "yes" : "no";
    return json_is_string(value) ? json_string_value(value) : "";
}

static void begin_sample(FILE *file, const struct family *family, const json_t *state)
{
    fprintf(file, PREFIX "%s%s", family->name, family->kind == COUNTER ? "_total" : "");
    print_label(file, '{', "network", text_of(json_object_get(state, "network"), "name"));
}

static void begin_port_sample(FILE *file, const struct family *family, const json_t *state,
                              const json_t *port)
{
    begin_sample(file, family, state);
    print_label(file, ',', "interface", text_of(port, "interface"));
    print_label(file, ',', "name", text_of(port, "name"));
}

static void end_sample(FILE *file, uint64_t value)
{
    fprintf(file, "} %llu\n", (unsigned long long)value);
}

static void print_networks(FILE *file, const json_t *states)
{
    static const struct family info = {"network_info", GAUGE, NULL, "Facts of a network; always 1"};
    static const struct family ports = {"network_ports", GAUGE, "ports", "Ports that are attached"};
    static const char *const labels[][2] = {{"mode", "mode"},      {"plane", "plane"},
                                            {"subnet", "subnet"},  {"gateway", "gateway"},
                                            {"domain", "domain"},  {"ipv6_prefix", "ipv6Prefix"},
                                            {"lasting", "lasting"}};
    json_t *state;
    size_t i;

    print_family(file, &info);
    json_array_foreach(states, i, state)
    {
        begin_sample(file, &info, state);
        for (size_t label = 0; label < COUNT_OF(labels); label++)
            print_label(file, ',', labels[label][0],
                        text_of(json_object_get(state, "network"), labels[label][1]));
        end_sample(file, 1);
    }
    print_family(file, &ports);
    json_array_foreach(states, i, state)
    {
        begin_sample(file, &ports, state);
        end_sample(file, json_array_size(json_object_get(state, "ports")));
    }
}

/* A process that was started again shows by another id. */
static void print_processes(FILE *file, const json_t *states)
{
    static const struct family family = {"process_id", GAUGE, NULL,
                                         "Process id, 0 while the process does not run"};
    json_t *state, *value;
    const char *name;
    size_t i;

    print_family(file, &family);
    json_array_foreach(states, i, state)
    {
        json_t *processes = json_object_get(state, "processes");

        json_object_foreach(processes, name, value)
        {
            begin_sample(file, &family, state);
            print_label(file, ',', "process", name);
            end_sample(file, rates_number(processes, name));
        }
    }
}

static void print_port_info(FILE *file, const json_t *states)
{
    static const struct family family = {"port_info", GAUGE, NULL, "Facts of a port; always 1"};
    static const char *const labels[][2] = {{"mac", "mac"},
                                            {"ipv4", "ipv4"},
                                            {"kind", "kind"},
                                            {"isolated", "isolated"},
                                            {"anti_spoof", "antiSpoof"}};
    json_t *state, *port;
    size_t i, j;

    print_family(file, &family);
    json_array_foreach(states, i, state)
    {
        json_array_foreach(json_object_get(state, "ports"), j, port)
        {
            begin_port_sample(file, &family, state, port);
            for (size_t label = 0; label < COUNT_OF(labels); label++)
                print_label(file, ',', labels[label][0], text_of(port, labels[label][1]));
            end_sample(file, 1);
        }
    }
}

/* One family of the traffic of ports, in both directions. */
static void print_port_traffic(FILE *file, const json_t *states, const struct family *family,
                               const char *up, const char *down)
{
    json_t *state, *port;
    size_t i, j;

    print_family(file, family);
    json_array_foreach(states, i, state)
    {
        json_array_foreach(json_object_get(state, "ports"), j, port)
        {
            const json_t *traffic = json_object_get(port, "traffic");

            if (!traffic)
                continue;
            begin_port_sample(file, family, state, port);
            print_label(file, ',', "direction", "up");
            end_sample(file, rates_number(traffic, up));
            begin_port_sample(file, family, state, port);
            print_label(file, ',', "direction", "down");
            end_sample(file, rates_number(traffic, down));
        }
    }
}

static void print_port_drops(FILE *file, const json_t *states)
{
    static const struct family family = {"port_drops", COUNTER, NULL,
                                         "Frames of a port that went no further, by reason"};
    json_t *state, *port, *value;
    const char *reason;
    size_t i, j;

    print_family(file, &family);
    json_array_foreach(states, i, state)
    {
        json_array_foreach(json_object_get(state, "ports"), j, port)
        {
            json_t *drops = json_object_get(port, "drops");

            json_object_foreach(drops, reason, value)
            {
                begin_port_sample(file, &family, state, port);
                print_label(file, ',', "reason", reason);
                end_sample(file, rates_number(drops, reason));
            }
            if (!json_object_get(port, "traffic"))
                continue;
            begin_port_sample(file, &family, state, port);
            print_label(file, ',', "reason", "not_taken");
            end_sample(file, rates_number(json_object_get(port, "traffic"), "downDropped"));
        }
    }
}

/* What a port has of the uplink's tables now, and how often it could have no more. */
static void print_port_use(FILE *file, const json_t *states)
{
    static const struct family use = {"port_use", GAUGE, NULL,
                                      "What a port has of the way out now, by table"};
    static const struct family refused = {"port_refused", COUNTER, NULL,
                                          "How often a port met the end of its share"};
    static const struct family *const families[] = {&use, &refused};
    json_t *state, *port, *value;
    const char *table;
    size_t i, j;

    for (size_t at = 0; at < COUNT_OF(families); at++) {
        print_family(file, families[at]);
        json_array_foreach(states, i, state)
        {
            json_array_foreach(json_object_get(state, "ports"), j, port)
            {
                json_object_foreach(json_object_get(port, "use"), table, value)
                {
                    if ((strcmp(table, "refused") == 0) != (families[at] == &refused))
                        continue;
                    begin_port_sample(file, families[at], state, port);
                    if (families[at] == &use)
                        print_label(file, ',', "table", table);
                    end_sample(file, (uint64_t)json_integer_value(value));
                }
            }
        }
    }
}

static void print_counter_family(FILE *file, const json_t *states, const struct family *family)
{
    json_t *state;
    size_t i;

    print_family(file, family);
    json_array_foreach(states, i, state)
    {
        const json_t *values = json_object_get(state, "counters");

        for (size_t row = 0; row < COUNT_OF(counters); row++) {
            if (strcmp(counters[row].family, family->name) != 0 ||
                !json_object_get(values, counters[row].name))
                continue;
            begin_sample(file, family, state);
            if (counters[row].label)
                print_label(file, ',', counters[row].label, counters[row].value);
            end_sample(file, rates_number(values, counters[row].name));
        }
    }
}

/* Counters of a newer vmnetd. Nothing is known of them, not even that they only grow. */
static void print_others(FILE *file, const json_t *states)
{
    static const struct family family = {"other", GAUGE, NULL,
                                         "Counters that this version has no names for"};
    json_t *state, *value;
    bool any = false;
    const char *name;
    size_t i;

    json_array_foreach(states, i, state)
    {
        json_t *values = json_object_get(state, "counters");

        json_object_foreach(values, name, value)
        {
            if (metrics_know(name) || !json_is_integer(value))
                continue;
            if (!any)
                print_family(file, &family);
            any = true;
            begin_sample(file, &family, state);
            print_label(file, ',', "counter", name);
            end_sample(file, rates_number(values, name));
        }
    }
}

void metrics_print(FILE *file, const json_t *states)
{
    static const struct family bytes = {"port_bytes", COUNTER, "bytes",
                                        "Bytes at a port, up from the guest, down to it"};
    static const struct family packets = {"port_packets", COUNTER, "packets",
                                          "Packets at a port, up from the guest, down to it"};

    print_networks(file, states);
    print_processes(file, states);
    print_port_info(file, states);
    print_port_traffic(file, states, &bytes, "upBytes", "downBytes");
    print_port_traffic(file, states, &packets, "upPackets", "downPackets");
    print_port_drops(file, states);
    print_port_use(file, states);
    for (size_t i = 0; i < COUNT_OF(counter_families); i++)
        print_counter_family(file, states, &counter_families[i]);
    print_others(file, states);
    fputs("# EOF\n", file);
}
