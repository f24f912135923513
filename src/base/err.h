/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reason that a person can read, carried next to an error code.
 *
 * Functions that can fail for a reason which the user must know take a `struct err *` as their last
 * argument. They return -errno and fill the text: what was asked, what is wrong, what to do. The text
 * is for people; decisions are made on the returned code alone.
 */
#ifndef OPENVMNET_BASE_ERR_H
#define OPENVMNET_BASE_ERR_H

#define ERR_TEXT_MAX 1024

struct err {
    char text[ERR_TEXT_MAX];
};

/*
 * Writes the text (truncated at ERR_TEXT_MAX - 1 bytes) and returns @code, so that a caller can write
 * `return err_set(err, -EINVAL, "…")`. A NULL @err is allowed: then only the code is returned.
 */
int err_set(struct err *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "<prefix>: " in front of the text that is already there; returns @code. */
int err_prefix(struct err *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * The name of a negative errno, "EINVAL", as it goes over the control socket, where numbers are each system's own. What has
 * none there is "EIO", from which -EIO comes back. -ECONNRESET has none: that is the connection's own end.
 */
const char *err_code_name(int code);
int err_code_parse(const char *name);

/* What comes back, for an analyzer that looks at one file at a time (make lint). */
#ifdef __clang_analyzer__
#define err_set(err, code, ...) (err_set(err, code, __VA_ARGS__), (code))
#define err_prefix(err, code, ...) (err_prefix(err, code, __VA_ARGS__), (code))
#endif

#endif
