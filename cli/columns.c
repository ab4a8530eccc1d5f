// SPDX-License-Identifier: MIT
#include "cli/columns.h"

#include "base/utf8.h"

/* Bytes of the colour at p; 0: there is none. */
static size_t colour(const char *p)
{
    if (p[0] != '\x1b' || p[1] != '[')
        return 0;
    size_t n = 2 + strspn(p + 2, "0123456789;:");
    return p[n] == 'm' ? n + 1 : 0;
}

/* Bytes of what stands at p, a colour or a character, and its columns. */
static size_t next(const char *p, size_t *ret_columns)
{
    uint32_t c = 0;
    size_t n = colour(p);
    *ret_columns = 0;
    if (n)
        return n;
    n = utf8_next(p, strnlen(p, 4), &c);
    *ret_columns = n ? utf8_columns(c) : 1;
    return n ? n : 1;
}

size_t columns_of(const char *text)
{
    size_t all = 0, columns;
    for (const char *p = text; *p; all += columns)
        p += next(p, &columns);
    return all;
}

size_t columns_add(struct buf *b, const char *text, size_t columns)
{
    size_t used = 0, wide;
    if (columns_of(text) <= columns) {
        buf_adds(b, text);
        return columns_of(text);
    }
    if (!columns)
        return 0;
    bool coloured = false;
    for (size_t n; *text; text += n, used += wide) {
        n = next(text, &wide);
        if (used + wide > columns - 1)
            break;
        coloured |= n && *text == '\x1b';
        buf_add(b, text, n);
    }
    buf_adds(b, coloured ? "…\x1b[0m" : "…");
    return used + 1;
}
