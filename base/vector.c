// SPDX-License-Identifier: MIT
#include "base/vector.h"

#include <stdarg.h>
#include <stdio.h>

void strv_add_take(struct strv *v, char *s)
{
    if (v->len + 1 >= v->alloc) {
        v->alloc = v->alloc ? v->alloc * 2 : 16;
        v->ptr = xreallocarray(v->ptr, v->alloc, sizeof *v->ptr);
    }
    v->ptr[v->len++] = s;
    v->ptr[v->len] = NULL;
}

void strv_add(struct strv *v, const char *s)
{
    strv_add_take(v, xstrdup(s));
}

void strv_addf(struct strv *v, const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&s, fmt, ap) < 0)
        alloc_failed();
    va_end(ap);
    strv_add_take(v, s);
}

bool strv_has(const struct strv *v, const char *s)
{
    for (size_t i = 0; i < v->len; i++)
        if (!strcmp(v->ptr[i], s))
            return true;
    return false;
}

void strv_clear(struct strv *v)
{
    for (size_t i = 0; i < v->len; i++)
        free(v->ptr[i]);
    free(v->ptr);
    memset(v, 0, sizeof *v);
}
