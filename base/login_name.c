// SPDX-License-Identifier: MIT
#include "base/login_name.h"

#include <string.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

bool is_user_name(const char *name)
{
    enum { MOST = 255 };
    size_t n = strlen(name);
    return n && n <= MOST && strspn(name, LETTERS "._-+@\\") == n && !strchr(".-+@\\", *name) &&
           name[n - 1] != '\\';
}

bool is_host_name(const char *name, size_t most)
{
    size_t n = strlen(name);
    char before = '.';
    for (const char *p = name; *p; before = *p++)
        if (!strchr(LETTERS "-.", *p) || (*p == '.' && strchr("-.", before)) ||
            (*p == '-' && before == '.'))
            return false;
    return n && n <= most && !strchr("-.", before);
}
