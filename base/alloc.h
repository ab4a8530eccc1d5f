/* SPDX-License-Identifier: MIT
 *
 * Allocation that aborts when memory is out. Sizes that come from outside must have met a limit
 * before they come here.
 */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include <stddef.h>

/* Ends the program; one that has something to say defines its own. */
void alloc_failed(void) __attribute__((noreturn, cold));
void *xmalloc(size_t size);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t size);
void *xreallocarray(void *p, size_t n, size_t size); /* aborts when n * size overflows */
void *xmemdup(const void *p, size_t len);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t len); /* at most len bytes and a final NUL */
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
