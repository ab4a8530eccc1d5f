// SPDX-License-Identifier: MIT
#include "base/buf.h"

#include "base/alloc.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

char buf_empty[1];

void buf_init(struct buf *b)
{
    *b = (struct buf)BUF_INIT;
}

void buf_clear(struct buf *b)
{
    if (b->alloc)
        free(b->data);
    buf_init(b);
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    if (b->alloc)
        b->data[0] = '\0';
}

void buf_reserve(struct buf *b, size_t n)
{
    size_t need;
    if (__builtin_add_overflow(b->len, n, &need) || __builtin_add_overflow(need, 1, &need))
        alloc_failed();
    if (need <= b->alloc)
        return;
    size_t alloc = b->alloc + b->alloc / 2;
    if (alloc < need)
        alloc = need < 32 ? 32 : need;
    b->data = xrealloc(b->alloc ? b->data : NULL, alloc);
    b->data[b->len] = '\0';
    b->alloc = alloc;
}

void buf_add(struct buf *b, const void *bytes, size_t n)
{
    if (!n)
        return;
    buf_reserve(b, n);
    memcpy(b->data + b->len, bytes, n);
    b->len += n;
    b->data[b->len] = '\0';
}

void buf_adds(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_addc(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_add_str(struct buf *b, struct str s)
{
    buf_add(b, s.ptr, s.len);
}

void buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    if (n < 0)
        alloc_failed();
    buf_reserve(b, (size_t)n);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
    va_end(again);
    b->len += (size_t)n;
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(b, fmt, ap);
    va_end(ap);
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= b->len);
    if (!n)
        return;
    memmove(b->data, b->data + n, b->len - n + 1);
    b->len -= n;
}

char *buf_detach(struct buf *b, size_t *ret_len)
{
    char *p = b->alloc ? b->data : xstrdup("");
    if (ret_len)
        *ret_len = b->len;
    buf_init(b);
    return p;
}

bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (!a.len || !memcmp(a.ptr, b.ptr, a.len));
}

bool str_is(struct str a, const char *s)
{
    return str_eq(a, str_of(s));
}

bool str_starts(struct str s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.len >= n && !memcmp(s.ptr, prefix, n);
}

struct str str_cut(struct str *rest, char at)
{
    const char *end = rest->len ? memchr(rest->ptr, at, rest->len) : NULL;
    struct str part = {rest->ptr, end ? (size_t)(end - rest->ptr) : rest->len};
    rest->len -= part.len + (end != NULL);
    rest->ptr += part.len + (end != NULL);
    return part;
}

char *str_dup(struct str s)
{
    return s.len ? xstrndup(s.ptr, s.len) : xstrdup("");
}

void buf_add_size(struct buf *b, unsigned long long bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) {
        buf_addf(b, "%llu B", bytes);
        return;
    }
    double value = (double)bytes / 1024;
    size_t unit = 0;
    while (value >= 1023.995 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1024;
        unit++;
    }
    buf_addf(b, "%.2f %s", value, units[unit]);
}

void buf_add_shell_word(struct buf *b, const char *word)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        "-_=+.,:/@%";
    if (*word && !word[strspn(word, plain)]) {
        buf_adds(b, word);
        return;
    }
    buf_addc(b, '\'');
    for (; *word; word++)
        if (*word == '\'')
            buf_adds(b, "'\\''");
        else
            buf_addc(b, *word);
    buf_addc(b, '\'');
}

char *shell_word(const char *word)
{
    struct buf b = BUF_INIT;
    buf_add_shell_word(&b, word);
    return buf_detach(&b, NULL);
}

void buf_add_shell_words(struct buf *b, const char *const *words)
{
    for (; *words; words++) {
        if (b->len)
            buf_addc(b, ' ');
        buf_add_shell_word(b, *words);
    }
}
