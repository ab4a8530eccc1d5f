/* SPDX-License-Identifier: MIT
 *
 * Strings of bits at any position, the highest bit of a byte first, as bzip2 has them.
 *
 *     CLEANUP(bits_clear) struct bits b = BITS_INIT;
 *     bits_add(&b, "\x31\x41", 3, 9);             // nine bits, from the fourth on
 */
#ifndef IMAGE_BITS_H
#define IMAGE_BITS_H

#include "base/buf.h"

#include <stdint.h>

struct bits {
    struct buf bytes; /* the bits behind the last are zero */
    size_t n;
};
#define BITS_INIT \
    { \
        BUF_INIT, 0 \
    }

void bits_clear(struct bits *b);
/* The first n bits are left. */
void bits_cut(struct bits *b, size_t n);
/* Adds the n bits from bit `start` of bytes on. The byte behind the last of these is read, too. */
void bits_add(struct bits *b, const void *bytes, size_t start, size_t n);
/* n (at most 64) bits from bit `start` on as a number. */
uint64_t bits_get(const void *bytes, size_t start, unsigned n);

#endif
