// SPDX-License-Identifier: MIT
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/alloc.h"
#include "base/file.h"
#include "builder/build/step_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Byte i of the output, such that no two positions that could be mixed up are alike. */
static char byte_at(uint64_t i)
{
    return i % 61 == 60 ? '\n' : (char)('!' + (i * 2654435761U >> 16) % 90);
}

/* Writes `total` bytes in pieces of odd sizes; the file's content into *ret. */
static void write_log(uint64_t total, char path[64], struct buf *ret)
{
    struct step_log log = STEP_LOG_INIT;
    char piece[70000];
    unsigned seed = 7;
    snprintf(path, 64, "/tmp/kiln-log-%d", (int)getpid());
    (void)unlink(path);
    assert_int_equal(step_log_open(&log, path, NULL), 0);
    for (uint64_t at = 0; at < total;) {
        size_t n = (size_t)rand_r(&seed) % sizeof piece;
        n = n < total - at ? n : (size_t)(total - at);
        for (size_t i = 0; i < n; i++)
            piece[i] = byte_at(at + i);
        assert_int_equal(step_log_add(&log, piece, n, NULL), 0);
        at += n;
    }
    assert_int_equal(step_log_close(&log, NULL), 0);
    assert_int_equal(step_log_close(&log, NULL), 0);
    assert_int_equal(file_read(path, 64 << 20, ret, NULL), 0);
}

static void check_part(const char *bytes, uint64_t from, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (bytes[i] != byte_at(from + i))
            fail_msg("byte %llu is wrong", (unsigned long long)(from + i));
}

static void what_fits_is_kept_whole(void **state)
{
    (void)state;
    const uint64_t sizes[] = {0, 1, 100000, STEP_LOG_MAX / 2, STEP_LOG_MAX - 1, STEP_LOG_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        CLEANUP(buf_clear) struct buf text = BUF_INIT;
        char path[64];
        write_log(sizes[i], path, &text);
        assert_int_equal(text.len, sizes[i]);
        check_part(text.data, 0, sizes[i]);
        (void)unlink(path);
    }
}

static void of_more_the_two_ends_are_kept_and_the_gap_is_told(void **state)
{
    (void)state;
    const uint64_t half = STEP_LOG_MAX / 2;
    const uint64_t sizes[] = {STEP_LOG_MAX + 1, STEP_LOG_MAX + half, STEP_LOG_MAX * 3ULL + 12345};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        CLEANUP(buf_clear) struct buf text = BUF_INIT;
        char path[64];
        write_log(sizes[i], path, &text);
        AUTO_FREE char *line = xasprintf("\n[kiln: %llu bytes of output are not kept]\n",
                                         (unsigned long long)(sizes[i] - STEP_LOG_MAX));
        assert_int_equal(text.len, STEP_LOG_MAX + strlen(line));
        check_part(text.data, 0, half);
        assert_memory_equal(text.data + half, line, strlen(line));
        check_part(text.data + half + strlen(line), sizes[i] - half, half);
        (void)unlink(path);
    }
}

static void the_tail_is_the_last_lines_without_control_characters(void **state)
{
    (void)state;
    static const char text[] = "one\ntwo\n\x1b[31mthree\n";
    struct step_log log = STEP_LOG_INIT;
    char path[64];
    snprintf(path, sizeof path, "/tmp/kiln-log-%d", (int)getpid());
    assert_int_equal(step_log_open(&log, path, NULL), 0);
    assert_int_equal(step_log_add(&log, text, strlen(text), NULL), 0);
    assert_int_equal(step_log_close(&log, NULL), 0);
    AUTO_FREE char *two = step_log_tail(path, 2), *all = step_log_tail(path, 9);
    assert_string_equal(two, "two\n?[31mthree");
    assert_string_equal(all, "one\ntwo\n?[31mthree");
    (void)unlink(path);
    AUTO_FREE char *none = step_log_tail(path, 9);
    assert_string_equal(none, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits_is_kept_whole),
        cmocka_unit_test(of_more_the_two_ends_are_kept_and_the_gap_is_told),
        cmocka_unit_test(the_tail_is_the_last_lines_without_control_characters),
    };
    return cmocka_run_group_tests_name("step_log", tests, NULL, NULL);
}
