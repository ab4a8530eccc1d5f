// SPDX-License-Identifier: MIT
//
// What a terminal is given: text in columns, a guest's output without its tricks, lines redrawn.
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/alloc.h"
#include "cli/columns.h"
#include "cli/guest_text.h"
#include "cli/screen.h"

#include <pty.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void is_cut(const char *text, size_t columns, const char *want)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    size_t n = columns_add(&b, text, columns);
    assert_string_equal(b.data, want);
    assert_int_equal(n, columns_of(want));
}

static void text_is_cut_between_characters(void **state)
{
    (void)state;
    is_cut("abcd", 4, "abcd");
    is_cut("abcde", 4, "abc…");
    is_cut("日本語", 6, "日本語");
    is_cut("日本語", 5, "日本…");
    is_cut("日本語", 4, "日…"); // half a character is not shown
    is_cut(
        "e\xcc\x81"
        "e\xcc\x81",
        2,
        "e\xcc\x81"
        "e\xcc\x81");
    is_cut("e\xcc\x81xyz", 3,
           "e\xcc\x81"
           "x…");
    is_cut("\x1b[31mred\x1b[0m", 3, "\x1b[31mred\x1b[0m");
    is_cut("\x1b[31mreddish\x1b[0m", 3, "\x1b[31mre…\x1b[0m");
    is_cut("abc", 1, "…");
    is_cut("abc", 0, "");
}

/* The lines of the text, '|' between them. */
static void reads(const char *text, bool colours, const char *want)
{
    CLEANUP(guest_text_clear) struct guest_text t = GUEST_TEXT_INIT;
    CLEANUP(buf_clear) struct buf line = BUF_INIT, all = BUF_INIT;
    for (const char *p = text; *p; p++)
        guest_text_add(&t, p, 1);
    for (size_t at = 0; guest_text_next(&t, &at, colours, &line);)
        buf_addf(&all, "%s|", line.data);
    assert_string_equal(all.data, want);
}

static void a_guest_can_colour_and_no_more(void **state)
{
    (void)state;
    reads("a\nb", true, "a|b|");
    reads("1%\r2%\r\n", true, "2%|");
    reads("\x1b[1;31mred\x1b[m\n", true, "\x1b[1;31mred\x1b[m\x1b[0m|");
    reads("\x1b[1;31mred\x1b[m\n", false, "red|");
    reads("\x1b[2J\x1b[3;4Hx\x1b[?25l\x1b(By\x1b]0;t\az\x1b]8;;u\x1b\\.\n", true, "xyz.|");
    reads("\x1bPq#0\x1b\\a\x1b^p\x1b\\b\n", true, "ab|");
    reads("a\x1b]0;never\nb\n", true, "a|b|");
    reads("\x1b[>4;1mx\n", true, "x|"); // xterm's key modes end in m, too
    reads(
        "\xc2\x9b"
        "31mx\xff\x01\n",
        true, "\\u009b31mx\\xff\\x01|");
}

static void the_last_lines_are_found(void **state)
{
    (void)state;
    CLEANUP(guest_text_clear) struct guest_text t = GUEST_TEXT_INIT;
    CLEANUP(strv_clear) struct strv last = {0};
    AUTO_FREE char *much = xcalloc(1 << 20, 1);
    memset(much, 'x', 1 << 20);
    much[(1 << 20) - 1] = '\n';
    for (int i = 0; i < 20; i++)
        guest_text_add(&t, much, 1 << 20);
    assert_true(t.cut && t.all.len >= GUEST_TEXT_MAX && t.all.len <= 2 * GUEST_TEXT_MAX);
    guest_text_add(&t, "a\tb\n\n \nend", 10);
    guest_text_last(&t, 3, &last);
    assert_int_equal(last.len, 3);
    assert_true(strlen(last.ptr[0]) == 4096);
    assert_string_equal(last.ptr[1], "a       b");
    assert_string_equal(last.ptr[2], "end");
}

/* What was drawn since the last time; owned. */
static char *take(int fd)
{
    char bytes[4096];
    ssize_t n = read(fd, bytes, sizeof bytes - 1);
    return xstrndup(bytes, n > 0 ? (size_t)n : 0);
}

static void drawn(struct screen *s, int fd, const char *want)
{
    screen_draw(s);
    AUTO_FREE char *got = take(fd);
    assert_string_equal(got, want);
}

static void what_changes_is_written_over(void **state)
{
    (void)state;
    int master, slave;
    struct winsize size = {.ws_col = 20, .ws_row = 5};
    struct termios raw;
    setenv("NO_COLOR", "1", 1);
    assert_int_equal(openpty(&master, &slave, NULL, NULL, &size), 0);
    assert_int_equal(tcgetattr(slave, &raw), 0);
    cfmakeraw(&raw);
    assert_int_equal(tcsetattr(slave, TCSANOW, &raw), 0);
    FILE *out = fdopen(slave, "w");
    CLEANUP(screen_clear) struct screen s;
    screen_init(&s, out);
    screen_say(&s, "one", "done");
    screen_now(&s, "two", "1 s");
    drawn(&s, master, "\rone            done\x1b[K\ntwo             1 s\x1b[K\n\x1b[J");
    screen_say(&s, "two, which is much longer", "2 s");
    screen_now(&s, "three", "");
    drawn(&s, master, "\x1b[1A\rtwo, which is…  2 s\x1b[K\nthree\x1b[K\n\x1b[J");
    // narrower: both lines that stay had 19 columns, two rows now; more than four rows are not there
    size.ws_col = 12;
    assert_int_equal(ioctl(master, TIOCSWINSZ, &size), 0);
    drawn(&s, master, "\x1b[3A\r\x1b[Jtwo, …  2 s\x1b[K\n\x1b[J");
    for (int i = 0; i < 9; i++)
        screen_now(&s, i == 8 ? "last" : "x", "");
    drawn(&s, master, "\rx\x1b[K\nx\x1b[K\nx\x1b[K\nlast\x1b[K\n\x1b[J");
    screen_clear(&s);
    AUTO_FREE char *end = take(master);
    assert_string_equal(end, "\x1b[4A\r\x1b[J");
    fclose(out);
    close(master);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_cut_between_characters),
        cmocka_unit_test(a_guest_can_colour_and_no_more),
        cmocka_unit_test(the_last_lines_are_found),
        cmocka_unit_test(what_changes_is_written_over),
    };
    return cmocka_run_group_tests_name("screen", tests, NULL, NULL);
}
