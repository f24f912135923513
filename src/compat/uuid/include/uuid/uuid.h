/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uuid(3) as macOS has it, as far as programs for vmnet use it; installed and used only where the system has no
 * libuuid. All of it is here: there is no library to link with.
 */
#ifndef OPENVMNET_UUID_H
#define OPENVMNET_UUID_H

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef unsigned char uuid_t[16];

static inline void uuid_clear(uuid_t uuid)
{
    memset(uuid, 0, sizeof(uuid_t));
}

static inline void uuid_copy(uuid_t to, const uuid_t from)
{
    memcpy(to, from, sizeof(uuid_t));
}

static inline int uuid_compare(const uuid_t a, const uuid_t b)
{
    return memcmp(a, b, sizeof(uuid_t));
}

static inline int uuid_is_null(const uuid_t uuid)
{
    static const uuid_t null = {0};

    return uuid_compare(uuid, null) == 0;
}

/* A random one (RFC 9562 5.4). */
static inline void uuid_generate_random(uuid_t uuid)
{
    /* So few bytes come at once, but before the system's first random ones. */
    while (getrandom(uuid, sizeof(uuid_t), 0) != sizeof(uuid_t))
        ;
    uuid[6] = (unsigned char)(0x40 | (uuid[6] & 0x0f));
    uuid[8] = (unsigned char)(0x80 | (uuid[8] & 0x3f));
}

static inline void uuid_generate(uuid_t uuid)
{
    uuid_generate_random(uuid);
}

/* 0; -1 where @text is none, and then @uuid is as it was. */
static inline int uuid_parse(const char *text, uuid_t uuid)
{
    uuid_t parsed;

    if (strlen(text) != 36)
        return -1;
    for (int i = 0; i < 16; i++) {
        unsigned value;
        int len = 0;

        if (i == 4 || i == 6 || i == 8 || i == 10)
            if (*text++ != '-')
                return -1;
        if (!strchr("0123456789abcdefABCDEF", text[0]) ||
            sscanf(text, "%2x%n", &value, &len) != 1 || len != 2)
            return -1;
        parsed[i] = (unsigned char)value;
        text += 2;
    }
    uuid_copy(uuid, parsed);
    return 0;
}

/* @text has room for 37 bytes. */
static inline void uuid_unparse_upper(const uuid_t uuid, char *text)
{
    for (int i = 0; i < 16; i++)
        text += sprintf(text, "%s%02X", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
}

static inline void uuid_unparse_lower(const uuid_t uuid, char *text)
{
    for (int i = 0; i < 16; i++)
        text += sprintf(text, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
}

static inline void uuid_unparse(const uuid_t uuid, char *text)
{
    uuid_unparse_upper(uuid, text);
}

#ifdef __cplusplus
}
#endif

#endif
