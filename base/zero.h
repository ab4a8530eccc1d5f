/* SPDX-License-Identifier: MIT
 *
 * Whether bytes are all zero, at the speed of memory.
 */
#ifndef BASE_ZERO_H
#define BASE_ZERO_H

#include <stdbool.h>
#include <string.h>

static inline bool is_zero(const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    size_t head = n < 16 ? n : 16;
    for (size_t i = 0; i < head; i++)
        if (p[i])
            return false;
    // equal to itself 16 bytes further on, and those 16 are zero
    return n <= 16 || !memcmp(p, p + 16, n - 16);
}

#endif
