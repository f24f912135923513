/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of one network and its port, as -netdev, -nic and `vmnet run --nic` take them. Which
 * values are right is known to base/netspec.h and base/portspec.h; which option belongs to which
 * type is known here.
 */
#ifndef OPENVMNET_CLI_QEMU_OPTIONS_H
#define OPENVMNET_CLI_QEMU_OPTIONS_H

#include "base/err.h"
#include "cli/keyvalue.h"
#include "cli/qemu_args.h"

#define VMNET_PREFIX "vmnet-"
#define VMNET_TYPES "vmnet-macos, vmnet-shared, vmnet-host, vmnet-bridged"
/* How much of an argument a message repeats: the reason after it must fit into struct err too. */
#define QUOTE_MAX 400

/*
 * Reads @list, which was @text, into @nic. @option is what it was given by, for messages; its
 * "type" says which options there are, and without one they are those of vmnet-macos. 0, -ENOMEM or
 * -EINVAL with the reason.
 */
int qemu_options_read(struct qemu_nic *nic, const char *option, const char *text,
                      const struct kv_list *list, struct err *err);

/*
 * Ends the reading: checks the options together; @text may be NULL. 0; -EINVAL, or -EOPNOTSUPP for
 * a network that cannot be had without privileges, with the reason.
 */
int qemu_options_complete(struct qemu_nic *nic, const char *option, const char *text,
                          struct err *err);

#endif
