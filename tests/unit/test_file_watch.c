/* SPDX-License-Identifier: Apache-2.0 */
/* Every way in which programs replace resolv.conf is noticed, and nothing else is. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file_watch.h"
#include "base/paths.h"
#include "base/table.h"

struct fixture {
    char directory[40];
    struct loop *loop;
    struct file_watch *watch;
    struct loop_timer timer;
    char path[64];
    unsigned changes;
};

static struct fixture fixture;

static const char *in(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, 128, "%s/%s", fixture.directory, name);
    return path;
}

static void write_file(const char *name, const char *content)
{
    FILE *file = fopen(in(name), "we");

    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void on_timer(struct loop_timer *timer)
{
    (void)timer;
    loop_stop(fixture.loop);
}

/* inotify has queued an event before the call returns that caused it: nothing has to be waited for. */
static bool has_changed(void)
{
    fixture.changes = 0;
    loop_timer_set(fixture.loop, &fixture.timer, 0);
    assert_int_equal(loop_run(fixture.loop), 0);
    return fixture.changes > 0;
}

static void on_change(void *context)
{
    ((struct fixture *)context)->changes++;
}

static void watch(const char *name)
{
    snprintf(fixture.path, sizeof(fixture.path), "%s", in(name));
    assert_int_equal(
        file_watch_new(fixture.loop, fixture.path, on_change, &fixture, &fixture.watch), 0);
    assert_false(has_changed());
}

static void test_a_file(void **state)
{
    (void)state;
    write_file("conf", "1");
    watch("conf");
    write_file("other", "1");
    assert_int_equal(unlink(in("other")), 0);
    assert_false(has_changed());
    write_file("conf", "2");
    assert_true(has_changed());
    write_file("conf.new", "3");
    assert_false(has_changed());
    assert_int_equal(rename(in("conf.new"), in("conf")), 0);
    assert_true(has_changed());
    write_file("conf", "4"); /* the new one is watched too */
    assert_true(has_changed());
    assert_int_equal(unlink(in("conf")), 0);
    assert_true(has_changed());
    write_file("conf", "5");
    assert_true(has_changed());
    assert_false(has_changed());
}

/* A folder does not tell what another of the file's names is used for. */
static void test_another_name_of_the_file(void **state)
{
    (void)state;
    write_file("conf", "1");
    assert_int_equal(mkdir(in("elsewhere"), 0700), 0);
    assert_int_equal(link(in("conf"), in("elsewhere/conf")), 0);
    watch("conf");
    write_file("elsewhere/conf", "2");
    assert_true(has_changed());
}

/* As systemd-resolved and resolvconf have it. */
static void test_links(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in("run"), 0700), 0);
    write_file("run/stub", "1");
    write_file("run/full", "1");
    assert_int_equal(symlink("run/middle", in("conf")), 0);
    assert_int_equal(symlink(in("run/stub"), in("run/middle")), 0);
    watch("conf");
    write_file("run/full", "2");
    assert_false(has_changed());
    write_file("run/stub", "2");
    assert_true(has_changed());
    write_file("run/stub.new", "3");
    assert_int_equal(rename(in("run/stub.new"), in("run/stub")), 0);
    assert_true(has_changed());
    /* The link in the middle leads elsewhere from now on. */
    assert_int_equal(symlink("full", in("run/middle.new")), 0);
    assert_int_equal(rename(in("run/middle.new"), in("run/middle")), 0);
    assert_true(has_changed());
    write_file("run/full", "3");
    assert_true(has_changed());
    write_file("run/stub", "4");
    assert_false(has_changed());
    /* The first link becomes a file. */
    write_file("conf.new", "1");
    assert_int_equal(rename(in("conf.new"), in("conf")), 0);
    assert_true(has_changed());
    write_file("run/full", "4");
    assert_false(has_changed());
}

/* The program that owns the folder is not running yet. */
static void test_a_link_into_nothing(void **state)
{
    (void)state;
    assert_int_equal(symlink("run/resolve/stub", in("conf")), 0);
    watch("conf");
    assert_int_equal(mkdir(in("other"), 0700), 0);
    assert_false(has_changed());
    assert_int_equal(mkdir(in("run"), 0700), 0);
    assert_true(has_changed());
    assert_int_equal(mkdir(in("run/resolve"), 0700), 0);
    assert_true(has_changed());
    write_file("run/resolve/stub", "1");
    assert_true(has_changed());
    assert_int_equal(unlink(in("run/resolve/stub")), 0);
    assert_int_equal(rmdir(in("run/resolve")), 0);
    assert_true(has_changed());
    assert_int_equal(mkdir(in("run/resolve"), 0700), 0);
    assert_true(has_changed());
}

static void test_a_ring_of_links(void **state)
{
    (void)state;
    assert_int_equal(symlink("b", in("conf")), 0);
    assert_int_equal(symlink("conf", in("b")), 0);
    watch("conf");
    assert_int_equal(unlink(in("b")), 0);
    assert_true(has_changed());
}

static int set_up(void **state)
{
    (void)state;
    memset(&fixture, 0, sizeof(fixture));
    strcpy(fixture.directory, "/tmp/openvmnet-unit-XXXXXX");
    fixture.timer.on_timer = on_timer;
    return mkdtemp(fixture.directory) ? loop_new(&fixture.loop) : -1;
}

static int tear_down(void **state)
{
    (void)state;
    file_watch_free(fixture.watch);
    loop_timer_clear(fixture.loop, &fixture.timer);
    loop_free(fixture.loop);
    path_remove_tree(fixture.directory);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_file),          TEST(test_another_name_of_the_file),
        TEST(test_links),           TEST(test_a_link_into_nothing),
        TEST(test_a_ring_of_links),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
