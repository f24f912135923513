/* SPDX-License-Identifier: Apache-2.0 */
#include "base/portspec.h"

enum port_kind port_kind_default(bool qemu)
{
    /*
     * QEMU has both since 7.2. A stream waits where the other side is slow, and says when it has gone; of a datagram
     * socket's end macOS tells nothing, and one that is full is an error that QEMU drops the frame for. Others
     * (vfkit, krunkit, Virtualization.framework) take datagrams alone.
     */
    return qemu ? PORT_STREAM : PORT_DGRAM;
}
