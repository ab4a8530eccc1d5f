// SPDX-License-Identifier: MIT
//
// gzip as a flow of blocks of any size: members, padding, header fields, every cut, damage.
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/alloc.h"
#include "image/decode.h"

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
    CLEANUP(flow_freep) struct flow *out = flow_new(8, ROOM);
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
        expect(&gz, cut, gz.len, NULL, "ends early");
        expect(&gz, cut, 61, NULL, "ends early");
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
    expect(&gz, gz.len, gz.len, NULL, "other bytes follow");
    gz.data[gz.len - 17] = '\x1f';
    expect(&gz, gz.len, gz.len, NULL, "damaged");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gzip_in_blocks_of_any_size),
        cmocka_unit_test(damaged_gzip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
