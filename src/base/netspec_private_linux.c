/* SPDX-License-Identifier: Apache-2.0 */
#include "base/netspec.h"

#include <errno.h>

int net_spec_check_private(const struct net_spec *spec, struct err *err)
{
    if (spec->mode != NET_MODE_BRIDGED)
        return 0;
    return err_set(err, -EOPNOTSUPP,
                   "mode=bridged (network '%s') joins an interface of the host, which needs an "
                   "administrator's rights: it needs the system plane, which an administrator sets "
                   "up (mode = bridged in /etc/openvmnet/%s.conf) and starts as a service "
                   "(openvmnet@%s, run as root); without that write mode=shared",
                   spec->name, spec->name, spec->name);
}
