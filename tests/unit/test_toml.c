// SPDX-License-Identifier: MIT
#include "base/toml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static void settings_are_read(void **state)
{
    (void)state;
    static const char text[] =
        "\xef\xbb\xbf# first\r\n"
        "plain = \"a\\tb \\u00e9\\U0001F600 \\\"q\\\"\"  # behind\n"
        "'literal key' = 'C:\\no # escape'\n"
        "n=+1_000\n";
    CLEANUP(toml_clear) struct toml t = {0};
    struct error *err = NULL;
    assert_int_equal(toml_parse("f", text, sizeof text - 1, &t, &err), 0);
    assert_int_equal(t.entries.len, 3);
    assert_string_equal(t.entries.ptr[0].text, "a\tb \xc3\xa9\xf0\x9f\x98\x80 \"q\"");
    assert_int_equal(t.entries.ptr[0].line, 2);
    assert_string_equal(t.entries.ptr[1].key, "literal key");
    assert_string_equal(t.entries.ptr[1].text, "C:\\no # escape");
    assert_int_equal(t.entries.ptr[2].type, TOML_INTEGER);
    assert_string_equal(t.entries.ptr[2].text, "1000");
}

static void tables_and_arrays(void **state)
{
    (void)state;
    static const char text[] =
        "ssh = true\n[ run ]\nssh=false\nlist = [ # here\n  'a', 5,\n\"\", ]\n"
        "empty = []\n[\"x y\"]";
    CLEANUP(toml_clear) struct toml t = {0};
    struct error *err = NULL;
    assert_int_equal(toml_parse("f", text, sizeof text - 1, &t, &err), 0);
    assert_int_equal(t.entries.len, 4);
    assert_string_equal(t.entries.ptr[0].table, "");
    assert_true(t.entries.ptr[0].flag);
    assert_string_equal(t.entries.ptr[1].table, "run");
    assert_false(t.entries.ptr[1].flag);
    assert_int_equal(t.entries.ptr[2].items.len, 3);
    assert_string_equal(t.entries.ptr[2].items.ptr[1], "5");
    assert_string_equal(t.entries.ptr[2].items.ptr[2], "");
    assert_int_equal(t.entries.ptr[3].items.len, 0);
    assert_string_equal(t.tables.ptr[1], "x y");
}

static void mistakes_have_a_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said; /* line:column: message */
    } cases[] = {
        {"a = 1\nb 2", "2:3: expected '=' after the key"},
        {"= 1", "1:1: expected a key"},
        {"a = ", "1:5: expected a value"},
        {"a = word", "1:5: expected a value; text needs quotes"},
        {"a = 1 2", "1:7: expected the end of the line"},
        {"a = 'x", "1:5: a string that does not end on its line"},
        {"a = \"x\ny\"", "1:5: a string that does not end on its line"},
        {"a = \"\\x\"", "1:6: an unknown escape"},
        {"a = \"\\u12\"", "1:6: an escape that needs more hexadecimal digits"},
        {"a = \"\\ud800\"", "1:6: an escape that stands for no character"},
        {"a = \"\\u0000\"", "1:6: an escape that stands for no character"},
        {"a = \"\x01\"", "1:6: a control character in a string"},
        {"a = 1\na = 2", "2:1: a key that was there before"},
        {"[t]\n[t]", "2:1: a table that was there before"},
        {"[t", "1:3: expected ']'"},
        {"[t] x", "1:5: expected the end of the line"},
        {"a.b = 1", "1:1: keys with dots are not supported"},
        {"[a.b]", "1:2: keys with dots are not supported"},
        {"[[a]]", "1:1: arrays of tables are not supported"},
        {"a = {b = 1}", "1:5: inline tables are not supported"},
        {"a = \"\"\"x\"\"\"", "1:5: multi-line strings are not supported"},
        {"a = '''x'''", "1:5: multi-line strings are not supported"},
        {"a = 1.5", "1:5: floating-point numbers are not supported"},
        {"a = 1e3", "1:5: floating-point numbers are not supported"},
        {"a = +inf", "1:5: floating-point numbers are not supported"},
        {"a = 0x1f", "1:5: only decimal integers are supported"},
        {"a = 1979-05-27", "1:5: dates and times are not supported"},
        {"a = 07:32:00", "1:5: dates and times are not supported"},
        {"a = 012", "1:5: not an integer"},
        {"a = 1__0", "1:5: not an integer"},
        {"a = 99999999999999999999", "1:5: an integer of more than 64 bits"},
        {"a = [1, [2]]", "1:9: arrays may hold strings and integers only"},
        {"a = [1\n\n", "1:5: expected ',' or ']' in an array"},
        {"a = [1,\n", "1:5: an array that does not end"},
        {"a = [1 2]", "1:8: expected ',' or ']' in an array"},
        {"a = 1\r", "1:6: a control character"},
        {"# \x07", "1:3: a control character"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CLEANUP(toml_clear) struct toml t = {0};
        CLEANUP(error_freep) struct error *err = NULL;
        char said[200];
        assert_int_equal(toml_parse("f", cases[i].text, strlen(cases[i].text), &t, &err), -1);
        (void)snprintf(said, sizeof said, "%u:%u: %s", err->loc.line, err->loc.column,
                       err->message);
        assert_string_equal(said, cases[i].said);
        assert_string_equal(err->loc.path, "f");
    }
}

/* Cut anywhere, a text is read or refused, never read beyond its end (for the sanitizers). */
static void cut_texts_end(void **state)
{
    (void)state;
    static const char text[] =
        "\xef\xbb\xbf"
        "a = [1, 'x', \"\\u00e9\"]\r\n[\"t\"]\nb = true # c\n'k' = -12_3\n";
    for (size_t n = 0; n < sizeof text; n++) {
        CLEANUP(toml_clear) struct toml t = {0};
        CLEANUP(error_freep) struct error *err = NULL;
        char *copy = malloc(n ? n : 1);
        memcpy(copy, text, n);
        int rc = toml_parse("f", copy, n, &t, &err);
        assert_true(rc == 0 ? !err : err && err->loc.line);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_are_read),
        cmocka_unit_test(tables_and_arrays),
        cmocka_unit_test(mistakes_have_a_place),
        cmocka_unit_test(cut_texts_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
