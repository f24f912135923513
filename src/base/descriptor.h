/* SPDX-License-Identifier: Apache-2.0 */
/* Messages over unix sockets with descriptors beside them (SCM_RIGHTS, unix(7)). */
#ifndef OPENVMNET_BASE_DESCRIPTOR_H
#define OPENVMNET_BASE_DESCRIPTOR_H

#include <stddef.h>
#include <sys/types.h>

#define DESCRIPTORS_MAX 32 /* with one message */

/*
 * Sends @len_bytes with @fds_len descriptors (at most DESCRIPTORS_MAX), which stay the caller's. @flags
 * are those of sendmsg(2). Returns the bytes sent, on a stream perhaps fewer, or -errno.
 */
ssize_t descriptor_send(int socket_fd, const void *data, size_t len_bytes, const int *fds,
                        unsigned fds_len, int flags);

/*
 * Receives at most @size_bytes and at most @fds_max descriptors, which are the caller's and
 * close-on-exec; those beyond are closed. *ret_fds_len is how many there are. Returns the bytes received,
 * 0 at the end, or -errno.
 */
ssize_t descriptor_receive(int socket_fd, void *data, size_t size_bytes, int *ret_fds,
                           unsigned fds_max, unsigned *ret_fds_len);

#endif
