// SPDX-License-Identifier: MIT
//
// Raw disks that are written as qcow2 while they come, and metadata put into finished images.
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/alloc.h"
#include "base/file.h"
#include "base/process.h"
#include "image/checksum.h"
#include "image/sink.h"
#include "qcow2/qcow2.h"
#include "qcow2/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

struct spot {
    uint64_t at;
    size_t n;
};

/* A raw file with data at the spots, and the same as a stream in pieces of `step` bytes. */
static void stream_case(const char *dir, uint64_t size, const struct spot *spots, size_t n_spots,
                        size_t step)
{
    AUTO_FREE char *raw = path_join(dir, "raw"), *made = path_join(dir, "made");
    AUTO_CLOSE int in = open(raw, O_RDWR | O_CREAT | O_TRUNC, 0644);
    AUTO_CLOSE int out = open(made, O_RDWR | O_CREAT | O_TRUNC, 0644);
    CLEANUP(error_freep) struct error *err = NULL;
    assert_int_equal(ftruncate(in, (off_t)size), 0);
    for (size_t i = 0; i < n_spots; i++) {
        AUTO_FREE char *data = xmalloc(spots[i].n);
        memset(data, 'a' + (int)i, spots[i].n);
        assert_int_equal(pwrite_all(in, data, spots[i].n, (off_t)spots[i].at), 0);
    }
    struct qcow2_stream *q = qcow2_stream_new(out);
    AUTO_FREE char *piece = xmalloc(step);
    for (uint64_t at = 0; at < size;) {
        // holes of the file as holes of the stream
        off_t data = lseek(in, (off_t)at, SEEK_DATA);
        uint64_t hole = data < 0 ? size - at : (uint64_t)data - at;
        if (hole) {
            assert_int_equal(qcow2_stream_add(q, NULL, hole, &err), 0);
            at += hole;
            continue;
        }
        ssize_t n = pread_all(in, piece, size - at < step ? (size_t)(size - at) : step, (off_t)at);
        assert_int_equal(qcow2_stream_add(q, piece, (uint64_t)n, &err), 0);
        at += (uint64_t)n;
    }
    assert_int_equal(qcow2_stream_finish(q, &err), 0);
    if (process_run(NULL, ARGV("qemu-img", "check", "-q", "-f", "qcow2", made), NULL, &err) < 0 ||
        process_run(NULL, ARGV("qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", raw, made),
                    NULL, &err) < 0)
        fail_msg("%llu bytes in steps of %zu: %s", (unsigned long long)size, step, err->message);
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    assert_int_equal(qcow2_read(made, 0, &info, NULL), 0);
    assert_int_equal(info.size, (size + 511) / 512 * 512);
}

static void raw_disks_become_qcow2_as_they_come(void **state)
{
    (void)state;
    enum { L2 = 512 << 20 };
    char dir[] = "/tmp/kiln-sink-XXXXXX";
    assert_non_null(mkdtemp(dir));
    static const struct spot spots[] = {{0, 512},          {65536, 1},         {200000, 70000},
                                        {L2 - 4096, 8192}, {2u * L2 - 1, 100}, {3u * L2, 65536}};
    stream_case(dir, 3ull * L2 + 65536, spots, 6, 1 << 20);
    stream_case(dir, 3ull * L2 + 65536, spots, 6, 12345);
    stream_case(dir, 2ull * L2, spots, 4, 1 << 20);
    stream_case(dir, 300001, spots, 3, 65536);
    stream_case(dir, 512, spots, 1, 512);
    stream_case(dir, UINT64_C(1) << 40, spots, 6, 1 << 20);
    assert_int_equal(remove_tree(dir, NULL), 0);
}

static void a_full_disk_is_told(void **state)
{
    (void)state;
    AUTO_CLOSE int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    AUTO_FREE char *data = xmalloc(1 << 20);
    memset(data, 'x', 1 << 20);
    for (int raw = 0; raw < 2; raw++) {
        CLEANUP(error_freep) struct error *err = NULL;
        struct sink_options o = {.fd = full, .raw = true};
        CLEANUP(sink_freep) struct sink *k = sink_new(&o);
        memcpy(data, raw ? "xxxx" : "KDMV", 4);
        assert_int_equal(sink_add(k, data, 1 << 20, 1 << 20, &err), -1);
        assert_int_equal(err->errnum, ENOSPC);
        assert_non_null(strstr(err->hint, "free some space"));
    }
}

static void metadata_is_put_into_finished_images(void **state)
{
    (void)state;
    char dir[] = "/tmp/kiln-sink-XXXXXX";
    assert_non_null(mkdtemp(dir));
    AUTO_FREE char *path = path_join(dir, "x");
    CLEANUP(error_freep) struct error *err = NULL;
    static const char *const compat[] = {"compat=1.1", "compat=0.10", "extended_l2=on"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(process_run(NULL,
                                     ARGV("qemu-img", "create", "-q", "-f", "qcow2", "-o",
                                          compat[i], path, "5M"),
                                     NULL, &err),
                         0);
        for (int twice = 0; twice < 2; twice++) {
            CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
            const char *text = twice ? "{}" : "{\"labels\":{\"a\":\"b\"}}";
            assert_int_equal(qcow2_set_metadata(path, text, strlen(text), &err), 0);
            assert_int_equal(qcow2_read(path, 0, &info, &err), 0);
            assert_string_equal(info.metadata, text);
            if (process_run(NULL, ARGV("qemu-img", "check", "-q", "-f", "qcow2", path), NULL,
                            &err) < 0)
                fail_msg("%s", err->message);
        }
        AUTO_FREE char *large = xcalloc(1, 70000);
        assert_int_equal(qcow2_set_metadata(path, large, 70000, NULL), -1);
    }
    assert_int_equal(remove_tree(dir, NULL), 0);
}

static void checksum_files_are_read(void **state)
{
    (void)state;
#define A "0000000000000000000000000000000000000000000000000000000000000001"
#define B "000000000000000000000000000000000000000000000000000000000000000b"
    static const struct {
        const char *text;
        int found; /* last byte of the digest; -1 = none */
    } cases[] = {
        {A "  disk.qcow2\n", 1},
        {A " *disk.qcow2", 1},
        {A "  ./images/disk.qcow2\r\n", 1},
        {A "  other.qcow2\n" B "  disk.qcow2\n", 11},
        {A "  xdisk.qcow2\n", -1},
        {A "  disk.qcow2.xz\n", -1},
        {"SHA256 (disk.qcow2) = " A "\n", 1},
        {"SHA256 (other) = " A "\nSHA256 (d/disk.qcow2) = " B "\n", 11},
        {A "\n", 1},
        {A, 1},
        {"000000000000000000000000000000000000000000000000000000000000000B", 11},
        {"# comment\n\n" A "  disk.qcow2\n", 1},
        {A "0  disk.qcow2\n", -1},
        {"<html>" A "  disk.qcow2\n", -1},
        {A B "  disk.qcow2\n", 11},
        {B A, 1},
        {"SHA512 (disk.qcow2) = " A B "\n", 11},
        {"SHA512 (disk.qcow2) = " A "\n", -1},
        {"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# disk.qcow2: 5 bytes\n"
         "SHA256 (disk.qcow2) = " A "\n-----BEGIN PGP SIGNATURE-----\n",
         1},
        {"", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct checksum d;
        bool found = checksum_find(str_of(cases[i].text), "disk.qcow2", &d);
        if ((found ? d.byte[d.size - 1] : -1) != cases[i].found)
            fail_msg("case %zu: '%s'", i, cases[i].text);
    }
    AUTO_FREE char *name = checksum_name("http://h/a/b.xz?token=a/b#c", true);
    assert_string_equal(name, "b.xz");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_disks_become_qcow2_as_they_come),
        cmocka_unit_test(a_full_disk_is_told),
        cmocka_unit_test(metadata_is_put_into_finished_images),
        cmocka_unit_test(checksum_files_are_read),
    };
    return cmocka_run_group_tests_name("sink", tests, NULL, NULL);
}
