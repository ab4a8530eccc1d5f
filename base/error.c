// SPDX-License-Identifier: MIT
#include "base/error.h"

#include "base/alloc.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 1, 0))) static char *format(const char *fmt, va_list ap)
{
    char *s = NULL;
    if (vasprintf(&s, fmt, ap) < 0)
        alloc_failed();
    return s;
}

static void fill(struct error **err, enum error_kind kind, int errnum, char *message)
{
    assert(!*err);
    struct error *e = xcalloc(1, sizeof *e);
    e->kind = kind;
    e->errnum = errnum;
    e->message = message;
    *err = e;
}

int error_set(struct error **err, enum error_kind kind, const char *fmt, ...)
{
    if (!err)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    fill(err, kind, 0, format(fmt, ap));
    va_end(ap);
    return -1;
}

int error_errno(struct error **err, const char *fmt, ...)
{
    int saved = errno;
    if (!err)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    AUTO_FREE char *what = format(fmt, ap);
    va_end(ap);
    fill(err, ERR_SYSTEM, saved, xasprintf("%s: %s", what, strerror(saved)));
    errno = saved;
    return -1;
}

int error_wrap(struct error **err, const char *fmt, ...)
{
    if (!err || !*err)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    AUTO_FREE char *what = format(fmt, ap);
    va_end(ap);
    AUTO_FREE char *old = (*err)->message;
    (*err)->message = xasprintf("%s: %s", what, old);
    return -1;
}

int error_hint(struct error **err, const char *fmt, ...)
{
    if (!err || !*err || (*err)->hint)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    (*err)->hint = format(fmt, ap);
    va_end(ap);
    return -1;
}

int error_at(struct error **err, const char *path, unsigned line, unsigned column)
{
    if (!err || !*err || (*err)->loc.line)
        return -1;
    free((*err)->loc.path);
    (*err)->loc = (struct source_loc){path ? xstrdup(path) : NULL, line, column};
    return -1;
}

int error_propagate(struct error **err, struct error *from)
{
    if (!err)
        error_free(from);
    else if (from) {
        assert(!*err);
        *err = from;
    }
    return -1;
}

void error_free(struct error *err)
{
    if (!err)
        return;
    free(err->loc.path);
    free(err->message);
    free(err->hint);
    free(err);
}
