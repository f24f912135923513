/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmnet_copy_shared_interface_list(): wired interfaces with hardware behind them that belong to no bridge or bond,
 * what bridged mode would stand on. Without one an empty array: clients do not look for NULL.
 */
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <vmnet/vmnet.h>

#define NET_DIRECTORY "/sys/class/net"
#define ARPHRD_ETHER_TEXT "1\n"

static bool has(const char *name, const char *what)
{
    char path[300];

    snprintf(path, sizeof(path), NET_DIRECTORY "/%s/%s", name, what);
    return access(path, F_OK) == 0;
}

static bool is_ethernet(const char *name)
{
    char path[300], text[8] = "";
    FILE *file;

    snprintf(path, sizeof(path), NET_DIRECTORY "/%s/type", name);
    file = fopen(path, "re");
    if (!file)
        return false;
    if (!fgets(text, sizeof(text), file))
        text[0] = '\0';
    fclose(file);
    return strcmp(text, ARPHRD_ETHER_TEXT) == 0;
}

static int can_bridge(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && is_ethernet(entry->d_name) && has(entry->d_name, "device") &&
           !has(entry->d_name, "master") && !has(entry->d_name, "wireless");
}

xpc_object_t vmnet_copy_shared_interface_list(void)
{
    xpc_object_t list = xpc_array_create(NULL, 0);
    struct dirent **entries = NULL;
    int len = scandir(NET_DIRECTORY, &entries, can_bridge, alphasort);

    for (int i = 0; i < len; i++) {
        xpc_array_set_string(list, XPC_ARRAY_APPEND, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return list;
}
