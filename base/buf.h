/* SPDX-License-Identifier: MIT
 *
 * struct buf: a growing byte string. `data` is never NULL and data[len] is always NUL, so it can
 * be handed to whatever takes a C string (the bytes themselves may hold NULs).
 *
 *     CLEANUP(buf_clear) struct buf b = BUF_INIT;
 *     buf_addf(&b, "%s/%zu", dir, n);
 *
 * struct str: a borrowed view of bytes that live elsewhere, not NUL-terminated.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct buf {
    char *data; /* borrowed static while alloc is 0, else owned */
    size_t len;
    size_t alloc;
};

struct str {
    const char *ptr;
    size_t len;
};

extern char buf_empty[1];
#define BUF_INIT \
    { \
        buf_empty, 0, 0 \
    }
#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
#define STR_FMT "%.*s" /* printf("'" STR_FMT "'", STR_ARG(s)) */
#define STR_ARG(s) (int)(s).len, (s).ptr

void buf_init(struct buf *b);
void buf_clear(struct buf *b);             /* frees; the buf is then empty and usable */
void buf_reset(struct buf *b);             /* empties, keeps the memory */
void buf_reserve(struct buf *b, size_t n); /* room for n more bytes and the NUL */
void buf_add(struct buf *b, const void *bytes, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_add_str(struct buf *b, struct str s);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vaddf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
void buf_consume(struct buf *b, size_t n);        /* drops the first n bytes */
char *buf_detach(struct buf *b, size_t *ret_len); /* hands the bytes over; ret_len may be NULL */

static inline struct str str_of(const char *s)
{
    return (struct str){s, strlen(s)};
}
static inline struct str buf_str(const struct buf *b)
{
    return (struct str){b->data, b->len};
}
bool str_eq(struct str a, struct str b);
bool str_is(struct str a, const char *s);
bool str_starts(struct str s, const char *prefix);
/* The bytes before the first `at`, which rest loses with it; all of it where there is none. */
struct str str_cut(struct str *rest, char at);
char *str_dup(struct str s); /* owned C string; an embedded NUL ends it early */

/* "1.05 GiB", "640 B": for people, in binary units, as `transient image ls` shows them. */
void buf_add_size(struct buf *b, unsigned long long bytes);
/* A word as one types it into a shell: in single quotes unless it is plain. */
void buf_add_shell_word(struct buf *b, const char *word);
char *shell_word(const char *word); /* the same; owned */
/* The same for each of a NULL-terminated list, with blanks between, also to what is there. */
void buf_add_shell_words(struct buf *b, const char *const *words);

#endif
