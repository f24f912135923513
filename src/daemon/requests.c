/* SPDX-License-Identifier: Apache-2.0 */
/* Who waits for an answer of who makes ports; a table, for either plane. */
#include "daemon/methods.h"

struct engine_request *engine_new_request(struct engine *engine, struct control_client *client,
                                          engine_answer_fn *on_answer, void *context)
{
    for (int i = 0; i < ENGINE_REQUESTS_MAX; i++) {
        struct engine_request *request = &engine->requests[i];

        if (request->used)
            continue;
        *request = (struct engine_request){
            .used = true,
            .id = ++engine->next_id,
            .client = client,
            .on_answer = on_answer,
            .context = context,
        };
        return request;
    }
    return NULL;
}

bool engine_answer(struct engine *engine, uint32_t id, const struct message *answer, const int *fds,
                   unsigned fds_len)
{
    for (int i = 0; i < ENGINE_REQUESTS_MAX; i++) {
        const struct engine_request request = engine->requests[i];

        if (!request.used || request.id != id)
            continue;
        engine->requests[i].used = false; /* the callee may make new requests */
        request.on_answer(engine, &request, answer, fds, fds_len);
        return true;
    }
    return false;
}
