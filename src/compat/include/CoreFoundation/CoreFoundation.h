/* SPDX-License-Identifier: Apache-2.0 */
/* References to the network objects of vmnet.h, which are Core Foundation types on macOS; nothing else. */
#ifndef OPENVMNET_CORE_FOUNDATION_H
#define OPENVMNET_CORE_FOUNDATION_H

#include <openvmnet_blocks.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef const void *CFTypeRef;

OPENVMNET_COMPAT_API void openvmnet_object_retain(const void *object);
OPENVMNET_COMPAT_API void openvmnet_object_release(const void *object);

/* Inline, so that the library has no name that belongs to a real Core Foundation. */
static inline CFTypeRef CFRetain(CFTypeRef object)
{
    openvmnet_object_retain(object);
    return object;
}

static inline void CFRelease(CFTypeRef object)
{
    openvmnet_object_release(object);
}

#ifdef __cplusplus
}
#endif

#endif
