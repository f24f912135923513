/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

static struct {
    const char *name;
    bool verbose;
    uint64_t window_start_ms;
    unsigned lines;
    unsigned left_out;
    pthread_mutex_t mutex;
} state = {.name = "openvmnet", .mutex = PTHREAD_MUTEX_INITIALIZER};

void log_init(const char *name, bool verbose)
{
    state.name = name;
    state.verbose = verbose;
}

static void __attribute__((format(printf, 2, 0)))
log_write(const char *level, const char *format, va_list args)
{
    char line[1200];
    int len, left_out = 0;
    uint64_t now_ms = clock_now_ms();

    pthread_mutex_lock(&state.mutex);
    if (now_ms - state.window_start_ms >= LOG_WINDOW_MS) {
        left_out = (int)state.left_out;
        state.window_start_ms = now_ms;
        state.lines = state.left_out = 0;
    }
    if (state.lines >= LOG_LINES_MAX) {
        state.left_out++;
        pthread_mutex_unlock(&state.mutex);
        return;
    }
    state.lines++;
    pthread_mutex_unlock(&state.mutex);

    if (left_out)
        dprintf(STDERR_FILENO, "%s: %d more messages left out\n", state.name, left_out);
    len = snprintf(line, sizeof(line), "%s: %s", state.name, level);
    len += vsnprintf(line + len, sizeof(line) - (size_t)len, format, args);
    if (len > (int)sizeof(line) - 2)
        len = (int)sizeof(line) - 2;
    line[len] = '\n';
    /* One write, so that lines of several processes do not mix. Nobody is left to tell of an error. */
    (void)!write(STDERR_FILENO, line, (size_t)len + 1);
}

#define LOG_FUNCTION(function, level, condition)                                                   \
    void function(const char *format, ...)                                                         \
    {                                                                                              \
        va_list args;                                                                              \
        if (!(condition))                                                                          \
            return;                                                                                \
        va_start(args, format);                                                                    \
        log_write(level, format, args);                                                            \
        va_end(args);                                                                              \
    }

LOG_FUNCTION(log_error, "error: ", true)
LOG_FUNCTION(log_warn, "warning: ", true)
LOG_FUNCTION(log_info, "", true)
LOG_FUNCTION(log_debug, "debug: ", state.verbose)
