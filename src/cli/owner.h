/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds a port, for people: a process id says little, so its name stands beside it. */
#ifndef OPENVMNET_CLI_OWNER_H
#define OPENVMNET_CLI_OWNER_H

#define OWNER_TEXT_MAX 48

/*
 * "1234 qemu-system-x86", "1234" where the name is not known, "-" where @pid is 0. The name is the
 * process's own choice and was made fit for a terminal. Returns @buf.
 */
const char *owner_describe(int pid, char buf[OWNER_TEXT_MAX]);

#endif
