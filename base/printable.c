// SPDX-License-Identifier: MIT
#include "base/printable.h"

#include "base/cleanup.h"
#include "base/utf8.h"

#include <stdint.h>

static bool is_harmless(uint32_t c)
{
    if (c == '\n' || c == '\t')
        return true;
    return c >= ' ' && (c < 0x7f || c > 0x9f) && (c < 0x202a || c > 0x202e) &&
           (c < 0x2066 || c > 0x2069);
}

void printable_add(struct buf *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t c = 0;
        size_t len = utf8_next(text + i, n - i, &c);
        if (!len || (len == 1 && !is_harmless(c)))
            buf_addf(out, "\\x%02x", (unsigned char)text[i]);
        else if (is_harmless(c))
            buf_add(out, text + i, len);
        else
            buf_addf(out, "\\u%04x", c);
        i += len ? len : 1;
    }
}

char *printable_line(const char *text)
{
    CLEANUP(buf_clear) struct buf line = BUF_INIT;
    for (size_t n; *text; text += n) {
        n = strcspn(text, "\n\t");
        printable_add(&line, text, n);
        if (!n)
            buf_addf(&line, "\\x%02x", (unsigned char)text[n++]);
    }
    return buf_detach(&line, NULL);
}

void printable_print(FILE *f, const char *text)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    printable_add(&b, text, strlen(text));
    fputs(b.data, f);
}
