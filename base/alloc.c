// SPDX-License-Identifier: MIT
#include "base/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A program that has something to say then defines its own. */
__attribute__((weak)) void alloc_failed(void)
{
    abort();
}

static void *check(void *p)
{
    if (!p)
        alloc_failed();
    return p;
}

void *xmalloc(size_t size)
{
    return check(malloc(size ? size : 1));
}

void *xcalloc(size_t n, size_t size)
{
    return check(n && size ? calloc(n, size) : calloc(1, 1));
}

void *xrealloc(void *p, size_t size)
{
    return check(realloc(p, size ? size : 1));
}

void *xreallocarray(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        alloc_failed();
    return xrealloc(p, bytes);
}

void *xmemdup(const void *p, size_t len)
{
    void *copy = xmalloc(len);
    if (len)
        memcpy(copy, p, len);
    return copy;
}

char *xstrdup(const char *s)
{
    return check(strdup(s));
}

char *xstrndup(const char *s, size_t len)
{
    return check(strndup(s, len));
}

char *xasprintf(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    return check(n < 0 ? NULL : s);
}
