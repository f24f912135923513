/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
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

/* Looked at each time: the variable is inherited, and standard error may have become a file since. */
static bool is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat status;

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &status) == 0 && (unsigned long long)status.st_dev == device &&
           (unsigned long long)status.st_ino == inode;
}

static void __attribute__((format(printf, 3, 0)))
log_write(int priority, const char *level, const char *format, va_list args)
{
    char line[1200], mark[8] = "";
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

    if (is_journal())
        snprintf(mark, sizeof(mark), "<%d>", priority & LOG_PRIMASK);
    if (left_out)
        dprintf(STDERR_FILENO, "%s%s: %d more messages left out\n", mark, state.name, left_out);
    len = snprintf(line, sizeof(line), "%s%s: %s", mark, state.name, level);
    len += vsnprintf(line + len, sizeof(line) - (size_t)len, format, args);
    if (len > (int)sizeof(line) - 2)
        len = (int)sizeof(line) - 2;
    line[len] = '\n';
    /* One write, so that lines of several processes do not mix. Nobody is left to tell of an error. */
    (void)!write(STDERR_FILENO, line, (size_t)len + 1);
}

#define LOG_FUNCTION(function, priority, level, condition)                                         \
    void function(const char *format, ...)                                                         \
    {                                                                                              \
        va_list args;                                                                              \
        if (!(condition))                                                                          \
            return;                                                                                \
        va_start(args, format);                                                                    \
        log_write(priority, level, format, args);                                                  \
        va_end(args);                                                                              \
    }

LOG_FUNCTION(log_error, LOG_ERR, "error: ", true)
LOG_FUNCTION(log_warn, LOG_WARNING, "warning: ", true)
LOG_FUNCTION(log_info, LOG_INFO, "", true)
LOG_FUNCTION(log_debug, LOG_DEBUG, "debug: ", state.verbose)
