// SPDX-License-Identifier: MIT
//
// The cursor always stands in the first column below what was drawn. To draw, it goes up over the
// lines that change and writes over them; all of it is one write, so nothing flickers.
//
// Resizing: today's terminals wrap lines that have become too long, so what was drawn takes more
// rows than before. As many lines as fit the screen are drawn again, those that stay too: in a
// terminal that cuts lines instead, going up that far takes away some that stay.
#include "cli/screen.h"

#include "base/terminal.h"
#include "cli/columns.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>

enum { WIDTH_MAX = 100, SAID_MAX = 400 };

static bool is_utf8(void)
{
    locale_t locale = newlocale(LC_CTYPE_MASK, "", 0);
    bool yes = locale && !strcmp(nl_langinfo_l(CODESET, locale), "UTF-8");
    if (locale)
        freelocale(locale);
    return yes;
}

void screen_init(struct screen *s, FILE *out)
{
    const char *no = getenv("NO_COLOR");
    *s = (struct screen){.out = out, .colours = !no || !*no, .utf8 = is_utf8()};
    terminal_size(fileno(out), &s->columns, &s->rows);
}

const char *screen_style(const struct screen *s, enum screen_style style)
{
    static const char *const codes[] = {
        [STYLE_DIM] = "\x1b[2m",    [STYLE_BOLD] = "\x1b[1m",    [STYLE_RED] = "\x1b[31m",
        [STYLE_GREEN] = "\x1b[32m", [STYLE_YELLOW] = "\x1b[33m", [STYLE_CYAN] = "\x1b[36m"};
    return s->colours ? codes[style] : "";
}

const char *screen_plain(const struct screen *s)
{
    return s->colours ? "\x1b[0m" : "";
}

static void add_line(struct screen_lines *lines, const char *left, const char *right)
{
    *screen_lines_push(lines) = (struct screen_line){xstrdup(left), right ? xstrdup(right) : NULL};
}

static void drop_lines(struct screen_lines *lines, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(lines->ptr[i].left);
        free(lines->ptr[i].right);
    }
    if (n)
        memmove(lines->ptr, lines->ptr + n, (lines->len - n) * sizeof *lines->ptr);
    lines->len -= n;
}

void screen_say(struct screen *s, const char *left, const char *right)
{
    add_line(&s->said, left, right);
}

void screen_now(struct screen *s, const char *left, const char *right)
{
    add_line(&s->now, left, right);
}

/* The row's text at that width: the last column stays free, as terminals differ in what a character
 * there does to the cursor. */
static void add_row(struct buf *b, const struct screen_line *line, unsigned columns)
{
    size_t width = columns - 1 < WIDTH_MAX ? columns - 1 : WIDTH_MAX;
    if (!line->right) {
        buf_adds(b, line->left);
        return;
    }
    size_t right = columns_of(line->right);
    if (right + 8 > width) {
        columns_add(b, line->left, width);
        return;
    }
    size_t room = width - right - (right ? 2 : 0), used = columns_add(b, line->left, room);
    for (; right && used < room + 2; used++)
        buf_addc(b, ' ');
    buf_adds(b, line->right);
}

/* Rows that the line, drawn at one width, takes at another. */
static size_t rows_of(const struct screen_line *line, unsigned drawn_at, unsigned columns)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    add_row(&b, line, drawn_at);
    size_t n = columns_of(b.data);
    return n ? (n + columns - 1) / columns : 1;
}

/* Goes up over what changes, which is at the end of what was drawn. After a resize also over lines
 * that stay, which then count as not printed. */
static void go_up(struct screen *s, struct buf *b, bool resized, unsigned columns, unsigned rows)
{
    size_t up = resized ? 0 : s->drawn.len;
    for (size_t i = 0; resized && i < s->drawn.len; i++)
        up += rows_of(&s->drawn.ptr[i], s->columns, columns);
    while (resized && s->n_printed) {
        size_t more = rows_of(&s->said.ptr[s->n_printed - 1], s->columns, columns);
        if (up + more > rows - 1)
            break;
        up += more;
        s->n_printed--;
    }
    up = up < rows ? up : rows - 1;
    if (up)
        buf_addf(b, "\x1b[%zuA", up);
    buf_adds(b, resized ? "\r\x1b[J" : "\r");
}

static void print(struct screen *s, const struct buf *b)
{
    fwrite(b->data, 1, b->len, s->out);
    fflush(s->out);
}

void screen_draw(struct screen *s)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    unsigned columns, rows;
    terminal_size(fileno(s->out), &columns, &rows);
    go_up(s, &b, columns != s->columns, columns, rows);
    s->columns = columns;
    s->rows = rows;
    for (; s->n_printed < s->said.len; s->n_printed++) {
        add_row(&b, &s->said.ptr[s->n_printed], columns);
        buf_adds(&b, "\x1b[K\n");
    }
    if (s->said.len > SAID_MAX) {
        drop_lines(&s->said, s->said.len - SAID_MAX);
        s->n_printed = s->said.len;
    }
    drop_lines(&s->drawn, s->drawn.len);
    struct screen_lines reuse = s->drawn;
    s->drawn = s->now;
    s->now = reuse;
    if (s->drawn.len >= rows)
        drop_lines(&s->drawn, s->drawn.len - (rows - 1));
    for (size_t i = 0; i < s->drawn.len; i++) {
        add_row(&b, &s->drawn.ptr[i], columns);
        buf_adds(&b, "\x1b[K\n");
    }
    buf_adds(&b, "\x1b[J");
    print(s, &b);
}

void screen_wipe(struct screen *s)
{
    drop_lines(&s->now, s->now.len);
    if (s->drawn.len || s->n_printed < s->said.len)
        screen_draw(s);
}

void screen_clear(struct screen *s)
{
    if (!s->out)
        return;
    screen_wipe(s);
    drop_lines(&s->said, s->said.len);
    screen_lines_clear(&s->said);
    screen_lines_clear(&s->now);
    screen_lines_clear(&s->drawn);
    s->out = NULL;
}
