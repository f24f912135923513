/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open vSwitch's database answers whatever it likes. The input is what it sends before it hangs up, and the answer to
 * our first question, which is where it is asked for a bridge, is in it where the fuzzer gets so far.
 */
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/ovsdb.h"
#include "fuzz.h"

static char directory[] = "/tmp/openvmnet-fuzz-XXXXXX";

static void remove_directory(void)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/db.sock", directory);
    unlink(path);
    rmdir(directory);
}

/* Listens where ovsdb_open() looks. */
static int listen_once(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    REQUIRE(mkdtemp(directory) && fd >= 0 && setenv("OVS_RUNDIR", directory, 1) == 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/db.sock", directory);
    REQUIRE(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 1) == 0);
    atexit(remove_directory);
    return fd;
}

static void on_update(void *context)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    static int listen_fd = -1;
    struct ovsdb_role role;
    struct ovsdb *db;
    int fd;

    if (listen_fd < 0)
        listen_fd = listen_once();
    if (len_bytes > 65536) /* a socket takes this much at once */
        return 0;
    REQUIRE(ovsdb_open(on_update, NULL, &db) == 0);
    fd = accept(listen_fd, NULL, NULL);
    REQUIRE(fd >= 0 && send(fd, data, len_bytes, MSG_NOSIGNAL) == (ssize_t)len_bytes);
    shutdown(fd, SHUT_WR);
    ovsdb_find_role(db, "eth0", &role);
    ovsdb_close(db);
    close(fd);
    return 0;
}
