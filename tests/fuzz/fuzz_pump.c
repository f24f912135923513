/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of the pump, with whatever it sends, cut anywhere. The frames that reach the tap must be those of the same
 * bytes in one piece, each whole and with room for a header in front.
 *
 * The input: how the client sends (a stream where it is even), an MTU, and then pieces behind their lengths.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "pump/client.h"

static struct pump_counters counters;
static struct pump pump = {.counters = &counters};
static uint64_t frames_sum, frames_len;

static uint64_t sum_frame(uint64_t sum, const uint8_t *frame, size_t len_bytes)
{
    sum = (sum ^ len_bytes) * 0x100000001b3u;
    for (size_t i = 0; i < len_bytes; i++)
        sum = (sum ^ frame[i]) * 0x100000001b3u;
    return sum;
}

/* In place of tap_linux.c and of the loop. */
bool pump_tap_write(struct pump_client *client, uint8_t *frame, size_t len_bytes)
{
    REQUIRE(len_bytes >= PUMP_FRAME_MIN_BYTES && len_bytes <= client->frame_max_bytes);
    REQUIRE(frame >= pump.up + PUMP_VNET_BYTES && frame + len_bytes <= pump.up + PUMP_UP_BYTES);
    frames_sum = sum_frame(frames_sum, frame, len_bytes);
    frames_len++;
    memset(frame - PUMP_VNET_BYTES, 0xff, PUMP_VNET_BYTES);
    return true;
}

bool pump_tap_push(struct pump_client *client)
{
    return true;
}

void pump_tap_flush(struct pump_client *client)
{
}

int pump_client_watch(struct pump_client *client)
{
    return 0;
}

/* What comes of the whole stream: frames, until its framing breaks. True where it does. */
static bool read_stream(const struct pump_client *client, const uint8_t *data, size_t len_bytes,
                        uint64_t *ret_sum, uint64_t *ret_len)
{
    *ret_sum = *ret_len = 0;
    while (len_bytes >= PUMP_LENGTH_BYTES) {
        uint32_t length = pump_get_length(data);

        if (length == 0 || length > PUMP_LENGTH_MAX)
            return true;
        if (length > len_bytes - PUMP_LENGTH_BYTES)
            return false;
        if (length >= PUMP_FRAME_MIN_BYTES && length <= client->frame_max_bytes) {
            *ret_sum = sum_frame(*ret_sum, data + PUMP_LENGTH_BYTES, length);
            ++*ret_len;
        }
        data += PUMP_LENGTH_BYTES + length;
        len_bytes -= PUMP_LENGTH_BYTES + length;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    struct input input = {data, len_bytes};
    enum pump_framing framing = input_byte(&input) & 1 ? PUMP_DGRAM : PUMP_STREAM;
    size_t max_bytes = input_u16(&input) % PUMP_MTU_MAX + PUMP_FRAME_SLACK_BYTES + 1, all_bytes = 0;
    struct pump_client *client = calloc(1, sizeof(*client) + PUMP_LENGTH_BYTES + max_bytes);
    uint8_t *all = malloc(len_bytes + 1);
    uint64_t sum, len;
    bool broken;
    int pair[2], result = 0;

    REQUIRE(client && all);
    REQUIRE(socketpair(AF_UNIX, framing == PUMP_STREAM ? SOCK_STREAM : SOCK_DGRAM, 0, pair) == 0);
    *client = (struct pump_client){.pump = &pump,
                                   .framing = framing,
                                   .frame_max_bytes = max_bytes,
                                   .socket_fd = pair[0],
                                   .lifeline_fd = -1,
                                   .has_peer = true};
    frames_sum = frames_len = 0;
    while (input.len_bytes && result == 0) {
        size_t piece_bytes, told_bytes = input_u16(&input);
        uint8_t *piece = input_copy(&input, told_bytes, &piece_bytes);

        REQUIRE(write(pair[1], piece, piece_bytes) == (ssize_t)piece_bytes);
        memcpy(all + all_bytes, piece, piece_bytes);
        all_bytes += piece_bytes;
        free(piece);
        if (framing == PUMP_DGRAM)
            result = pump_dgram_receive(client);
        else if (piece_bytes) /* else it would wait, and then be told that there is nothing */
            result = pump_stream_receive(client);
        REQUIRE(client->partial_len_bytes < PUMP_LENGTH_BYTES + max_bytes);
    }
    if (framing == PUMP_STREAM) {
        broken = read_stream(client, all, all_bytes, &sum, &len);
        REQUIRE(sum == frames_sum && len == frames_len && broken == (result < 0));
    }
    close(pair[0]);
    close(pair[1]);
    free(all);
    free(client);
    return 0;
}
