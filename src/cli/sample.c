/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/sample.h"

#include <errno.h>

#include "client/client.h"

static int take_one(const char *network, json_t *states, struct err *err)
{
    json_t *reply;
    int result = client_call(network, "Status", NULL, &reply, err);

    if (result < 0)
        return err_prefix(err, result, "network '%s'", network);
    json_array_append_new(states, reply);
    return 0;
}

int sample_take(const char *network, json_t **ret_states, struct err *err)
{
    int result = 0, rc;
    json_t *names, *name;
    size_t i;

    *ret_states = json_array();
    if (network)
        return take_one(network, *ret_states, err);
    rc = client_list(&names, err);
    if (rc < 0)
        return rc;
    json_array_foreach(names, i, name)
    {
        struct err reason;

        rc = take_one(json_string_value(name), *ret_states, &reason);
        if (rc < 0 && rc != -ENOENT)
            result = err_set(err, rc, "%s", reason.text);
    }
    json_decref(names);
    return result;
}
