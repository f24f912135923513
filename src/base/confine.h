/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving up rights for good. Each system has its own file; where a kernel lacks a mechanism, what it has
 * is used and the rest is left out, because the network must work on older kernels too.
 */
#ifndef OPENVMNET_BASE_CONFINE_H
#define OPENVMNET_BASE_CONFINE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/*
 * The calling process is killed with @signal when its parent ends. Returns -ESRCH where the parent, which
 * must be process @parent_pid, has ended already.
 */
int confine_die_with_parent(int parent_pid, int signal);

/* Orphans below the calling process become its children instead of init's. */
void confine_adopt_orphans(void);

/*
 * Keeps only the listed capabilities (numbers of capabilities(7)) of those that it has, and hands them on to programs that
 * are executed where @inherit is true, whatever user runs them. No new privileges from then on.
 */
int confine_capabilities(const int *capabilities, size_t len, int inherit);

/*
 * From now on files can be read only at or below @readable and written, made and removed only below
 * @writable (landlock(7)). NULL ends each list; paths that do not exist are passed over.
 * -EOPNOTSUPP where the kernel has no Landlock: then nothing is confined.
 */
int confine_files(const char *const *readable, const char *const *writable);

/*
 * Linux only, of root: becomes user and group @uid and @gid without other groups, with the listed capabilities and no
 * more. 0 or -EPERM.
 */
int confine_user(unsigned uid, unsigned gid, const int *capabilities, size_t len);
/*
 * Linux only: whether what the process may still do is in effect, or only to be had again, by itself or by a process
 * that it forks. 0 or -EPERM.
 */
int confine_effective(bool on);
/*
 * Linux only: no new privileges, and no system calls for what no network needs: to change the kernel, the clock or
 * mounts, to look into other processes. Holds for all that is started from here on. With @namespaces these can be made, and
 * programs loaded for the links there (bpf(2)).
 * 0 or -errno with the reason.
 */
int confine_service_calls(bool namespaces, struct err *err);

/* Only the system calls that the engine needs; others fail with ENOSYS (seccomp(2)). */
int confine_engine_calls(struct err *err);

#endif
