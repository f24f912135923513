/* SPDX-License-Identifier: Apache-2.0 */
/* The framework says a number; people need a reason and a way out. */
#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

#include <vmnet/vmnet.h>

#include "plane/macos/port.h"

/* What a process may lack, and how it gets it. */
#define RIGHTS                                                                                     \
    "run vmnetd as root (sudo vmnet up %s), or have launchd do that (contrib/launchd); from "      \
    "macOS "                                                                                       \
    "26 on a vmnetd that is signed with contrib/launchd/vmnetd.entitlements needs no root"

static const struct {
    vmnet_return_t status;
    int error;
    bool rights; /* what rights there are to be had is told, too */
    const char *text;
} meanings[] = {
    {VMNET_FAILURE, EIO, false,
     "vmnet.framework failed and does not say why; Console has what it logs"},
    {VMNET_MEM_FAILURE, ENOMEM, false, "vmnet.framework has no memory"},
    {VMNET_INVALID_ARGUMENT, EINVAL, false,
     "vmnet.framework takes none of this network's options as they are: on macOS its addresses "
     "are private ones (RFC 1918), no two networks with different modes have the same, and its "
     "MTU is one that the system knows"},
    {VMNET_SETUP_INCOMPLETE, EAGAIN, false,
     "vmnet.framework had not set the interface up yet; try again"},
    {VMNET_INVALID_ACCESS, EACCES, true, "vmnet.framework denies access"},
    {VMNET_PACKET_TOO_BIG, EMSGSIZE, false,
     "a frame is larger than the interface takes; see its MTU"},
    {VMNET_BUFFER_EXHAUSTED, ENOBUFS, false, "vmnet.framework has no buffers left; end some VMs"},
    {VMNET_TOO_MANY_PACKETS, E2BIG, false, "vmnet.framework takes fewer frames at once"},
    {VMNET_SHARING_SERVICE_BUSY, EBUSY, false,
     "the system's Internet Sharing is in use by something else with other addresses; turn it "
     "off (System Settings, General, Sharing), or give this network addresses of its own "
     "(start-address=, end-address=, subnet-mask=)"},
    {VMNET_NOT_AUTHORIZED, EPERM, true, "vmnet.framework lets only some programs make networks"},
};

int vmnet_explain(uint32_t status, const struct net_config *config, struct err *err)
{
    const char *name = config->name;

    if (status == VMNET_SUCCESS)
        return 0;
    for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
        if (meanings[i].status != status)
            continue;
        /* Some versions of macOS say no more than "failure" to who lacks rights. */
        if (meanings[i].rights || (status == VMNET_FAILURE && geteuid() != 0))
            return err_set(err, -meanings[i].error, "network '%s': %s (status %u): " RIGHTS, name,
                           meanings[i].text, status, name);
        return err_set(err, -meanings[i].error, "network '%s': %s (status %u)", name,
                       meanings[i].text, status);
    }
    return err_set(err, -EIO,
                   "network '%s': vmnet.framework gave status %u, which is not known here", name,
                   status);
}
