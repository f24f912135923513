/* SPDX-License-Identifier: Apache-2.0 */
/* Time to start: from fork() until the command writes to the descriptor where it says "ready". */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "netbench.h"

/* It ends by itself or by SIGTERM; some leave a process of theirs behind, which SIGKILL ends. */
static void end_group(pid_t pid)
{
    kill(pid, SIGTERM);
    for (int waited_ms = 0; waited_ms < TIMEOUT_S * 1000; waited_ms += 10) {
        if (waitpid(pid, NULL, WNOHANG) == pid)
            break;
        poll(NULL, 0, 10);
    }
    kill(-pid, SIGKILL);
}

int run_start(int ready_fd, char **command)
{
    uint64_t start_ns = now_ns(), ready_ns;
    struct pollfd ready;
    int ends[2];
    char byte;
    pid_t pid = -1;

    if (pipe2(ends, O_CLOEXEC) < 0 || (pid = fork()) < 0)
        fail("a process");
    if (pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* Whatever it says belongs to standard error, unless that is how it says that it is ready. */
        dup2(STDERR_FILENO, STDOUT_FILENO);
        dup2(ends[1], ready_fd);
        execvp(command[0], command);
        fail(command[0]);
    }
    close(ends[1]);
    ready = (struct pollfd){.fd = ends[0], .events = POLLIN};
    if (poll(&ready, 1, TIMEOUT_S * 1000) != 1 || read(ends[0], &byte, 1) != 1) {
        kill(-pid, SIGKILL);
        errno = ETIMEDOUT, fail("start: it is not ready");
    }
    ready_ns = now_ns();
    end_group(pid);
    printf("ms=%.3f\n", (double)(ready_ns - start_ns) / 1e6);
    return 0;
}
