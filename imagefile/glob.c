// SPDX-License-Identifier: MIT
// The usual matcher with one point to return to: after a mismatch the newest '*' takes one
// character more. An older '*' need never be asked again, since what follows it was matched as
// early as possible and no '*' crosses a '/'.
#include "imagefile/glob.h"

#include <string.h>

uint32_t glob_char(const char *s, size_t *ret_len)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t len = p[0] < 0xc2 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 1;
    uint32_t c = p[0] & (len == 1 ? 0xff : 0x7fU >> len);
    *ret_len = 1;
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) // the NUL at the end too
            return 0x110000 + p[0];
        c = c << 6 | (p[i] & 0x3f);
    }
    if (len == 1 && p[0] >= 0x80)
        return 0x110000 + p[0];
    *ret_len = len;
    return c;
}

/* One end of a range at *p; false if there is none. */
static bool class_char(const char **p, uint32_t *ret)
{
    if (**p == '\\')
        ++*p;
    else if (**p == '-' || **p == ']')
        return false;
    if (!**p)
        return false;
    size_t n;
    *ret = glob_char(*p, &n);
    *p += n;
    return true;
}

size_t glob_class(const char *start, uint32_t c, bool *ret_match)
{
    const char *p = start + 1;
    bool negated = *p == '^', found = false;
    p += negated;
    for (bool first = true; first || *p != ']'; first = false) {
        uint32_t low, high;
        if (!class_char(&p, &low))
            return 0;
        high = low;
        if (*p == '-') {
            p++;
            if (!class_char(&p, &high))
                return 0;
        }
        found |= low <= c && c <= high;
    }
    *ret_match = found != negated && c != '/';
    return (size_t)(p - start) + 1;
}

bool glob_valid(const char *p)
{
    bool match;
    while (*p) {
        size_t n = 1;
        if (*p == '[')
            n = glob_class(p, 0, &match);
        else if (*p == '\\')
            n = p[1] ? 2 : 0;
        if (!n)
            return false;
        p += n;
    }
    return true;
}

/* Does the item at p (no '*') match the character at s? Their lengths if so. */
static bool match_one(const char *p, const char *s, size_t *ret_p, size_t *ret_s)
{
    bool match;
    uint32_t c = glob_char(s, ret_s);
    *ret_p = 1;
    switch (*p) {
    case '\0':
        return false;
    case '?':
        return c != '/';
    case '[':
        *ret_p = glob_class(p, c, &match);
        return *ret_p && match;
    case '\\':
        p++;
        *ret_p = 2;
        break;
    default:
        break;
    }
    *ret_s = 1; // literals are compared by byte
    return *p == *s;
}

bool glob_match(const char *p, const char *s)
{
    const char *star = NULL, *retry = NULL;
    size_t np, ns;
    if (!glob_valid(p))
        return false;
    while (*s) {
        if (*p == '*') {
            star = ++p;
            retry = s;
        } else if (match_one(p, s, &np, &ns)) {
            p += np;
            s += ns;
        } else if (star && *retry != '/') {
            glob_char(retry, &ns);
            s = retry += ns;
            p = star;
        } else {
            return false;
        }
    }
    while (*p == '*')
        p++;
    return !*p;
}

bool glob_magic(const char *pattern)
{
    return strpbrk(pattern, "*?[\\");
}
