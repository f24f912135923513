/* SPDX-License-Identifier: Apache-2.0 */
/* Host names of the ports of one command; a name is taken once on a network. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/keyvalue.h"
#include "cli/qemu_args.h"

static void trim_label(char *name)
{
    size_t len = strlen(name);

    while (len > 0 && name[len - 1] == '-')
        name[--len] = '\0';
}

void qemu_args_hostname(const char *text, char ret_name[NET_HOSTNAME_MAX + 1])
{
    size_t len = 0;

    for (; *text && len < NET_HOSTNAME_MAX; text++) {
        unsigned char c = (unsigned char)*text;
        bool fits = c < 0x80 && isalnum(c);

        if (fits || len > 0)
            ret_name[len++] = fits ? (char)tolower(c) : '-';
    }
    ret_name[len] = '\0';
    trim_label(ret_name);
}

/* The VM's name in QEMU's -name, as a label; empty without. */
static int find_name(const struct qemu_args *args, char ret_name[NET_HOSTNAME_MAX + 1],
                     struct err *err)
{
    ret_name[0] = '\0';
    for (char *const *arg = args->argv + 1; arg[0] && arg[1]; arg++) {
        struct kv_list list;
        const char *guest;
        int rc;

        if (!qemu_args_option_is(arg[0], "name"))
            continue;
        rc = kv_parse(arg[1], "guest", &list, err);
        guest = rc == 0 ? kv_get(&list, "guest") : NULL;
        if (guest)
            qemu_args_hostname(guest, ret_name);
        kv_done(&list);
        if (rc == -ENOMEM)
            return rc;
    }
    return 0;
}

/* "<base>-<suffix>", where the base gives way: the suffix is what tells the ports apart. */
static void suffix_name(const char *base, const struct qemu_nic *nic, unsigned ordinal,
                        char ret_name[NET_HOSTNAME_MAX + 1])
{
    char suffix[NET_HOSTNAME_MAX + 1], head[NET_HOSTNAME_MAX + 1];

    snprintf(suffix, sizeof(suffix), "%u", ordinal);
    if (nic->id)
        qemu_args_hostname(nic->id, suffix);
    suffix[NET_HOSTNAME_MAX / 2] = '\0';
    trim_label(suffix);
    snprintf(head, sizeof(head), "%.*s", (int)(NET_HOSTNAME_MAX - 1 - strlen(suffix)), base);
    trim_label(head);
    snprintf(ret_name, NET_HOSTNAME_MAX + 1, "%s-%s", head, suffix);
}

int qemu_args_choose_names(struct qemu_args *args, const char *name, struct err *err)
{
    bool derived[QEMU_NICS_MAX] = {false};
    char base[NET_HOSTNAME_MAX + 1];
    int rc;

    if (name && *name)
        snprintf(base, sizeof(base), "%s", name);
    else if ((rc = find_name(args, base, err)) < 0)
        return rc;
    for (size_t i = 0; *base && i < args->count; i++) {
        struct qemu_nic *nic = &args->nics[i];
        unsigned ordinal = 1;

        if (nic->request.name[0])
            continue;
        derived[i] = true;
        for (size_t j = 0; j < i; j++)
            ordinal += derived[j] && strcmp(args->nics[j].spec.name, nic->spec.name) == 0;
        if (ordinal == 1)
            snprintf(nic->request.name, sizeof(nic->request.name), "%s", base);
        else
            suffix_name(base, nic, ordinal, nic->request.name);
    }
    return 0;
}
