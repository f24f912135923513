/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors that no program gets which another thread starts meanwhile, and messages over unix sockets with
 * descriptors beside them (SCM_RIGHTS, unix(7)). A system without close-on-exec at birth sets it right after,
 * and has that gap.
 */
#ifndef OPENVMNET_BASE_DESCRIPTOR_H
#define OPENVMNET_BASE_DESCRIPTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#define DESCRIPTORS_MAX 32 /* with one message */

/* As pipe(2), socket(2) and socketpair(2), close-on-exec, and non-blocking where that is asked. 0 or -errno. */
int descriptor_pipe(bool nonblocking, int ret_fds[2]);
/* The descriptor or -errno. Writing to a socket whose peer is gone raises no signal where MSG_NOSIGNAL is given. */
int descriptor_socket(int domain, int type, bool nonblocking);
int descriptor_socket_pair(int type, int ret_fds[2]);
/* A connection of a listening socket, close-on-exec and non-blocking; the descriptor or -errno. */
int descriptor_accept(int listen_fd);

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

/* Only for descriptor.c: recvmsg(2), whose descriptors are close-on-exec. */
ssize_t descriptor_receive_message(int socket_fd, struct msghdr *header);

#endif
