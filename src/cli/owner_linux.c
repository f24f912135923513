/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/owner.h"

#include <stdio.h>
#include <string.h>

#include "cli/output.h"

#define COMM_MAX 16 /* TASK_COMM_LEN of Linux */

const char *owner_describe(int pid, char buf[OWNER_TEXT_MAX])
{
    char path[32], name[COMM_MAX] = "";
    FILE *file;

    if (pid <= 0) {
        snprintf(buf, OWNER_TEXT_MAX, "-");
        return buf;
    }
    snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    file = fopen(path, "re");
    if (file) {
        name[fread(name, 1, sizeof(name) - 1, file)] = '\0';
        fclose(file);
    }
    /* The kernel ends the name with a newline; one within it is the process's. */
    if (*name && name[strlen(name) - 1] == '\n')
        name[strlen(name) - 1] = '\0';
    snprintf(buf, OWNER_TEXT_MAX, "%d%s%s", pid, *name ? " " : "", output_clean(name));
    return buf;
}
