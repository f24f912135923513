/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OPENVMNET_BASE_FILE_WATCH_H
#define OPENVMNET_BASE_FILE_WATCH_H

#include "base/loop.h"

/*
 * Tells from @loop that a file may be another now, or have other content. It need not exist, nor the folders
 * that it is in, and may be reached by links: whichever of them is made, replaced or removed is noticed. A file that
 * is written in place is told when its writer closes it (macOS: with what is written). A mount on top of it is not noticed.
 */
struct file_watch;
int file_watch_new(struct loop *loop, const char *path, void (*on_change)(void *context),
                   void *context, struct file_watch **ret_watch);
void file_watch_free(struct file_watch *watch);

#endif
