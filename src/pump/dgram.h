/* SPDX-License-Identifier: Apache-2.0 */
/* What dgram.c needs of the system: dgram_linux.c, dgram_macos.c. */
#ifndef OPENVMNET_PUMP_DGRAM_H
#define OPENVMNET_PUMP_DGRAM_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

/*
 * Receives what there is, a datagram for each of @parts and at most @len (PUMP_FRAMES_A_TURN), without waiting. Their
 * iov_len become those of the datagrams, cut where these are larger. @ret_name (NULL: not wanted) is the
 * first one's sender. Returns how many, or -errno.
 */
int dgram_receive(int socket_fd, struct iovec *parts, unsigned len, struct sockaddr_un *ret_name,
                  socklen_t *ret_name_len);

/* Sends each of @parts, without waiting. Returns how many, or -errno where the first one does not go. */
int dgram_send(int socket_fd, struct iovec *parts, unsigned len);

/* Prepares one end of a pair so that the other's probe finds it. 0 or -errno. */
int dgram_make_findable(int socket_fd);

/*
 * -errno where the peer is known to be gone. @has_lifeline: the socket is at a path, and its peer may be a
 * stranger that sends to it.
 */
int dgram_probe(int socket_fd, bool has_lifeline);

#endif
