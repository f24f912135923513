/* SPDX-License-Identifier: Apache-2.0 */
/* The way to a file, step by step, for who is told of changes in folders and files but not of names. */
#ifndef OPENVMNET_BASE_FILE_WALK_H
#define OPENVMNET_BASE_FILE_WALK_H

#include <stdbool.h>

#define FILE_WALK_LINKS_MAX 8
#define FILE_WALK_STEPS_MAX (FILE_WALK_LINKS_MAX + 2) /* a folder before each link, and the file */

/*
 * Calls @step for the folder of @path, an absolute path, with the name in it that matters; where that is a link, for the
 * folder of what it leads to, and so on; at last for the file itself, with NULL. Where a folder is missing it is
 * the nearest above, with the next name on the way, and the walk ends. @step returns false, with errno, where it
 * cannot watch.
 */
void file_walk(const char *path, bool (*step)(void *context, const char *path, const char *name),
               void *context);

#endif
