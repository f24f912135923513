/* SPDX-License-Identifier: Apache-2.0 */
/* What Status says of a network with an uplink: its processes, and what was counted. */
#include <unistd.h>

#include "daemon/methods.h"

#define READ_COUNTER(counters, name)                                                               \
    (json_int_t) atomic_load_explicit(&(counters)->name, memory_order_relaxed)
#define DESCRIBE_COUNTER(counters, name)                                                           \
    json_object_set_new(object, #name, json_integer(READ_COUNTER(counters, name)));

/* What each worker has counted. */
static json_t *describe_workers(const struct engine *engine)
{
    const struct uplink_counters *worker;
    json_t *array = json_array();

    for (unsigned i = 0; (worker = uplink_counters(engine->uplink, i)); i++) {
        json_t *object = json_object();

#define DESCRIBE_WORKER_COUNTER(name) DESCRIBE_COUNTER(worker, name)
        UPLINK_COUNTERS(DESCRIBE_WORKER_COUNTER)
        json_array_append_new(array, object);
    }
    return array;
}

/* The sum of these, with what is not counted by workers. */
static json_t *describe_counters(const struct engine *engine, const json_t *workers)
{
    const struct pump_counters *pump = &engine->pump_counters;
    json_t *object = json_object(), *worker;
    json_int_t sum;
    size_t i;

#define DESCRIBE_UPLINK_COUNTER(name)                                                              \
    sum = READ_COUNTER(&engine->counters, name);                                                   \
    json_array_foreach(workers, i, worker) sum +=                                                  \
        json_integer_value(json_object_get(worker, #name));                                        \
    json_object_set_new(object, #name, json_integer(sum));
#define DESCRIBE_PUMP_COUNTER(name) DESCRIBE_COUNTER(pump, name)
    UPLINK_COUNTERS(DESCRIBE_UPLINK_COUNTER)
    PUMP_COUNTERS(DESCRIBE_PUMP_COUNTER)
    return object;
}

json_t *engine_describe_use(const struct engine *engine, const struct plane_port *port)
{
    struct uplink_usage usage = uplink_usage(engine->uplink, ip_from_u32(port->ipv4));
    json_t *object = json_object();

#define DESCRIBE_USE(name)                                                                         \
    json_object_set_new(object, #name, json_integer((json_int_t)usage.used[QUOTA_##name]));
    QUOTA_TABLES(DESCRIBE_USE)
    json_object_set_new(object, "refused", json_integer((json_int_t)usage.refused));
    return object;
}

void engine_describe(const struct engine *engine, json_t *reply)
{
    json_t *workers = describe_workers(engine);

    json_object_set_new(reply, "processes",
                        json_pack("{s:i, s:i, s:i, s:i}", "parent", engine->args->parent_pid,
                                  "engine", (int)getpid(), "router", engine->router_pid, "dnsmasq",
                                  engine->service_pid));
    json_object_set_new(reply, "counters", describe_counters(engine, workers));
    json_object_set_new(reply, "workers", workers);
}
