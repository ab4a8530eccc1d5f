// SPDX-License-Identifier: MIT
//
// qcow2/chain.h against a model in memory and against qemu-img: chains of files with different
// clusters, written in random pieces.
#include "base/alloc.h"
#include "base/file.h"
#include "base/process.h"
#include "qcow2/chain.h"
#include "qcow2/qcow2.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { SIZE = 3 << 20, FILES = 4, ROUNDS = 60 };

struct world {
    char dir[64];
    unsigned char *model;
    int fds[FILES];
    size_t n;
    unsigned seed;
};

static unsigned next(struct world *w, unsigned below)
{
    w->seed = w->seed * 1103515245u + 12345u;
    return (w->seed >> 8) % below;
}

static char *file(const struct world *w, size_t i)
{
    return xasprintf("%s/%zu", w->dir, i);
}

/* What qemu-img, told only of the top file and its backing names, thinks of the chain. */
static void ask_qemu(struct world *w)
{
    AUTO_FREE char *top = file(w, w->n - 1), *raw = xasprintf("%s/raw", w->dir);
    CLEANUP(buf_clear) struct buf got = BUF_INIT;
    struct error *err = NULL;
    assert_int_equal(process_run(NULL, ARGV("qemu-img", "check", "-q", top), NULL, &err), 0);
    assert_int_equal(
        process_run(NULL, ARGV("qemu-img", "convert", "-O", "raw", top, raw), NULL, &err), 0);
    assert_int_equal(file_read(raw, SIZE, &got, &err), 0);
    assert_int_equal(got.len, SIZE);
    assert_memory_equal(got.data, w->model, SIZE);
}

static void add_overlay(struct world *w, unsigned bits)
{
    AUTO_FREE char *path = file(w, w->n), *below = xasprintf("%zu", w->n - 1);
    struct error *err = NULL;
    struct qcow2_overlay o = {.size = SIZE, .cluster_bits = bits, .backing = w->n ? below : NULL};
    assert_int_equal(qcow2_create_overlay(path, &o, &err), 0);
    w->fds[w->n] = open(path, O_RDWR | O_CLOEXEC);
    assert_true(w->fds[w->n++] >= 0);
}

static void write_some(struct world *w, struct qcow2_chain *c)
{
    struct error *err = NULL;
    unsigned at = next(w, SIZE), n = 1 + next(w, next(w, 4) ? 9000 : 700000);
    n = n < SIZE - at ? n : SIZE - at;
    bool zero = !next(w, 3);
    if (next(w, 2))
        at &= ~4095u;
    for (unsigned i = 0; i < n; i++)
        w->model[at + i] = zero ? 0 : (unsigned char)(i / 3 + w->seed);
    assert_int_equal(qcow2_chain_write(c, w->model + at, n, at, &err), 0);
}

static void compare(struct world *w, struct qcow2_chain *c)
{
    AUTO_FREE unsigned char *got = xmalloc(SIZE);
    struct error *err = NULL;
    assert_int_equal(qcow2_chain_read(c, got, SIZE, 0, &err), 0);
    assert_memory_equal(got, w->model, SIZE);
}

static void write_layer(struct world *w)
{
    for (unsigned again = 0; again < 2; again++) { // the second time into what is there
        struct error *err = NULL;
        CLEANUP(qcow2_chain_freep) struct qcow2_chain *c = qcow2_chain_open(w->fds, w->n, &err);
        assert_non_null(c);
        assert_int_equal(qcow2_chain_size(c), SIZE);
        for (unsigned i = 0; i < ROUNDS; i++)
            write_some(w, c);
        compare(w, c);
        assert_int_equal(qcow2_chain_finish(c, &err), 0);
        ask_qemu(w);
    }
}

static void test_model(void **state)
{
    // clusters of 512 bytes: the table of the reference counts has to move
    static const unsigned bits[FILES] = {16, 12, 9, 12};
    struct world w = {.dir = "/tmp/kiln-chain-XXXXXX", .seed = 7};
    (void)state;
    assert_non_null(mkdtemp(w.dir));
    w.model = xcalloc(1, SIZE);
    for (size_t i = 0; i < FILES; i++) {
        add_overlay(&w, bits[i]);
        write_layer(&w);
    }
    for (size_t i = 0; i < w.n; i++)
        close(w.fds[i]);
    free(w.model);
    assert_int_equal(remove_tree(w.dir, NULL), 0);
}

/* Zeros over zeros take no room; zeros over something hide it. */
static void test_zeros(void **state)
{
    struct world w = {.dir = "/tmp/kiln-chain-XXXXXX", .seed = 9};
    struct error *err = NULL;
    struct stat before, after;
    (void)state;
    assert_non_null(mkdtemp(w.dir));
    w.model = xcalloc(1, SIZE);
    add_overlay(&w, 16);
    write_layer(&w);
    add_overlay(&w, 12);
    memset(w.model, 0, SIZE);
    struct qcow2_chain *c = qcow2_chain_open(w.fds, w.n, &err);
    assert_int_equal(fstat(w.fds[1], &before), 0);
    assert_int_equal(qcow2_chain_write(c, w.model, SIZE, 0, &err), 0);
    assert_int_equal(qcow2_chain_finish(c, &err), 0);
    compare(&w, c);
    qcow2_chain_free(c);
    ask_qemu(&w);
    assert_int_equal(fstat(w.fds[1], &after), 0);
    assert_true(after.st_size - before.st_size < 64 * 1024); // tables only
    close(w.fds[0]);
    close(w.fds[1]);
    free(w.model);
    assert_int_equal(remove_tree(w.dir, NULL), 0);
}

static void test_refusals(void **state)
{
    struct world w = {.dir = "/tmp/kiln-chain-XXXXXX"};
    struct error *err = NULL;
    char bytes[16] = {0};
    (void)state;
    assert_non_null(mkdtemp(w.dir));
    add_overlay(&w, 16);
    struct qcow2_chain *c = qcow2_chain_open(w.fds, 1, &err);
    assert_non_null(c);
    assert_int_equal(qcow2_chain_read(c, bytes, sizeof bytes, SIZE - 8, &err), -1);
    error_free(STEAL(err));
    assert_int_equal(qcow2_chain_write(c, bytes, sizeof bytes, UINT64_MAX - 4, &err), -1);
    error_free(STEAL(err));
    qcow2_chain_free(c);
    // a file of QEMU's with compressed clusters
    AUTO_FREE char *raw = xasprintf("%s/raw", w.dir), *small = xasprintf("%s/small", w.dir);
    assert_int_equal(file_write_whole(raw, 0644, "some bytes", 10, &err), 0);
    assert_int_equal(
        process_run(NULL, ARGV("qemu-img", "convert", "-c", "-O", "qcow2", raw, small), NULL, &err),
        0);
    AUTO_CLOSE int fd = open(small, O_RDWR | O_CLOEXEC);
    c = qcow2_chain_open(&fd, 1, &err);
    assert_non_null(c);
    assert_int_equal(qcow2_chain_read(c, bytes, 10, 0, &err), -1);
    assert_string_equal(err->message, "a layer is compressed");
    error_free(STEAL(err));
    qcow2_chain_free(c);
    close(w.fds[0]);
    assert_int_equal(remove_tree(w.dir, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("chain", tests, NULL, NULL);
}
