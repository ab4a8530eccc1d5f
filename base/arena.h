/* SPDX-License-Identifier: MIT
 *
 * Memory that is freed all at once: for the many small pieces of one parsed file.
 *
 *     struct node { struct node *next; };
 *     CLEANUP(arena_freep) struct arena *a = arena_new();
 *     struct node *n = arena_alloc(a, sizeof *n);        // zeroed, aligned for any type
 *
 * Nothing is freed before arena_free. Running out of memory aborts.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/buf.h"
#include "base/cleanup.h"

#include <stddef.h>

struct arena;

struct arena *arena_new(void);
void arena_free(struct arena *a); /* NULL is fine */
DEFINE_CLEANUP(struct arena, arena_free);

void *arena_alloc(struct arena *a, size_t size);              /* zeroed; size 0 is fine */
void *arena_array(struct arena *a, size_t n, size_t size);    /* aborts when n * size overflows */
void *arena_copy(struct arena *a, const void *p, size_t len); /* the bytes and a final NUL */
struct str arena_str(struct arena *a, struct str s);          /* as arena_copy: NUL-terminated */
/* Room for one more than the n elements of p (NULL while n is 0): p itself, or a copy twice as long
 * whenever n is a power of two. For arrays that only ever grow through this. */
void *arena_grow(struct arena *a, void *p, size_t n, size_t size);
struct str arena_fmt(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
