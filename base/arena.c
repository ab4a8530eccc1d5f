// SPDX-License-Identifier: MIT
// Chunks that grow from 4 KiB to 1 MiB, linked for freeing. A piece that does not fit into what is
// left of the newest chunk opens a new one, so at most the tail of each chunk is wasted.
#include "base/arena.h"

#include "base/alloc.h"

#include <stdarg.h>
#include <stdint.h>

struct chunk {
    struct chunk *older;
    size_t used, size;
    _Alignas(max_align_t) char bytes[];
};

struct arena {
    struct chunk *newest;
    size_t next_size;
};

struct arena *arena_new(void)
{
    struct arena *a = xcalloc(1, sizeof *a);
    a->next_size = 4096;
    return a;
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    for (struct chunk *c = a->newest, *older; c; c = older) {
        older = c->older;
        free(c);
    }
    free(a);
}

static struct chunk *add_chunk(struct arena *a, size_t at_least)
{
    size_t size = a->next_size > at_least ? a->next_size : at_least;
    if (a->next_size < 1 << 20)
        a->next_size *= 2;
    struct chunk *c = xcalloc(1, sizeof *c + size);
    c->size = size;
    c->older = a->newest;
    return a->newest = c;
}

void *arena_alloc(struct arena *a, size_t size)
{
    const size_t align = _Alignof(max_align_t);
    if (size > SIZE_MAX / 2)
        alloc_failed();
    size = (size + align - 1) & ~(align - 1);
    struct chunk *c = a->newest;
    if (!c || c->size - c->used < size)
        c = add_chunk(a, size);
    void *p = c->bytes + c->used;
    c->used += size;
    return p;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(n, size, &total))
        alloc_failed();
    return arena_alloc(a, total);
}

void *arena_grow(struct arena *a, void *p, size_t n, size_t size)
{
    if (n & (n - 1))
        return p;
    void *more = arena_array(a, n ? 2 * n : 1, size);
    if (n)
        memcpy(more, p, n * size);
    return more;
}

void *arena_copy(struct arena *a, const void *p, size_t len)
{
    char *copy = arena_alloc(a, len + 1);
    if (len)
        memcpy(copy, p, len);
    return copy;
}

struct str arena_str(struct arena *a, struct str s)
{
    return (struct str){arena_copy(a, s.ptr, s.len), s.len};
}

struct str arena_fmt(struct arena *a, const char *fmt, ...)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    return arena_str(a, buf_str(&b));
}
