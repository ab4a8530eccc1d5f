// SPDX-License-Identifier: MIT
#include "base/utf8.h"

#include <stdbool.h>

struct range {
    uint32_t first, last;
};

/* Combining and invisible characters, and wide ones, in order (Unicode's EastAsianWidth.txt and
 * general category Mn, for the scripts in use). */
static const struct range zero[] = {
    {0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},   {0x5bf, 0x5bf},    {0x5c1, 0x5c2},
    {0x5c4, 0x5c5},   {0x610, 0x61a},   {0x64b, 0x65f},   {0x670, 0x670},    {0x6d6, 0x6dc},
    {0x6df, 0x6e4},   {0x6e7, 0x6e8},   {0x6ea, 0x6ed},   {0x900, 0x902},    {0x93a, 0x93a},
    {0x93c, 0x93c},   {0x941, 0x948},   {0x94d, 0x94d},   {0xe31, 0xe31},    {0xe34, 0xe3a},
    {0xe47, 0xe4e},   {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x200b, 0x200f},  {0x20d0, 0x20ff},
    {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0xfeff, 0xfeff}, {0xe0100, 0xe01ef}};
static const struct range wide[] = {{0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},
                                    {0xac00, 0xd7a3},   {0xf900, 0xfaff},   {0xfe30, 0xfe6f},
                                    {0xff00, 0xff60},   {0xffe0, 0xffe6},   {0x1f300, 0x1f64f},
                                    {0x1f680, 0x1f6ff}, {0x1f900, 0x1faff}, {0x20000, 0x3fffd}};

static bool is_in(uint32_t c, const struct range *r, size_t n)
{
    for (size_t i = 0; i < n && c >= r[i].first; i++)
        if (c <= r[i].last)
            return true;
    return false;
}

size_t utf8_next(const char *text, size_t n, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)text;
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

unsigned utf8_columns(uint32_t c)
{
    if (is_in(c, zero, sizeof zero / sizeof *zero))
        return 0;
    return is_in(c, wide, sizeof wide / sizeof *wide) ? 2 : 1;
}
