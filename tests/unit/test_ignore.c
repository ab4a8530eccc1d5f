// SPDX-License-Identifier: MIT
// Tables for the ignore file and for the patterns of COPY. Where a rule was argued about, the row
// says what Docker's matcher does.
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/alloc.h"
#include "base/buf.h"
#include "base/session.h"
#include "imagefile/glob.h"
#include "imagefile/ignore.h"

struct ignore_row {
    const char *patterns, *path;
    bool hidden;
};

static const struct ignore_row ignore_rows[] = {
    // plain names, anchored at the root
    {"", "a", false},
    {"a", "a", true},
    {"a", "ab", false},
    {"a", "b/a", false},
    {"a", "a/b", true},
    {"a", "a/b/c", true},
    {"a/b", "a", false},
    {"a/b", "a/b", true},
    {"a/b", "a/b/c", true},
    {"a/b", "a/bc", false},
    // cleaned
    {"/a", "a", true},
    {"./a", "a", true},
    {"a/", "a", true},
    {"a//b/.", "a/b", true},
    {"a/x/../b", "a/b", true},
    {"../a", "a", false},
    {"a/../../b", "b", false},
    {"/../b", "b", true},
    {"/../../a/../b/", "b/c", true},
    {"b\n!/../b", "b", false},
    {"!../../b", "b", true}, // as moby, which cleans it with its '!'
    {"b\n!../b", "b", true},
    {"!../..", "b", false},
    {" a ", "a", true},
    {"\ta\t\r\n", "a", true},
    {".", "a", false},
    {"/", "a", false},
    {"a b", "a b", true},
    // comments only in the first column
    {"#a", "#a", false},
    {" #a", "#a", true},
    {"\\#a", "#a", true},
    {"# a\nb", "b", true},
    {"a#b", "a#b", true},
    {"\xef\xbb\xbf"
     "a",
     "a", true},
    // * and ?
    {"*", "a", true},
    {"*", "a/b", true},
    {"*", ".git", true},
    {"*.o", "x.o", true},
    {"*.o", "a/x.o", false},
    {"*/x.o", "a/x.o", true},
    {"*/*.o", "a/x.o", true},
    {"*/*.o", "a/b/x.o", false},
    {"a*", "abc/d", true},
    {"*a*b*", "xaybz", true},
    {"*a*b*", "xa/bz", false},
    {"?", "a", true},
    {"?", "ab", false},
    {"?", "\xc3\xa9", true},
    {"a?b", "a/b", false},
    {"??", "\xc3\xa9\xff", true},
    {"temp?", "tempa/x", true},
    // **
    {"**", "a", true},
    {"**", "a/b/c", true},
    {"**/", "a/b", true},
    {"**/a", "a", true},
    {"**/a", "x/a", true},
    {"**/a", "x/y/a", true},
    {"**/a", "x/y/a/z", true},
    {"**/a", "xa", false},
    {"**/*.go", "x.go", true},
    {"**/*.go", "a/b/x.go", true},
    {"**/*.go", "a/b/x.goo", false},
    {"a/**", "a", false},
    {"a/**", "a/b", true},
    {"a/**", "a/b/c", true},
    {"a/**", "ab", false},
    {"a/**/b", "a/b", true},
    {"a/**/b", "a/x/b", true},
    {"a/**/b", "a/x/y/b", true},
    {"a/**/b", "a/x/yb", false},
    {"a**b", "ab", true}, // "**" in a word: nothing or whole folders
    {"a**b", "ax/b", true},
    {"a**b", "axb", false},
    {"**foo", "x/foo", true},
    {"**foo", "xfoo", true}, // moby: "**" and plain text is any path that ends so
    {"**.pyc", "a.pyc", true},
    {"**.pyc", "d/b.pyc", true},
    {"**.pyc", ".pyc", true},
    {"**.pyc", "a.pyc/below", true},
    {"**.pyc", "a.pycc", false},
    {"!**.pyc", "a.pyc", false},
    {"*\n!**.pyc", "d/b.pyc", false},
    {"**a/b", "xa/b", true},
    {"**a/b", "y/xa/b", true},
    {"**a*", "xa", false}, // not plain: whole folders again
    {"x**.pyc", "x/a.pyc", false},
    {"x**.pyc", "x.pyc", true},
    {"**/**/a", "a", true},
    {"**/.*", "a/.git/config", true},
    {"**/node_modules/**", "a/node_modules/x", true},
    {"**/node_modules/**", "a/node_modules", false},
    // classes and escapes
    {"[a-c]", "b", true},
    {"[a-c]", "d", false},
    {"[^a-c]", "d", true},
    {"[^a-c]", "b", false},
    {"[^a]x", "/x", false},
    {"[\\]]", "]", true},
    {"[\xc3\xa0-\xc3\xbf]", "\xc3\xa9", true},
    {"a\\*", "a*", true},
    {"a\\*", "ab", false},
    {"a\\?", "a?", true},
    {"\\!a", "!a", true},
    {"\\a", "a", true},
    // ! shows again, the last one that matches decides
    {"*\n!a", "a", false},
    {"*\n!a", "b", true},
    {"*\n!a", "a/b", false},
    {"!a\n*", "a", true},
    {"*.md\n!README.md", "README.md", false},
    {"*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true},
    {"*.md\n!README*.md\nREADME-secret.md", "README-x.md", false},
    {"a\n!a/b", "a/b", false},
    {"a\n!a/b", "a/c", true},
    {"a\n!a/b", "a", true},
    {"a\n!a/b\na/b/c", "a/b/c", true},
    {"a/b\n!a", "a/b", false}, // a folder that is shown shows what is in it
    {"! a", "a", false},
    {"a\n! a", "a", false},
    {"**\n!**/*.c", "x/y.c", false},
    {"**\n!**/*.c", "x/y.h", true},
    {"!a", "b", false},
};

static struct ignore *parse(const char *patterns)
{
    struct ignore *ig = ignore_new();
    CLEANUP(error_freep) struct error *err = NULL;
    if (ignore_parse(ig, "i", patterns, strlen(patterns), &err) < 0)
        fail_msg("'%s': %s", patterns, err->message);
    return ig;
}

static void paths_are_hidden(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ignore_rows / sizeof *ignore_rows; i++) {
        const struct ignore_row *r = &ignore_rows[i];
        CLEANUP(ignore_freep) struct ignore *ig = parse(r->patterns);
        if (ignore_hides(ig, r->path) != r->hidden)
            fail_msg("'%s' should %shide '%s'", r->patterns, r->hidden ? "" : "not ", r->path);
        // What is pruned is hidden, and so is all below it.
        CLEANUP(buf_clear) struct buf below = BUF_INIT;
        buf_addf(&below, "%s/some/child.c", r->path);
        if (ignore_prunes(ig, r->path))
            assert_true(ignore_hides(ig, r->path) && ignore_hides(ig, below.data));
    }
}

static void folders_are_pruned(void **state)
{
    (void)state;
    static const struct ignore_row rows[] = {
        {"a", "a", true},
        {"a", "b", false},
        {"a\n!b", "a", true},
        {"a\n!a/b", "a", false},
        {"a\n!a/b", "a/c", true},
        {"a\n!a/b/c", "a/b", false},
        {"!a/b\na", "a", true}, // shown too early to matter
        {"a\n!**/x", "a", false},
        {"a\n!*/x", "a", false},
        {"a\n!*/x", "a/b", true},
        {"a\n!ab", "a", true},
        {"*\n!src/**", "src", false},
        {"*\n!src/**", "lib", true},
        {"*\n!src", "src", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CLEANUP(ignore_freep) struct ignore *ig = parse(rows[i].patterns);
        if (ignore_prunes(ig, rows[i].path) != rows[i].hidden)
            fail_msg("'%s' should %sprune '%s'", rows[i].patterns, rows[i].hidden ? "" : "not ",
                     rows[i].path);
    }
}

static void bad_patterns_are_errors_with_their_line(void **state)
{
    (void)state;
    static const char *const bad[] = {"!",   "! ",   "[",   "[]a]", "[a",
                                      "[a-", "[-a]", "[^]", "a\\",  "[z-a"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CLEANUP(ignore_freep) struct ignore *ig = ignore_new();
        CLEANUP(error_freep) struct error *err = NULL;
        AUTO_FREE char *text = xasprintf("ok\n# comment\n%s\n", bad[i]);
        if (ignore_parse(ig, "dir/.imageignore", text, strlen(text), &err) == 0)
            fail_msg("'%s' was taken", bad[i]);
        assert_int_equal(err->loc.line, 3);
        assert_string_equal(err->loc.path, "dir/.imageignore");
    }
    CLEANUP(ignore_freep) struct ignore *ig = ignore_new();
    assert_int_equal(ignore_parse(ig, "i", "a\0b", 3, NULL), -1);
}

static void the_deciding_pattern_is_told_as_written(void **state)
{
    (void)state;
    CLEANUP(ignore_freep) struct ignore *ig = parse("./a/\n!a/b\n");
    assert_string_equal(ignore_decider(ig, "a/x"), "./a/");
    assert_string_equal(ignore_decider(ig, "a/b"), "!a/b");
    assert_null(ignore_decider(ig, "c"));
    assert_false(ignore_hides(NULL, "a"));
    assert_int_equal(ignore_add(ig, "c", NULL), 0);
    assert_true(ignore_hides(ig, "c"));
}

static void no_pattern_takes_exponential_time(void **state)
{
    (void)state;
    char path[2001], pattern[401];
    memset(path, 'a', 2000);
    path[2000] = '\0';
    for (size_t i = 0; i < 400; i += 4)
        memcpy(pattern + i, "**/*", 4);
    for (size_t i = 1; i < 2000; i += 2)
        path[i] = '/';
    pattern[400] = '\0';
    long long start = now_ms();
    AUTO_FREE char *deep = xasprintf("%sb", pattern);
    CLEANUP(ignore_freep) struct ignore *ig = parse(deep);
    assert_false(ignore_hides(ig, path));
    char stars[201], as[2001];
    for (size_t i = 0; i < 200; i += 2)
        memcpy(stars + i, "a*", 2);
    stars[200] = '\0';
    memset(as, 'a', 2000);
    as[2000] = '\0';
    AUTO_FREE char *wide = xasprintf("%sb", stars);
    assert_false(glob_match(wide, as));
    assert_true(now_ms() - start < 2000);
}

struct glob_row {
    const char *pattern, *name;
    bool match;
};

static const struct glob_row glob_rows[] = {
    {"abc", "abc", true},
    {"*", "abc", true},
    {"*c", "abc", true},
    {"a*", "a", true},
    {"a*", "abc", true},
    {"a*", "ab/c", false},
    {"a*/b", "abc/b", true},
    {"a*/b", "a/c/b", false},
    {"a*b*c*d*e*/f", "axbxcxdxe/f", true},
    {"a*b*c*d*e*/f", "axbxcxdxexxx/f", true},
    {"a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false},
    {"a*b*c*d*e*/f", "axbxcxdxexxx/fff", false},
    {"a*b?c*x", "abxbbxdbxebxczzx", true},
    {"a*b?c*x", "abxbbxdbxebxczzy", false},
    {"ab[c]", "abc", true},
    {"ab[b-d]", "abc", true},
    {"ab[e-g]", "abc", false},
    {"ab[^c]", "abc", false},
    {"ab[^b-d]", "abc", false},
    {"ab[^e-g]", "abc", true},
    {"a\\*b", "a*b", true},
    {"a\\*b", "ab", false},
    {"a?b",
     "a\xe2\x98\xba"
     "b",
     true},
    {"a[^a]b",
     "a\xe2\x98\xba"
     "b",
     true},
    {"a???b",
     "a\xe2\x98\xba"
     "b",
     false},
    {"[a-\xce\xb6]*", "\xce\xb1", true},
    {"*[a-\xce\xb6]", "A", false},
    {"a?b", "a/b", false},
    {"a*b", "a/b", false},
    {"[\\]a]", "]", true},
    {"[\\-]", "-", true},
    {"[x\\-]", "x", true},
    {"[x\\-]", "-", true},
    {"[x\\-]", "z", false},
    {"[\\-x]", "x", true},
    {"[]a]", "]", false},
    {"[-]", "-", false},
    {"[x-]", "x", false},
    {"[a-b-c]", "a", false},
    {"[", "a", false},
    {"[^", "a", false},
    {"[^bc", "a", false},
    {"a[", "a", false},
    {"a[", "ab", false},
    {"*x", "xxx", true},
    {"**", "a", true},
    {"**", "a/b", false},
    {"a/**/c", "a/b/c", true},
    {"", "", true},
    {"", "a", false},
    {"*", "", true},
    {"?", "", false},
    {"*.*", "a.b", true},
    {".*", ".a", true},
    {"*", ".a", true},
    {"[[]x", "[x", true},
    {"\xff?", "\xff\xfe", true},
    {"[^a]", "/", false},
    {"a\\", "a", false},
    {"a\\", "a\\", false},
    {"*a", "ba", true},
    {"*ab", "aab", true},
    {"*/*", "a/b", true},
    {"*/*", "a", false},
    {"a*", "\xc3\xa9", false},
};

static void patterns_of_copy_match(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof glob_rows / sizeof *glob_rows; i++)
        if (glob_match(glob_rows[i].pattern, glob_rows[i].name) != glob_rows[i].match)
            fail_msg("'%s' should %smatch '%s'", glob_rows[i].pattern,
                     glob_rows[i].match ? "" : "not ", glob_rows[i].name);
    assert_true(glob_valid("a[b-c]\\*"));
    assert_false(glob_valid("a["));
    assert_false(glob_valid("[x-]"));
    assert_true(glob_magic("a[") && glob_magic("*") && glob_magic("?") && glob_magic("\\"));
    assert_false(glob_magic("plain/name-]"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_are_hidden),
        cmocka_unit_test(folders_are_pruned),
        cmocka_unit_test(bad_patterns_are_errors_with_their_line),
        cmocka_unit_test(the_deciding_pattern_is_told_as_written),
        cmocka_unit_test(no_pattern_takes_exponential_time),
        cmocka_unit_test(patterns_of_copy_match),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
