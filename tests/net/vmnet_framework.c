/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of vmnetd-vmnet. It and libvmnet, which is in the same process, each have directories for networks: XDG_RUNTIME_DIR
 * and XDG_STATE_HOME are those of vmnetd itself; for the library, which plays vmnet.framework, they are
 * VMNET_FRAMEWORK_DIR. vmnetd's own calls of getenv(3) come here (ld --wrap).
 *
 * So do the plane's of dlsym(3), by which it looks for what came after macOS 11: with VMNET_FRAMEWORK_OLD there is nothing of
 * that. The compiler renames them: a sanitizer, which is in the same file, calls dlsym before anything of ours can run.
 *
 * Those of vmnet_start_interface(): it ends with the status that VMNET_FRAMEWORK_DIR/status has, where there is that file.
 *
 * And vmnetd's of clock_gettime(2): the host has slept for as many seconds as VMNET_FRAMEWORK_DIR/slept says.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <CoreFoundation/CoreFoundation.h>
#include <vmnet/vmnet.h>

#include "compat/block.h"

void *framework_dlsym(void *handle, const char *name);
interface_ref __real_vmnet_start_interface(xpc_object_t desc, dispatch_queue_t queue,
                                           vmnet_start_interface_completion_handler_t handler);
interface_ref __wrap_vmnet_start_interface(xpc_object_t desc, dispatch_queue_t queue,
                                           vmnet_start_interface_completion_handler_t handler);
int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
char *__real_getenv(const char *name);
char *__wrap_getenv(const char *name);

static struct {
    const char *name, *below;
    char value[256];
} variables[] = {
    {"XDG_RUNTIME_DIR", "run", ""},
    {"XDG_STATE_HOME", "state", ""},
};

char *__wrap_getenv(const char *name)
{
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
        if (strcmp(name, variables[i].name) == 0)
            return variables[i].value[0] ? variables[i].value : NULL;
    return __real_getenv(name);
}

void *framework_dlsym(void *handle, const char *name)
{
    if (__real_getenv("VMNET_FRAMEWORK_OLD"))
        return NULL;
    /* Which is no symbol of the library, as that of a real Core Foundation has the name. */
    return dlsym(handle, strcmp(name, "CFRelease") == 0 ? "openvmnet_object_release" : name);
}

/* The number in a file of VMNET_FRAMEWORK_DIR; 0 where there is none. */
static long told(const char *name)
{
    const char *directory = __real_getenv("VMNET_FRAMEWORK_DIR");
    char path[256];
    FILE *file;
    long number = 0;

    snprintf(path, sizeof(path), "%s/%s", directory ? directory : "/nonexistent", name);
    file = fopen(path, "re");
    if (!file)
        return 0;
    if (fscanf(file, "%ld", &number) != 1)
        number = 0;
    fclose(file);
    return number;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = __real_clock_gettime(clock, now);

    if (clock == CLOCK_BOOTTIME)
        now->tv_sec += told("slept");
    return result;
}

static void complete(void *handler)
{
    BLOCK_CALL(void (*)(void *, vmnet_return_t, xpc_object_t), handler,
               (vmnet_return_t)told("status"), NULL);
    block_release(handler);
}

interface_ref __wrap_vmnet_start_interface(xpc_object_t desc, dispatch_queue_t queue,
                                           vmnet_start_interface_completion_handler_t handler)
{
    if (!told("status"))
        return __real_vmnet_start_interface(desc, queue, handler);
    dispatch_async_f(queue, block_copy(handler), complete);
    return NULL;
}

__attribute__((constructor)) static void divide(void)
{
    const char *directory = __real_getenv("VMNET_FRAMEWORK_DIR");

    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        const char *value = __real_getenv(variables[i].name);
        char theirs[256];

        snprintf(variables[i].value, sizeof(variables[i].value), "%s", value ? value : "");
        snprintf(theirs, sizeof(theirs), "%s/%s", directory ? directory : "/nonexistent",
                 variables[i].below);
        setenv(variables[i].name, theirs, 1);
    }
}
