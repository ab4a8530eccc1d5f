// SPDX-License-Identifier: MIT
#include "base/printable.h"

#include "base/cleanup.h"

#include <stdint.h>

/* The character at p and its length in bytes; 0: no UTF-8. */
static size_t decode(const unsigned char *p, size_t n, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
    if (!len || len > n)
        return 0;
    uint32_t c = len == 1 ? *p : *p & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    *ret = c;
    return c >= least[len] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) ? len : 0;
}

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
        size_t len = decode((const unsigned char *)text + i, n - i, &c);
        if (!len || (len == 1 && !is_harmless(c)))
            buf_addf(out, "\\x%02x", (unsigned char)text[i]);
        else if (is_harmless(c))
            buf_add(out, text + i, len);
        else
            buf_addf(out, "\\u%04x", c);
        i += len ? len : 1;
    }
}

void printable_print(FILE *f, const char *text)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    printable_add(&b, text, strlen(text));
    fputs(b.data, f);
}
