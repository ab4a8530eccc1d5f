/* SPDX-License-Identifier: MIT
 *
 * The part of TOML 1.0 (https://toml.io/en/v1.0.0) that settings need: comments, bare and quoted keys,
 * basic and literal strings, decimal integers, booleans, arrays of strings and integers, tables. What
 * else TOML has is an error that names it, never read as something else: dotted keys and tables, inline
 * tables, arrays of tables, multi-line strings, floats, dates, other bases, nested arrays.
 *
 *     // given const char *text; size_t n;
 *     CLEANUP(toml_clear) struct toml t = {0};
 *     if (toml_parse("kiln.toml", text, n, &t, &err) < 0) ...
 *     vec_foreach (const struct toml_entry *, e, &t.entries)
 *         printf("[%s] %s\n", e->table, e->key);
 */
#ifndef BASE_TOML_H
#define BASE_TOML_H

#include "base/error.h"
#include "base/vector.h"

#include <stdbool.h>
#include <stddef.h>

enum toml_type { TOML_STRING, TOML_INTEGER, TOML_BOOLEAN, TOML_ARRAY };

struct toml_entry {
    char *table, *key;     /* table "" = before the first one */
    unsigned line, column; /* of the key, 1-based; columns in bytes */
    enum toml_type type;
    char *text;        /* TOML_STRING; TOML_INTEGER in decimal, without underscores and '+' */
    bool flag;         /* TOML_BOOLEAN */
    struct strv items; /* TOML_ARRAY: each as `text` */
};
DEFINE_VECTOR(toml_entries, struct toml_entry);

struct toml {
    struct toml_entries entries; /* in the order of the text */
    struct strv tables;          /* names of all, the empty ones too */
};

/* ERR_USER with path, line and column of the first mistake. *ret must be cleared in any case. */
int toml_parse(const char *path, const char *text, size_t n, struct toml *ret, struct error **err);
void toml_clear(struct toml *t);

#endif
