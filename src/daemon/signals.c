/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/signals.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "base/descriptor.h"

static struct {
    int pipe[2];
    struct loop_source source;
    void (*on_signal)(void *context, int signal);
    void *context;
} state;

static void handle(int signal)
{
    int saved = errno;
    unsigned char byte = (unsigned char)signal;

    /* A full pipe has this signal's kind in it already, or one that ends the process. */
    (void)!write(state.pipe[1], &byte, 1);
    errno = saved;
}

static void on_pipe(struct loop_source *source, unsigned events)
{
    unsigned char byte;

    while (read(source->fd, &byte, 1) == 1)
        state.on_signal(state.context, byte);
}

int signals_watch(struct loop *loop, void (*on_signal)(void *context, int signal), void *context)
{
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
    int result = descriptor_pipe(true, state.pipe);
    sigset_t none;

    if (result < 0)
        return result;
    state.on_signal = on_signal;
    state.context = context;
    state.source = (struct loop_source){.on_event = on_pipe, .fd = -1};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGCHLD, &action, NULL);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    return loop_add(loop, &state.source, state.pipe[0], LOOP_IN);
}
