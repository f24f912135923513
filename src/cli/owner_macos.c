/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/owner.h"

#include <libproc.h>
#include <stdio.h>

#include "cli/output.h"

#define NAME_MAX_BYTES (2 * MAXCOMLEN + 1)

const char *owner_describe(int pid, char buf[OWNER_TEXT_MAX])
{
    char name[NAME_MAX_BYTES] = "";

    if (pid <= 0) {
        snprintf(buf, OWNER_TEXT_MAX, "-");
        return buf;
    }
    if (proc_name(pid, name, sizeof(name)) <= 0)
        name[0] = '\0';
    snprintf(buf, OWNER_TEXT_MAX, "%d%s%s", pid, *name ? " " : "", output_clean(name));
    return buf;
}
