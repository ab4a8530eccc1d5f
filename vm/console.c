// SPDX-License-Identifier: MIT
//
// Bytes are appended, and the front half is dropped when twice the limit is reached, so adding is
// cheap. The text is made readable only when somebody asks for it: ECMA-48 sequences (CSI … final
// byte, OSC … BEL or ST, two-byte escapes) are skipped, a carriage return starts the line again.
#include "vm/console.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/vector.h"

enum { LINE_MAX_BYTES = 200 };

void console_add(struct console *c, const void *bytes, size_t n)
{
    if (n > CONSOLE_KEPT) {
        bytes = (const char *)bytes + (n - CONSOLE_KEPT);
        n = CONSOLE_KEPT;
    }
    buf_add(&c->bytes, bytes, n);
    if (c->bytes.len >= 2 * CONSOLE_KEPT)
        buf_consume(&c->bytes, c->bytes.len - CONSOLE_KEPT);
}

void console_clear(struct console *c)
{
    buf_clear(&c->bytes);
}

/* p is behind an ESC; returns where the sequence ends. */
static const char *skip_escape(const char *p, const char *end)
{
    if (p < end && *p == '[') {
        for (p++; p < end && (*p < 0x40 || *p > 0x7e); p++)
            ;
        return p < end ? p + 1 : p;
    }
    if (p < end && *p == ']') {
        for (p++; p < end && *p != '\a' && *p != '\033'; p++)
            ;
        return p < end && *p == '\a' ? p + 1 : p;
    }
    while (p < end && *p >= 0x20 && *p <= 0x2f)
        p++;
    return p < end ? p + 1 : p;
}

static void finish_line(struct strv *v, struct buf *line)
{
    while (line->len && line->data[line->len - 1] == ' ')
        line->data[--line->len] = '\0';
    if (line->len)
        strv_add_take(v, xstrndup(line->data, LINE_MAX_BYTES));
    buf_reset(line);
}

char *console_last_lines(const struct console *c, unsigned lines)
{
    CLEANUP(strv_clear) struct strv v = {0};
    CLEANUP(buf_clear) struct buf line = BUF_INIT, out = BUF_INIT;
    const char *p = c->bytes.data, *end = p + c->bytes.len;
    while (p < end) {
        unsigned char ch = (unsigned char)*p++;
        if (ch == '\033')
            p = skip_escape(p, end);
        else if (ch == '\n')
            finish_line(&v, &line);
        else if (ch == '\r' && p < end && *p != '\n' && *p != '\r')
            buf_reset(&line);
        else if (ch == '\t')
            buf_addc(&line, ' ');
        else if (ch >= 0x20 && ch != 0x7f)
            buf_addc(&line, (char)ch);
    }
    finish_line(&v, &line);
    for (size_t i = v.len > lines ? v.len - lines : 0; i < v.len; i++)
        buf_addf(&out, "%s%s", out.len ? "\n" : "", v.ptr[i]);
    return buf_detach(&out, NULL);
}
