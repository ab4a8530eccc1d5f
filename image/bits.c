// SPDX-License-Identifier: MIT
#include "image/bits.h"

void bits_clear(struct bits *b)
{
    buf_clear(&b->bytes);
    b->n = 0;
}

void bits_cut(struct bits *b, size_t n)
{
    b->n = n;
    b->bytes.len = (n + 7) / 8;
    if (n % 8)
        b->bytes.data[n / 8] &= (char)(0xff00 >> n % 8);
}

void bits_add(struct bits *b, const void *bytes, size_t start, size_t n)
{
    const unsigned char *from = (const unsigned char *)bytes + start / 8;
    unsigned shift = start % 8, used = b->n % 8;
    size_t at = b->n / 8;
    buf_reserve(&b->bytes, n / 8 + 3);
    unsigned char *to = (unsigned char *)b->bytes.data;
    if (!used)
        to[at] = 0;
    for (size_t i = 0; i < (n + 7) / 8; i++, at++) {
        unsigned v = (from[i] << shift | from[i + 1] >> (8 - shift)) & 0xff;
        to[at] |= (unsigned char)(v >> used);
        to[at + 1] = (unsigned char)(v << (8 - used));
    }
    bits_cut(b, b->n + n);
}

uint64_t bits_get(const void *bytes, size_t start, unsigned n)
{
    const unsigned char *from = bytes;
    uint64_t v = 0;
    for (size_t i = start; i < start + n; i++)
        v = v << 1 | (from[i / 8] >> (7 - i % 8) & 1);
    return v;
}
