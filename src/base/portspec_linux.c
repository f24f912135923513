/* SPDX-License-Identifier: Apache-2.0 */
#include "base/portspec.h"

enum port_kind port_kind_default(bool qemu)
{
    (void)qemu;
    return PORT_TAP;
}
