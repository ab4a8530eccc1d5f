// SPDX-License-Identifier: MIT
//
// The bytes are kept as they came and are cleaned when they are shown: an escape sequence may come in
// two pieces. A sequence (ECMA-48, 5.4) that does not end takes the rest of its line, no more.
#include "cli/guest_text.h"

#include "base/printable.h"
#include "base/utf8.h"
#include "cli/columns.h"

enum { LINE_SHOWN = 4096, TAB = 8 };

void guest_text_clear(struct guest_text *t)
{
    buf_clear(&t->all);
    t->cut = false;
}

void guest_text_add(struct guest_text *t, const char *bytes, size_t n)
{
    buf_add(&t->all, bytes, n);
    if (t->all.len <= 2 * (size_t)GUEST_TEXT_MAX)
        return;
    size_t drop = t->all.len - GUEST_TEXT_MAX;
    const char *end = memchr(t->all.data + drop, '\n', GUEST_TEXT_MAX);
    buf_consume(&t->all, end ? (size_t)(end + 1 - t->all.data) : drop);
    t->cut = true;
}

/* Bytes of a control string, up to and with its end: BEL or ESC \. */
static size_t string_sequence(const char *p, size_t n)
{
    for (size_t i = 2; i < n; i++) {
        if (p[i] == '\a')
            return i + 1;
        if (p[i] == '\x1b' && i + 1 < n && p[i + 1] == '\\')
            return i + 2;
    }
    return n;
}

static size_t span(const char *p, size_t n, size_t i, char first, char last)
{
    while (i < n && p[i] >= first && p[i] <= last)
        i++;
    return i;
}

/* Bytes of the escape sequence at p. */
static size_t sequence(const char *p, size_t n)
{
    if (n > 1 && p[1] && strchr("]PX^_", p[1]))
        return string_sequence(p, n);
    bool csi = n > 1 && p[1] == '[';
    size_t i = span(p, n, 1 + csi, csi ? 0x30 : 0x20, csi ? 0x3f : 0x2f);
    if (csi)
        i = span(p, n, i, 0x20, 0x2f);
    return i < n && p[i] >= 0x30 && p[i] < 0x7f ? i + 1 : i < n ? i : n;
}

static bool is_colour(const char *p, size_t n)
{
    return n > 2 && p[1] == '[' && p[n - 1] == 'm' && span(p, n - 1, 2, '0', ';') == n - 1;
}

/* One character, or the byte that is none. */
static size_t add_character(struct buf *out, const char *p, size_t n)
{
    uint32_t c;
    size_t len = utf8_next(p, n, &c);
    len = len ? len : 1;
    if (*p != '\a' && *p != '\b' && *p != '\r')
        printable_add(out, p, len);
    return len;
}

/* What the line, without its newline, looks like. */
static void clean(struct str line, bool colours, struct buf *out)
{
    while (line.len && line.ptr[line.len - 1] == '\r')
        line.len--;
    const char *overwritten = memrchr(line.ptr, '\r', line.len);
    if (overwritten) {
        line.len -= (size_t)(overwritten + 1 - line.ptr);
        line.ptr = overwritten + 1;
    }
    bool coloured = false;
    for (size_t i = 0, n; i < line.len; i += n) {
        const char *p = line.ptr + i;
        if (*p != '\x1b') {
            n = add_character(out, p, line.len - i);
            continue;
        }
        n = sequence(p, line.len - i);
        if (colours && is_colour(p, n)) {
            buf_add(out, p, n);
            coloured = true;
        }
    }
    if (coloured)
        buf_adds(out, "\x1b[0m");
}

/* Owned. */
static char *shown_line(struct str line)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT, out = BUF_INIT;
    if (line.len > LINE_SHOWN) // the end of a bar that is drawn again and again
        line = memrchr(line.ptr, '\r', line.len - 1)
                   ? (struct str){line.ptr + line.len - LINE_SHOWN, LINE_SHOWN}
                   : (struct str){line.ptr, LINE_SHOWN};
    clean(line, false, &text);
    for (const char *p = text.data, *tab; *p; p = tab + 1) {
        tab = strchrnul(p, '\t');
        buf_add(&out, p, (size_t)(tab - p));
        if (!*tab)
            break;
        for (size_t at = columns_of(out.data) % TAB; at < TAB; at++)
            buf_addc(&out, ' ');
    }
    return buf_detach(&out, NULL);
}

void guest_text_last(const struct guest_text *t, size_t n, struct strv *ret)
{
    CLEANUP(strv_clear) struct strv found = {0}; // newest first
    size_t end = t->all.len;
    while (found.len < n && end) {
        const char *before = memrchr(t->all.data, '\n', end - (t->all.data[end - 1] == '\n'));
        size_t from = before ? (size_t)(before + 1 - t->all.data) : 0;
        size_t len = end - from - (t->all.data[end - 1] == '\n');
        AUTO_FREE char *line = shown_line((struct str){t->all.data + from, len});
        if (line[strspn(line, " ")])
            strv_add(&found, line);
        end = from;
    }
    for (size_t i = found.len; i-- > 0;)
        strv_add(ret, found.ptr[i]);
}

bool guest_text_next(const struct guest_text *t, size_t *at, bool colours, struct buf *line)
{
    buf_reset(line);
    if (*at >= t->all.len)
        return false;
    const char *p = t->all.data + *at, *end = memchr(p, '\n', t->all.len - *at);
    size_t n = end ? (size_t)(end - p) : t->all.len - *at;
    clean((struct str){p, n}, colours, line);
    *at += n + 1;
    return true;
}
