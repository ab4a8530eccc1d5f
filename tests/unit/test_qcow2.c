// SPDX-License-Identifier: MIT
//
// The header reader against one crafted file per reason to refuse, and the overlay writer against
// qemu-img.
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "qcow2/qcow2.h"

#include <sys/stat.h>

enum { SIZE = 1 << 20 }; // what the crafted files claim to be

static void put(unsigned char *p, size_t at, unsigned bytes, uint64_t v)
{
    for (unsigned i = 0; i < bytes; i++)
        p[at + i] = (unsigned char)(v >> (8 * (bytes - 1 - i)));
}

/* A good header of an image with 64 KiB clusters and a disk of 1 GiB. */
static void good(unsigned char p[65536])
{
    memset(p, 0, 65536);
    put(p, 0, 4, 0x514649fb);
    put(p, 4, 4, 3);
    put(p, 20, 4, 16);
    put(p, 24, 8, 1 << 30);
    put(p, 36, 4, 2);
    put(p, 40, 8, 3 * 65536);
    put(p, 48, 8, 65536);
    put(p, 56, 4, 1);
    put(p, 96, 4, 4);
    put(p, 100, 4, 104);
}

struct patch {
    size_t at;
    unsigned bytes; /* 0 = text */
    uint64_t value;
    const char *text;
};

struct refusal {
    const char *message; /* a part of it */
    struct patch patch[4];
};

static const struct refusal refusals[] = {
    {"not a qcow2 image", {{0, 4, 0x504649fb, NULL}}},
    {"version 1", {{4, 4, 1, NULL}}},
    {"version 4", {{4, 4, 4, NULL}}},
    {"needs a backing file", {{8, 8, 512, NULL}, {16, 4, 11, NULL}, {512, 0, 0, "/etc/shadow"}}},
    {"needs a backing file", {{8, 8, 1 << 19, NULL}, {16, 4, 11, NULL}}},
    {"external file", {{72, 8, 4, NULL}}},
    {"external file", {{72, 8, 4, NULL}, {104, 4, 0x44415441, NULL}, {108, 4, 11, NULL}}},
    {"external file", {{104, 4, 0x44415441, NULL}, {108, 4, 11, NULL}, {112, 0, 0, "/etc/shadow"}}},
    {"external file", {{88, 8, 2, NULL}}},
    {"unknown incompatible features", {{72, 8, 32, NULL}}},
    {"unknown incompatible features", {{72, 8, UINT64_C(1) << 63, NULL}}},
    {"corrupt", {{72, 8, 2, NULL}}},
    {"encrypted", {{32, 4, 1, NULL}}},
    {"encrypted", {{32, 4, 2, NULL}}},
    {"encrypted", {{104, 4, 0x0537be77, NULL}, {108, 4, 16, NULL}}},
    {"unknown compression", {{72, 8, 8, NULL}}},
    {"unknown compression", {{72, 8, 8, NULL}, {100, 4, 112, NULL}, {104, 1, 2, NULL}}},
    {"cluster size of 2^8", {{20, 4, 8, NULL}}},
    {"cluster size of 2^22", {{20, 4, 22, NULL}}},
    {"cluster size of 2^4294967295", {{20, 4, 0xffffffff, NULL}}},
    {"cluster size of 2^12", {{20, 4, 12, NULL}, {72, 8, 16, NULL}}},
    {"header length of 96", {{100, 4, 96, NULL}}},
    {"header length of 105", {{100, 4, 105, NULL}}},
    {"header length of 4294967288", {{100, 4, 0xfffffff8, NULL}}},
    {"refcount width of 2^7", {{96, 4, 7, NULL}}},
    {"limit of 8 TiB", {{24, 8, (UINT64_C(8) << 40) + 512, NULL}}},
    {"limit of 8 TiB", {{24, 8, UINT64_MAX, NULL}}},
    {"too many entries (4194305)", {{36, 4, 4194305, NULL}}},
    {"too few for the disk", {{36, 4, 1, NULL}}},
    {"L1 table at 4295163904", {{40, 8, (UINT64_C(1) << 32) + 196608, NULL}}},
    {"L1 table at 196609", {{40, 8, 196609, NULL}}},
    {"L1 table at 0", {{40, 8, 0, NULL}}},
    {"L1 table at 18446744073709486080", {{40, 8, UINT64_MAX - 65535, NULL}}},
    {"L1 table at", {{36, 4, 4000000, NULL}}},
    {"invalid size of 0 clusters", {{56, 4, 0, NULL}}},
    {"invalid size of 129 clusters", {{56, 4, 129, NULL}}},
    {"invalid size of 4294967295 clusters", {{56, 4, 0xffffffff, NULL}}},
    {"refcount table at 1048576", {{48, 8, SIZE, NULL}}},
    {"too many snapshots (65537)", {{60, 4, 65537, NULL}}},
    {"snapshot table at 1024", {{60, 4, 1, NULL}, {64, 8, 1024, NULL}}},
    {"snapshot table at 983040", {{60, 4, 65000, NULL}, {64, 8, 983040, NULL}}},
    {"past the first cluster", {{104, 4, 0x12345678, NULL}, {108, 4, 65536, NULL}}},
    {"past the first cluster", {{104, 4, 0x12345678, NULL}, {108, 4, 0xfffffff9, NULL}}},
    {"backing format", {{104, 4, 0xe2792aca, NULL}, {108, 4, 16, NULL}}},
};

static void every_refusal_has_its_reason(void **state)
{
    (void)state;
    unsigned char *p = xmalloc(65536);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const struct refusal *r = &refusals[i];
        good(p);
        for (const struct patch *c = r->patch; c < r->patch + 4; c++) {
            if (c->text)
                memcpy(p + c->at, c->text, strlen(c->text));
            else
                put(p, c->at, c->bytes, c->value);
        }
        struct qcow2_info info;
        struct error *err = NULL;
        if (qcow2_parse(p, 65536, SIZE, 0, &info, &err) == 0)
            fail_msg("case %zu (%s) was accepted", i, r->message);
        if (!strstr(err->message, r->message))
            fail_msg("case %zu: '%s' does not say '%s'", i, err->message, r->message);
        assert_int_equal(err->kind, ERR_USER);
        error_free(err);
    }
    free(p);
}

static void a_good_header_is_read(void **state)
{
    (void)state;
    unsigned char *p = xmalloc(65536);
    good(p);
    put(p, 104, 4, QCOW2_EXT_METADATA);
    put(p, 108, 4, 5);
    memcpy(p + 112, "{\"\":0}", 5);
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    assert_int_equal(qcow2_parse(p, 65536, SIZE, 0, &info, NULL), 0);
    assert_int_equal(info.size, 1 << 30);
    assert_int_equal(info.metadata_len, 5);
    assert_string_equal(info.metadata, "{\"\":0");
    assert_null(info.backing);
    // every truncation is refused or read, and never reads beyond
    for (size_t n = 0; n < 200; n++) {
        unsigned char *cut = xmemdup(p, n ? n : 1);
        struct qcow2_info part = {0};
        if (qcow2_parse(cut, n, n, 0, &part, NULL) == 0)
            fail_msg("%zu bytes were accepted", n);
        free(cut);
    }
    free(p);
}

static void our_own_overlays_may_have_a_backing_name_inside_the_cluster(void **state)
{
    (void)state;
    unsigned char *p = xmalloc(65536);
    struct qcow2_info info = {0};
    good(p);
    put(p, 8, 8, 65536 - 4);
    put(p, 16, 4, 5);
    CLEANUP(error_freep) struct error *err = NULL;
    assert_int_equal(qcow2_parse(p, 65536, SIZE, QCOW2_OWN, &info, &err), -1);
    assert_non_null(strstr(err->message, "backing file name extends"));
    put(p, 16, 4, 4);
    memcpy(p + 65532, "../a", 4);
    assert_int_equal(qcow2_parse(p, 65536, SIZE, QCOW2_OWN, &info, NULL), 0);
    assert_string_equal(info.backing, "../a");
    qcow2_info_clear(&info);
    put(p, 16, 4, 1024);
    put(p, 8, 8, 1024);
    assert_int_equal(qcow2_parse(p, 65536, SIZE, QCOW2_OWN, &info, NULL), -1);
    free(p);
}

static void check_with_qemu(const char *path, const struct qcow2_overlay *o)
{
    CLEANUP(error_freep) struct error *err = NULL;
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    if (process_run(NULL, ARGV("qemu-img", "check", "-q", "-f", "qcow2", path), NULL, &err) < 0 ||
        process_run(NULL, ARGV("qemu-img", "info", "--output=json", "-f", "qcow2", path), &out,
                    &err) < 0)
        fail_msg("bits %u, %llu bytes: %s", o->cluster_bits, (unsigned long long)o->size,
                 err->message);
    json_auto_t *j = json_loads(out.data, 0, NULL);
    assert_int_equal(json_int(j, "virtual-size", 0), o->size);
    assert_int_equal(json_int(j, "cluster-size", 0), 1 << o->cluster_bits);
}

static void overlays_please_qemu(void **state)
{
    (void)state;
    char dir[] = "/tmp/kiln-qcow2-XXXXXX";
    assert_non_null(mkdtemp(dir));
    AUTO_FREE char *path = path_join(dir, "o.qcow2");
    static const struct {
        uint64_t size;
        unsigned bits;
        bool extended;
    } cases[] = {
        {1 << 20, 12, false},
        {UINT64_C(1) << 40, 12, false},
        {UINT64_C(20) << 30, 12, false},
        {1 << 20, 14, true},
        {UINT64_C(1) << 40, 14, true},
        {1 << 20, 16, false},
        {UINT64_C(1) << 40, 16, true},
        {UINT64_C(10) << 30, 16, false},
        {1 << 20, 21, false},
        {UINT64_C(8) << 40, 21, true},
        {UINT64_C(8) << 40, 16, false},
        {512, 9, false},
        {UINT64_C(100) << 30, 9, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qcow2_overlay o = {.size = cases[i].size,
                                  .cluster_bits = cases[i].bits,
                                  .extended_l2 = cases[i].extended,
                                  .metadata = "{\"a\":1}",
                                  .metadata_len = 7};
        CLEANUP(error_freep) struct error *err = NULL;
        if (qcow2_create_overlay(path, &o, &err) < 0)
            fail_msg("%s", err->message);
        assert_int_equal(qcow2_create_overlay(path, &o, NULL), -1); // it is there already
        check_with_qemu(path, &o);
        CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
        if (qcow2_read(path, 0, &info, &err) < 0)
            fail_msg("%s", err->message);
        assert_int_equal(info.size, o.size);
        assert_int_equal(info.extended_l2, o.extended_l2);
        assert_string_equal(info.metadata, "{\"a\":1}");
        unlink(path);
    }
    assert_int_equal(rmdir(dir), 0);
}

static int io(const char *path, const char *command, struct error **err)
{
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    if (process_run(NULL, ARGV("qemu-io", "-f", "qcow2", "-c", command, path), &out, err) < 0)
        return -1;
    return strstr(out.data, "failed") ? error_set(err, ERR_SYSTEM, "%s", out.data) : 0;
}

static void overlays_take_writes_and_keep_our_metadata(void **state)
{
    (void)state;
    char dir[] = "/tmp/kiln-qcow2-XXXXXX";
    assert_non_null(mkdtemp(dir));
    AUTO_FREE char *base = path_join(dir, "base"), *top = path_join(dir, "top");
    struct qcow2_overlay o = {.size = 64 << 20, .cluster_bits = 16};
    CLEANUP(error_freep) struct error *err = NULL;
    assert_int_equal(qcow2_create_overlay(base, &o, &err), 0);
    o = (struct qcow2_overlay){.size = 64 << 20,
                               .cluster_bits = 16,
                               .extended_l2 = true,
                               .backing = "base",
                               .metadata = "{}",
                               .metadata_len = 2,
                               .sync = true};
    assert_int_equal(qcow2_create_overlay(top, &o, &err), 0);
    struct stat st;
    assert_int_equal(stat(top, &st), 0);
    assert_true(st.st_blocks * 512 <= 16 * 1024); // empty is small
    if (io(base, "write -P 7 1M 1M", &err) < 0 || io(top, "write -P 9 33M 30M", &err) < 0 ||
        io(top, "read -P 7 1M 1M", &err) < 0 || io(top, "read -P 9 33M 30M", &err) < 0 ||
        io(top, "read -P 0 3M 1M", &err) < 0)
        fail_msg("%s", err->message);
    check_with_qemu(top, &o);
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    assert_int_equal(qcow2_read(top, QCOW2_OWN, &info, NULL), 0);
    assert_string_equal(info.backing, "base");
    assert_string_equal(info.backing_format, "qcow2");
    assert_string_equal(info.metadata, "{}");
    assert_int_equal(remove_tree(dir, NULL), 0);
}

static void metadata_that_is_large_gets_larger_clusters(void **state)
{
    (void)state;
    char dir[] = "/tmp/kiln-qcow2-XXXXXX";
    assert_non_null(mkdtemp(dir));
    AUTO_FREE char *path = path_join(dir, "o"), *text = xmalloc(QCOW2_METADATA_MAX);
    memset(text, 'x', QCOW2_METADATA_MAX);
    struct qcow2_overlay o = {
        .size = 1 << 30, .cluster_bits = 16, .metadata = text, .metadata_len = QCOW2_METADATA_MAX};
    assert_int_equal(qcow2_create_overlay(path, &o, NULL), 0);
    o.cluster_bits = 21;
    check_with_qemu(path, &o);
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    assert_int_equal(qcow2_read(path, 0, &info, NULL), 0);
    assert_int_equal(info.metadata_len, QCOW2_METADATA_MAX);
    o.metadata_len++;
    unlink(path);
    assert_int_equal(qcow2_create_overlay(path, &o, NULL), -1);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_has_its_reason),
        cmocka_unit_test(a_good_header_is_read),
        cmocka_unit_test(our_own_overlays_may_have_a_backing_name_inside_the_cluster),
        cmocka_unit_test(overlays_please_qemu),
        cmocka_unit_test(overlays_take_writes_and_keep_our_metadata),
        cmocka_unit_test(metadata_that_is_large_gets_larger_clusters),
    };
    return cmocka_run_group_tests_name("qcow2", tests, NULL, NULL);
}
