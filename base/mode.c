// SPDX-License-Identifier: MIT
// A symbolic mode is read and applied clause by clause, each operator at once.
#include "base/mode.h"

#include <stddef.h>
#include <string.h>

enum { USER = 04700, GROUP = 02070, OTHER = 01007 };

static bool octal(const char *text, mode_t *ret)
{
    mode_t n = 0;
    size_t len = strlen(text);
    if (!len || len > (*text == '0' ? 5 : 4))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '7')
            return false;
        n = n * 8 + (mode_t)(text[i] - '0');
    }
    *ret = n;
    return true;
}

/* "ugoa" at *p as a mask; all without any. */
static mode_t take_who(const char **p)
{
    mode_t who = 0;
    for (; **p && strchr("ugoa", **p); (*p)++)
        who |= **p == 'u' ? USER : **p == 'g' ? GROUP : **p == 'o' ? OTHER : USER | GROUP | OTHER;
    return who ? who : USER | GROUP | OTHER;
}

/* The permissions of one class for all three. */
static mode_t spread(mode_t bits)
{
    bits &= 7;
    return bits << 6 | bits << 3 | bits;
}

/* "rwxXst", or one of "ugo" for what that class has. */
static mode_t take_bits(const char **p, mode_t mode, bool folder)
{
    mode_t bits = 0;
    if (**p && strchr("ugo", **p)) {
        char c = *(*p)++;
        return spread(c == 'u' ? mode >> 6 : c == 'g' ? mode >> 3 : mode);
    }
    for (; **p && strchr("rwxXst", **p); (*p)++)
        bits |= **p == 'r'   ? 0444
                : **p == 'w' ? 0222
                : **p == 'x' ? 0111
                : **p == 'X' ? (folder || mode & 0111 ? 0111 : 0)
                : **p == 's' ? 06000
                             : 01000;
    return bits;
}

bool mode_apply(const char *text, mode_t old, bool folder, mode_t *ret)
{
    if (octal(text, ret))
        return true;
    mode_t mode = old & 07777;
    for (const char *p = text;; p++) {
        mode_t who = take_who(&p);
        if (!*p || !strchr("+-=", *p))
            return false;
        while (*p && strchr("+-=", *p)) {
            char op = *p++;
            mode_t bits = take_bits(&p, mode, folder) & who;
            mode = op == '+' ? mode | bits : op == '-' ? mode & ~bits : (mode & ~who) | bits;
        }
        if (*p == ',')
            continue;
        if (!*p)
            *ret = mode;
        return !*p;
    }
}
