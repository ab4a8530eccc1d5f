// SPDX-License-Identifier: MIT
//
// Layers that are made to cost time: what they cost is bounded, and they are refused.
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
// clang-format on

#include "base/alloc.h"
#include "builder/container/rootfs.h"

#include <sys/resource.h>

#if defined __SANITIZE_THREAD__ || defined __SANITIZE_ADDRESS__
enum { NAMES = 30000 };
#else
enum { NAMES = 300000 };
#endif
enum { SECONDS = 120 }; // of the processor; what is quadratic takes many minutes

/* SIGXCPU after so many more seconds of processor time; 0 = no limit. */
static void limit(rlim_t seconds)
{
    struct rusage used;
    struct rlimit r;
    assert_int_equal(getrusage(RUSAGE_SELF, &used), 0);
    assert_int_equal(getrlimit(RLIMIT_CPU, &r), 0);
    r.rlim_cur = seconds ? (rlim_t)used.ru_utime.tv_sec + (rlim_t)used.ru_stime.tv_sec + seconds
                         : r.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_CPU, &r), 0);
}

static int setup(void **state)
{
    struct rootfs *r = rootfs_new();
    rootfs_begin_layer(r);
    *state = r;
    limit(SECONDS);
    return 0;
}

static int teardown(void **state)
{
    limit(0);
    rootfs_free(*state);
    return 0;
}

static int add(struct rootfs *r, unsigned type, const char *path, const char *link,
               struct error **err)
{
    struct tar_item item = {.path = str_of(path), .link = str_of(link)};
    item.head.type = (uint8_t)type;
    return rootfs_add(r, &item, err);
}

static void add_names(struct rootfs *r, unsigned type, const char *link)
{
    for (unsigned i = 0; i < NAMES; i++) {
        AUTO_FREE char *name = xasprintf("d/%06u", i);
        assert_int_equal(add(r, type, name, link, NULL), 0);
    }
}

static void the_names_of_a_file_go_one_by_one(void **state)
{
    struct rootfs *r = *state;
    assert_int_equal(add(r, STREAM_FIFO, "first", "", NULL), 0);
    add_names(r, STREAM_HARDLINK, "first");
    rootfs_begin_layer(r);
    for (unsigned i = 0; i < NAMES; i++) {
        AUTO_FREE char *marker = xasprintf("d/.wh.%06u", i);
        assert_int_equal(add(r, STREAM_FILE, marker, "", NULL), 0);
    }
    rootfs_finish(r);
    size_t pipes = 0;
    vec_foreach (struct rootfs_node **, n, &r->plain)
        pipes += (*n)->file->head.type == STREAM_FIFO;
    assert_int_equal(pipes, 1);
}

/* The same entry, until it is too much. */
static void expect_refusal(struct rootfs *r, const char *path)
{
    CLEANUP(error_freep) struct error *err = NULL;
    while (add(r, STREAM_FILE, path, "", &err) == 0)
        assert_true(r->n_entries < 2000000);
    assert_string_equal(err->message,
                        "its links, whiteouts and replaced files are too many to follow");
}

static void folders_are_not_hidden_over_and_over(void **state)
{
    struct rootfs *r = *state;
    add_names(r, STREAM_FILE, "");
    rootfs_begin_layer(r);
    expect_refusal(r, "d/.wh..wh..opq");
}

static void long_ways_through_links_are_not_gone_over_and_over(void **state)
{
    struct rootfs *r = *state;
    CLEANUP(buf_clear) struct buf way = BUF_INIT;
    for (unsigned i = 0; i < 1000; i++)
        buf_adds(&way, i ? "/a" : "a");
    assert_int_equal(add(r, STREAM_DIR, way.data, "", NULL), 0);
    for (unsigned i = 0; i < 1000; i++)
        buf_adds(&way, "/..");
    buf_adds(&way, "/0");
    for (unsigned i = 0; i < 20; i++) {
        char name[] = {(char)('0' + i), '\0'};
        way.data[way.len - 1] = (char)('0' + i + 1);
        assert_int_equal(add(r, STREAM_SYMLINK, name, way.data, NULL), 0);
    }
    expect_refusal(r, "0/x");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_names_of_a_file_go_one_by_one),
        TEST(folders_are_not_hidden_over_and_over),
        TEST(long_ways_through_links_are_not_gone_over_and_over),
    };
    return cmocka_run_group_tests_name("rootfs", tests, NULL, NULL);
}
