/* SPDX-License-Identifier: Apache-2.0 */
/* A network's file while it is read: what netfile.c, which splits lines, and those that know what they mean share. */
#ifndef OPENVMNET_BASE_NETFILE_PARSE_H
#define OPENVMNET_BASE_NETFILE_PARSE_H

#include <stdio.h>

#include "base/netfile.h"

#define NETFILE_KEYS_MAX 31    /* options of the network */
#define NETFILE_SECTIONS_MAX 3 /* kinds of section */

/* What a key or section needs the network to have. */
enum netfile_need {
    NETFILE_NEEDS_NOTHING,
    NETFILE_NEEDS_ROUTER, /* a gateway of ours */
    NETFILE_NEEDS_DHCP,   /* and addresses from it */
    NETFILE_NEEDS_DNS,    /* and names */
    NETFILE_NEEDS_BRIDGED,
};

struct netfile_parse {
    FILE *stream;
    struct net_file *file;
    struct err *err;
    int error;                             /* the first one, whose text is in @err */
    unsigned error_line;                   /* where it is */
    unsigned line;                         /* that is being read */
    const struct netfile_section *section; /* NULL: before the first one */
    unsigned key_lines[NETFILE_KEYS_MAX];  /* where each first stands; 0: nowhere */
    unsigned section_lines[NETFILE_SECTIONS_MAX];
    unsigned dhcp_option_lines[NET_DHCP_OPTIONS_MAX];
};

struct netfile_section {
    const char *title; /* as in messages */
    const char *name;
    bool named; /* "[name TITLE]" */
    enum netfile_need need;
    int (*begin)(struct netfile_parse *parse, const char *title);
    int (*set)(struct netfile_parse *parse, const char *key, const char *value);
};

extern const struct netfile_section netfile_sections[NETFILE_SECTIONS_MAX];

/* An error at the line that is being read; returns -EINVAL. */
int netfile_refuse(struct netfile_parse *parse, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same with the text of @parse->err, which says all but where. */
int netfile_refuse_as_is(struct netfile_parse *parse);

/* netfile_keys.c: "@text = @value" before any section. 0 or -EINVAL. */
int netfile_set_key(struct netfile_parse *parse, const char *text, const char *value);

/* netfile_access.c: keys of the network that say who may do what. */
int netfile_add_user(struct netfile_parse *parse, const char *key, const char *value);
int netfile_add_group(struct netfile_parse *parse, const char *key, const char *value);
int netfile_set_quota(struct netfile_parse *parse, const char *key, const char *value);

/* What only the whole file shows: 0 or -EINVAL. */
int netfile_check_needs(struct netfile_parse *parse);
/* A guest's address must be one of the network's, where the file says which those are. */
int netfile_check_forwards(struct netfile_parse *parse);
int netfile_check_reservations(struct netfile_parse *parse);

#endif
