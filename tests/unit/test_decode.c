// SPDX-License-Identifier: MIT
//
// gzip and bzip2 as a flow of blocks of any size: members, padding, header fields, cuts, damage.
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
#include "image/bits.h"
#include "image/decode.h"

#include <bzlib.h>
#include <endian.h>
#include <fcntl.h>
#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>
#include <string.h>

enum { TEXT = 3000, ROOM = 4096, HEADER = 10 };

/* Text that compresses, but not to nothing. */
static void make_text(struct buf *b)
{
    unsigned v = 1;
    while (b->len < TEXT)
        buf_addf(b, "%u", (v = v * 1103515245 + 12345) >> 20);
}

/* A gzip member of it, with a name in its header. */
static void add_member(struct buf *to, const struct buf *text)
{
    unsigned char out[2 * TEXT];
    struct isal_zstream z;
    isal_deflate_stateless_init(&z);
    z.gzip_flag = IGZIP_GZIP;
    z.end_of_stream = 1;
    z.next_in = (unsigned char *)text->data;
    z.avail_in = (uint32_t)text->len;
    z.next_out = out;
    z.avail_out = sizeof out;
    assert_int_equal(isal_deflate_stateless(&z), COMP_OK);
    out[3] |= 8; // FNAME
    buf_add(to, out, HEADER);
    buf_add(to, "disk", 5);
    buf_add(to, out + HEADER, z.total_out - HEADER);
}

/* The error's message or NULL, owned; what came is added to *ret. */
static char *decode(const char *bytes, size_t n, size_t step, struct buf *ret)
{
    CLEANUP(flow_freep) struct flow *in = flow_new(n / step + 1, step);
    CLEANUP(flow_freep) struct flow *out = flow_new(n * 2 / ROOM + 8, ROOM);
    CLEANUP(error_freep) struct error *err = NULL;
    _Atomic enum compression which = COMPRESSION_NONE;
    size_t room;
    for (size_t at = 0; at < n; at += step) {
        size_t some = n - at < step ? n - at : step;
        memcpy(flow_space(in, &room), bytes + at, some);
        flow_put(in, some);
    }
    flow_end(in, NULL);
    decode_flow(in, out, &which);
    struct str block;
    int rc;
    while ((rc = flow_take(out, -1, &block, &err)) > 0) {
        buf_add_str(ret, block);
        flow_done(out);
    }
    return rc < 0 ? xstrdup(err->message) : NULL;
}

static void expect(const struct buf *gz, size_t n, size_t step, const struct buf *content,
                   const char *says)
{
    CLEANUP(buf_clear) struct buf got = BUF_INIT;
    AUTO_FREE char *message = decode(gz->data, n, step, &got);
    if (says) {
        assert_non_null(message);
        assert_non_null(strstr(message, says));
        return;
    }
    assert_null(message);
    assert_int_equal(got.len, content->len);
    assert_memory_equal(got.data, content->data, got.len);
}

static void gzip_in_blocks_of_any_size(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf text = BUF_INIT, gz = BUF_INIT, all = BUF_INIT;
    make_text(&text);
    for (int i = 0; i < 3; i++) {
        add_member(&gz, &text);
        buf_add(&all, text.data, text.len);
    }
    size_t member = gz.len / 3;
    for (size_t i = 0; i < 20; i++)
        buf_addc(&gz, '\0'); // as tapes are padded
    for (size_t step = 16; step < 300; step++) {
        expect(&gz, gz.len, step, &all, NULL);
        expect(&gz, gz.len - 20, step, &all, NULL);
    }
    expect(&gz, gz.len, gz.len, &all, NULL);
    for (size_t cut = 2 * member + 1; cut < 3 * member; cut++) {
        expect(&gz, cut, gz.len, NULL, "is truncated");
        expect(&gz, cut, 61, NULL, "is truncated");
    }
}

static void damaged_gzip(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf text = BUF_INIT, gz = BUF_INIT;
    make_text(&text);
    add_member(&gz, &text);
    // behind the header every byte counts, but for the last bits of deflate's
    for (size_t at = HEADER + 5; at < gz.len; at++) {
        if (at == gz.len - 9)
            continue;
        gz.data[at] ^= 0x20;
        expect(&gz, gz.len, gz.len, NULL, at < gz.len - 8 ? "" : "incorrect checksum");
        gz.data[at] ^= 0x20;
    }
    gz.data[2] = 7; // no deflate: then it is not taken for gzip
    expect(&gz, gz.len, gz.len, &gz, NULL);
    gz.data[2] = 8;
    buf_adds(&gz, "junk that follows");
    expect(&gz, gz.len, gz.len, NULL, "trailing bytes");
    gz.data[gz.len - 17] = '\x1f';
    expect(&gz, gz.len, gz.len, NULL, "damaged");
}

/* Bytes whose codes have every length up to bzip2's longest, runs of every length, and noise. */
static void make_blocks(struct buf *b)
{
    unsigned v = 1;
    for (unsigned n = 1, i = 0; i < 20; i++, n = n * 3 / 2 + 1)
        for (unsigned k = 0; k < n; k++)
            buf_addc(b, (char)('A' + i));
    for (unsigned i = b->len; i-- > 1;) { // shuffled
        unsigned k = (v = v * 1103515245 + 12345) % i;
        char c = b->data[i];
        b->data[i] = b->data[k];
        b->data[k] = c;
    }
    for (unsigned n = 1; n < 600; n += 3)
        for (unsigned k = 0; k < n; k++)
            buf_addc(b, (char)n);
    while (b->len < 350000) // more than three of the smallest blocks
        buf_addc(b, (char)((v = v * 1103515245 + 12345) >> 24));
}

static void add_bzip2(struct buf *to, const struct buf *content, const char *level)
{
    char path[] = "/tmp/kiln-decode-XXXXXX";
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    AUTO_CLOSE int fd = mkostemp(path, O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write_all(fd, content->data, content->len), 0);
    assert_int_equal(process_run(NULL, ARGV("bzip2", "-c", level, path), &out, NULL), 0);
    assert_int_equal(unlink(path), 0);
    buf_add(to, out.data, out.len);
}

static void bzip2_in_blocks_of_any_size(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf one = BUF_INIT, bz = BUF_INIT, all = BUF_INIT;
    make_blocks(&one);
    add_bzip2(&bz, &one, "-1");
    add_bzip2(&bz, &one, "-9");
    buf_add(&all, one.data, one.len);
    buf_add(&all, one.data, one.len);
    static const size_t steps[] = {37, 4096, 99991};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        expect(&bz, bz.len, steps[i], &all, NULL);
    for (size_t cut = bz.len - 1; cut > bz.len / 2 + 100; cut -= 20011)
        expect(&bz, cut, bz.len, NULL, "is truncated");
    for (size_t at = 4; at < bz.len; at += 20011) { // every byte is in a block or its frame
        bz.data[at] ^= 0x10;
        expect(&bz, bz.len, bz.len, NULL, "damaged");
        bz.data[at] ^= 0x10;
    }
}

static void add_number(struct bits *b, uint64_t v, unsigned n)
{
    unsigned char bytes[sizeof v + 1] = {0};
    memcpy(bytes, &(uint64_t){htobe64(v << (64 - n))}, sizeof v);
    bits_add(b, bytes, 0, n);
}

static const char BLOCK_MARK[] = "\x31\x41\x59\x26\x53\x59",
                  END_MARK[] = "\x17\x72\x45\x38\x50\x90";

/* A block in which `symbols` (each below 254) stand as they are: 254 codes have 8 bits, 4 have 9. */
static void add_block(struct bits *b, const struct buf *symbols, uint32_t crc)
{
    enum { SYMBOLS = 258, SHORT = 254, GROUP = 50 };
    bits_add(b, BLOCK_MARK, 0, 48);
    add_number(b, crc, 32);
    add_number(b, 0, 1 + 24); // not randomised, text begins at 0
    for (int i = 0; i < 17; i++)
        add_number(b, 0xffff, 16); // all bytes are used
    size_t groups = symbols->len / GROUP + 1;
    add_number(b, 2, 3); // tables, both alike
    add_number(b, groups, 15);
    for (size_t i = 0; i < groups; i++)
        add_number(b, 0, 1);
    for (int table = 0; table < 2; table++) {
        add_number(b, 8, 5);
        for (int i = 0; i < SYMBOLS; i++)
            add_number(b, i == SHORT ? 4 : 0, i == SHORT ? 3 : 1);
    }
    bits_add(b, symbols->data, 0, symbols->len * 8);
    add_number(b, 511, 9);
}

static void add_stream(struct bits *b, const struct buf *symbols, size_t blocks, uint32_t crc)
{
    uint32_t all = 0;
    bits_add(b, "BZh9", 0, 32);
    for (size_t i = 0; i < blocks; i++) {
        add_block(b, symbols, crc);
        all = (all << 1 | all >> 31) ^ crc;
    }
    bits_add(b, END_MARK, 0, 48);
    add_number(b, all, 32);
}

/* What the block's bytes are: libbz2 says them before it misses their CRC. */
static void decode_block(const struct buf *symbols, struct buf *ret)
{
    CLEANUP(bits_clear) struct bits b = BITS_INIT;
    add_stream(&b, symbols, 1, 0);
    buf_reserve(ret, 900000);
    bz_stream z = {.next_in = b.bytes.data, .avail_in = (unsigned)b.bytes.len};
    z.next_out = ret->data;
    z.avail_out = 900000;
    assert_int_equal(BZ2_bzDecompressInit(&z, 0, 0), BZ_OK);
    assert_int_equal(BZ2_bzDecompress(&z), BZ_DATA_ERROR);
    assert_int_equal(BZ2_bzDecompressEnd(&z), BZ_OK);
    ret->len = 900000 - z.avail_out;
}

/* Marks inside blocks: of blocks, of the stream's end, several, and two too near to each other. */
static void bzip2_marks_inside_blocks(void **state)
{
    (void)state;
    static const char *const marks[] = {"B", "E", "BB", "B.B.E.B", ".B.....B", "EE"};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        CLEANUP(buf_clear) struct buf symbols = BUF_INIT, text = BUF_INIT, all = BUF_INIT;
        CLEANUP(bits_clear) struct bits b = BITS_INIT;
        for (const char *m = marks[i]; *m; m++) {
            for (unsigned k = 0; *m == '.' && k < 300; k++)
                buf_addc(&symbols, (char)(2 + (k * k + i) % 250));
            if (*m != '.')
                buf_add(&symbols, *m == 'B' ? BLOCK_MARK : END_MARK, 6);
        }
        buf_adds(&symbols, "some more");
        decode_block(&symbols, &text);
        uint32_t crc = crc32_ieee(0, (const unsigned char *)text.data, text.len);
        add_stream(&b, &symbols, 3, crc);
        for (int k = 0; k < 3; k++)
            buf_add_str(&all, buf_str(&text));
        expect(&b.bytes, b.bytes.len, 37, &all, NULL);
        expect(&b.bytes, b.bytes.len - 1, b.bytes.len, NULL, "is truncated");
        b.bytes.data[b.bytes.len - 4] ^= 1; // the CRC over all
        expect(&b.bytes, b.bytes.len, b.bytes.len, NULL, "damaged");
        b.bytes.data[b.bytes.len - 4] ^= 1;
        buf_adds(&b.bytes, "junk");
        expect(&b.bytes, b.bytes.len, b.bytes.len, NULL, "trailing bytes");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gzip_in_blocks_of_any_size),
        cmocka_unit_test(damaged_gzip),
        cmocka_unit_test(bzip2_in_blocks_of_any_size),
        cmocka_unit_test(bzip2_marks_inside_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
