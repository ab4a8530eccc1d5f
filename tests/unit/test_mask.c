// SPDX-License-Identifier: MIT
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "builder/build/mask.h"

static void check(const char *secret, const char *const *pieces, const char *want)
{
    CLEANUP(mask_freep) struct mask *m = mask_new();
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    mask_secret(m, secret, strlen(secret));
    for (; *pieces; pieces++)
        mask_add(m, 1, *pieces, strlen(*pieces), &out);
    mask_flush(m, 1, &out);
    assert_string_equal(out.data, want);
}
#define PIECES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void secrets_are_struck_out_whole_or_in_pieces(void **state)
{
    (void)state;
    check("hunter2", PIECES("pw=hunter2;"), "pw=****;");
    check("hunter2", PIECES("pw=hun", "ter", "2;"), "pw=****;");
    check("hunter2", PIECES("hunhunter2hunter2hunt"), "hun********hunt");
    check("aaab", PIECES("aaa", "aab"), "aa****");
    check("hunter2\n", PIECES("hunter2"), "****");
}

static void each_line_of_a_key_file_is_a_secret(void **state)
{
    (void)state;
    check("first-line\nsecond-line\n", PIECES("x second-line y"), "x **** y");
    check("first-line\nsecond-line\n", PIECES("first-line\nsecond-line"), "****");
}

static void base64_of_a_secret_is_one_too(void **state)
{
    (void)state;
    check("hunter2\n", PIECES("aHVudGVyMgo= aHVudGVyMg=="), "**** ****");
    check("hunter2", PIECES("aHVudGVyMg==\n"), "****\n");
    char key[100], text[200] = "", *line = text;
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    for (int i = 0; i < 33; i++)
        line = stpcpy(line, i == 18 ? "a2tr\n" : "a2tr"); // as base64(1) wraps
    check(key, PIECES(text), "****\n****");
}

static void short_secrets_strike_out_nothing(void **state)
{
    (void)state;
    check("ab", PIECES("cab"), "cab");
}

static void ordinary_text_is_not_held_back(void **state)
{
    (void)state;
    CLEANUP(mask_freep) struct mask *m = mask_new();
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    mask_secret(m, "hunter2", 7);
    mask_add(m, 2, "hello", 5, &out);
    assert_string_equal(out.data, "hello");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secrets_are_struck_out_whole_or_in_pieces),
        cmocka_unit_test(each_line_of_a_key_file_is_a_secret),
        cmocka_unit_test(base64_of_a_secret_is_one_too),
        cmocka_unit_test(short_secrets_strike_out_nothing),
        cmocka_unit_test(ordinary_text_is_not_held_back),
    };
    return cmocka_run_group_tests_name("mask", tests, NULL, NULL);
}
