/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line a message to stderr, "<name>: <text>"; before it "<N>", a priority of syslog(3), where that is systemd's
 * journal, as it says in $JOURNAL_STREAM (systemd.exec(5), sd-daemon(3)). The log is the only global state of the project.
 * The amount is bounded: each process writes at most LOG_LINES_MAX lines in LOG_WINDOW_MS, then says
 * once how many it left out. A guest can therefore not fill a disk by making us complain.
 */
#ifndef OPENVMNET_BASE_LOG_H
#define OPENVMNET_BASE_LOG_H

#include <stdbool.h>

#define LOG_LINES_MAX 200
#define LOG_WINDOW_MS 10000

/* @name is kept by reference: it must live as long as the process. */
void log_init(const char *name, bool verbose);

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Written only where log_init() was called with verbose. */
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
