/* SPDX-License-Identifier: MIT
 *
 * Typed growing arrays with public fields:
 *
 *     DEFINE_VECTOR(names, char *);
 *
 *     struct names v = {0};
 *     *names_push(&v) = xstrdup("a");          // a zeroed new last element
 *     vec_foreach (char **, p, &v) puts(*p);
 *     names_clear(&v);                          // frees the array, not what elements point to
 */
#ifndef BASE_VECTOR_H
#define BASE_VECTOR_H

#include "base/alloc.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define DEFINE_VECTOR(name, type) \
    struct name { \
        type *ptr; \
        size_t len, alloc; \
    }; \
    __attribute__((unused)) static inline type *name##_push(struct name *v) \
    { \
        if (v->len == v->alloc) { \
            v->alloc = v->alloc ? v->alloc * 2 : 8; \
            v->ptr = xreallocarray(v->ptr, v->alloc, sizeof *v->ptr); \
        } \
        memset(&v->ptr[v->len], 0, sizeof *v->ptr); \
        return &v->ptr[v->len++]; \
    } \
    __attribute__((unused)) static inline void name##_clear(struct name *v) \
    { \
        free(v->ptr); \
        memset(v, 0, sizeof *v); \
    } \
    struct name##_vector_takes_a_semicolon

#define vec_foreach(ptr_type, p, v) \
    for (ptr_type p = (v)->ptr; (p) && (p) < (v)->ptr + (v)->len; (p)++)

/* Owned C strings, NULL-terminated for argv and envp use. */
struct strv {
    char **ptr; /* ptr[len] is NULL once anything was added; NULL while empty */
    size_t len, alloc;
};
void strv_add(struct strv *v, const char *s);
void strv_add_take(struct strv *v, char *s);
void strv_addf(struct strv *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool strv_has(const struct strv *v, const char *s);
void strv_clear(struct strv *v); /* frees the strings too */

#endif
