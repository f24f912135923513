/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libinih splits lines into keys and values. How it treats long lines, indented ones and long titles
 * differs with how it was built, and it may cut without a word; so it is given lines that are the same
 * to all builds. They begin with their first character (else it might be a continued value), fit its
 * buffer, and titles of sections are read here.
 */
#include "base/netfile.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/netfile_parse.h"
#include "base/paths.h"
#include "base/text.h"

int netfile_refuse_as_is(struct netfile_parse *parse)
{
    parse->error = -EINVAL;
    parse->error_line = parse->line;
    return err_prefix(parse->err, -EINVAL, "%s:%u", parse->file->path, parse->line);
}

int netfile_refuse(struct netfile_parse *parse, const char *format, ...)
{
    char text[ERR_TEXT_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    err_set(parse->err, -EINVAL, "%s", text);
    return netfile_refuse_as_is(parse);
}

/* "[name]" or "[name title]"; @line is changed. */
static int begin_section(struct netfile_parse *parse, char *line)
{
    char *end = strchr(line, ']'), *name = line + 1 + strspn(line + 1, " \t"), *title, *rest;

    rest = end ? end + 1 + strspn(end + 1, " \t") : NULL;
    if (!rest || (*rest && !strchr(";#\r", *rest)))
        return netfile_refuse(parse, "a section is not '[NAME]' alone on its line: '%s'",
                              text_show(line).text);
    while (end > name && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *end = '\0';
    title = name + strcspn(name, " \t");
    if (*title)
        *title++ = '\0';
    title += strspn(title, " \t");
    for (unsigned i = 0; i < NETFILE_SECTIONS_MAX; i++) {
        const struct netfile_section *section = &netfile_sections[i];

        if (strcmp(name, section->name) != 0 || (!section->named && *title))
            continue;
        if (!parse->section_lines[i])
            parse->section_lines[i] = parse->line;
        parse->section = section;
        return section->begin ? section->begin(parse, title) : 0;
    }
    return netfile_refuse(parse,
                          "unknown section '%s%s%s'; the sections are: [host NAME], [dns] and "
                          "[dhcp-options]",
                          text_show(name).text, *title ? " " : "", text_show(title).text);
}

/*
 * Reads a line without its indentation; a comment is an empty line. Returns its length or -1: the end.
 * One that does not fit, and one with a byte that no text has, are errors.
 */
static int read_text(struct netfile_parse *parse, char *buf, int max_bytes)
{
    int len = 0, c = getc(parse->stream);

    if (c == EOF)
        return -1;
    parse->line++;
    for (; c != EOF && c != '\n'; c = getc(parse->stream)) {
        if ((len == 0 && (c == ' ' || c == '\t' || c == '\r')) ||
            (len == 1 && (buf[0] == '#' || buf[0] == ';')))
            continue;
        if ((c < ' ' && c != '\t' && c != '\r') || c == 0x7f) {
            netfile_refuse(parse, "byte 0x%02x is not text", c);
            return -1;
        }
        if (len >= max_bytes - 2) {
            netfile_refuse(parse, "the line has more than %d characters: write a shorter one",
                           max_bytes - 2);
            return -1;
        }
        buf[len++] = (char)c;
    }
    return len == 1 && (buf[0] == '#' || buf[0] == ';') ? 0 : len;
}

/* libinih's reader. */
static char *read_line(char *buf, int max_bytes, void *stream)
{
    static const char bom[] = "\xef\xbb\xbf";
    char copy[512];
    struct netfile_parse *parse = stream;
    int len = parse->error ? -1 : read_text(parse, buf, max_bytes);

    if (len < 0)
        return NULL;
    if (parse->line == 1 && len >= 3 && memcmp(buf, bom, 3) == 0) {
        len -= 3;
        memmove(buf, buf + 3, (size_t)len);
    }
    buf[len] = '\0';
    if (buf[0] == '[') {
        snprintf(copy, sizeof(copy), "%s", buf);
        if (begin_section(parse, copy) < 0)
            return NULL;
    } else if (buf[strcspn(buf, "=:")] == ':') {
        /* To the library ':' is as good, but then "option:6 = x" is a key 'option'. */
        netfile_refuse(parse, "'%s' has a ':' before '=': write KEY = VALUE", text_show(buf).text);
        return NULL;
    }
    buf[len] = '\n';
    buf[len + 1] = '\0';
    return buf;
}

static int take_pair(void *user, const char *section, const char *name, const char *value)
{
    struct netfile_parse *parse = user;

    if (!name || parse->error)
        return 1;
    if (!value)
        return 0;
    if (parse->section)
        return parse->section->set(parse, name, value) == 0;
    return netfile_set_key(parse, name, value) == 0;
}

static int parse_lines(struct netfile_parse *parse)
{
    /* 0, or the first line that was wrong to the library or to take_pair(). */
    int wrong = ini_parse_stream(read_line, parse, take_pair, parse);

    if (wrong < 0)
        return err_set(parse->err, -ENOMEM, "%s: out of memory", parse->file->path);
    if (ferror(parse->stream))
        return err_set(parse->err, -EIO, "%s: cannot be read", parse->file->path);
    if (wrong > 0 && (!parse->error || (unsigned)wrong < parse->error_line)) {
        parse->line = (unsigned)wrong;
        return netfile_refuse(parse, "the line is none of 'KEY = VALUE', '[SECTION]' and a "
                                     "comment, which begins with '#' or ';'");
    }
    return parse->error;
}

/* Completes the spec under the name that the file gives it. */
static int complete_spec(struct netfile_parse *parse, const char *name)
{
    struct net_spec *spec = &parse->file->spec;
    int error;

    /* A UUID makes a name, and the file's must be that one. */
    if (!spec->net_uuid[0])
        snprintf(spec->name, sizeof(spec->name), "%s", name);
    error = net_spec_complete(spec, parse->err);
    if (error)
        return err_prefix(parse->err, error, "%s", parse->file->path);
    if (name[0] && strcmp(spec->name, name) != 0)
        return err_set(parse->err, -EINVAL,
                       "%s: net-uuid = %s makes this the network '%s', and the file is that of "
                       "'%s': name the file %s.conf or leave net-uuid out",
                       parse->file->path, spec->net_uuid, spec->name, name, spec->name);
    return 0;
}

/* -errno with the reason, or a stream to be closed. */
static int open_file(const char *path, FILE **ret_stream, struct err *err)
{
    /* Opening a FIFO must not wait. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), error = 0;
    struct stat status = {0};

    if (fd < 0 || fstat(fd, &status) < 0)
        error = -errno;
    if (error)
        err_set(err, error, "%s: cannot be read: %s", path, strerror(-error));
    else if (!S_ISREG(status.st_mode))
        error = err_set(err, -EINVAL, "%s: is not a regular file", path);
    *ret_stream = error ? NULL : fdopen(fd, "r");
    if (!error && !*ret_stream)
        error = err_set(err, -errno, "%s: cannot be read: %s", path, strerror(errno));
    if (error && fd >= 0)
        close(fd);
    return error;
}

int net_file_read(const char *path, const char *name, struct net_file *ret_file, struct err *err)
{
    struct netfile_parse parse = {.file = ret_file, .err = err};
    int error;

    memset(ret_file, 0, sizeof(*ret_file));
    ret_file->access.user_ports = NET_USER_PORTS_DEFAULT;
    ret_file->access.user_forwards = NET_USER_FORWARDS_DEFAULT;
    if (strlen(path) >= sizeof(ret_file->path))
        return err_set(err, -ENAMETOOLONG, "%s: the path has more than %zu bytes",
                       text_show(path).text, sizeof(ret_file->path) - 1);
    snprintf(ret_file->path, sizeof(ret_file->path), "%s", path);
    error = name[0] ? net_name_check(name, err) : 0;
    if (error)
        return err_prefix(err, error, "%s", path);
    error = open_file(path, &parse.stream, err);
    if (error)
        return error;
    error = parse_lines(&parse);
    fclose(parse.stream);
    if (!error)
        error = complete_spec(&parse, name);
    if (!error)
        error = netfile_check_needs(&parse);
    if (!error)
        error = netfile_check_reservations(&parse);
    return error ? error : netfile_check_forwards(&parse);
}

/* 0 where there is a regular file that can be read, -ENOENT where there is none. */
static int probe(const char *path, struct err *err)
{
    FILE *stream;
    int error = open_file(path, &stream, err);

    if (!error)
        fclose(stream);
    return error == -ENOTDIR ? -ENOENT : error;
}

int net_file_find(enum net_scope scope, const char *name, char ret_path[512], struct err *err)
{
    int error = net_name_check(name, err);

    if (error)
        return error;
    error = path_config(scope, name, ret_path);
    if (error == -ENAMETOOLONG)
        return err_set(err, error, "the path of %s.conf is too long", name);
    if (!error)
        error = probe(ret_path, err);
    if (error == -ENOENT) {
        ret_path[0] = '\0';
        err_set(err, 0, "%s", "");
    }
    return error;
}
