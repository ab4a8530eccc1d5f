/* SPDX-License-Identifier: MIT
 *
 * The parts of the reader share one position in the text.
 *
 *     // given struct kdl_reader reader;
 *     struct str name;
 *     kdl_skip_lines(&reader);
 *     if (kdl_read_word(&reader, &name) == 0) ...
 */
#ifndef KDL_INTERNAL_H
#define KDL_INTERNAL_H

#include "kdl/kdl.h"

#include <stdint.h>

struct kdl_reader {
    struct kdl_document *doc;
    const char *text;
    size_t len, at;
    unsigned depth;
    size_t raw_lost; /* no string ends in '"' and this many '#' from here on; SIZE_MAX = unknown */
    size_t multi_lost; /* the same for '"""' */
};

static inline bool kdl_at(const struct kdl_reader *r, const char *what)
{
    size_t n = strlen(what);
    return r->len - r->at >= n && memcmp(r->text + r->at, what, n) == 0;
}

/* kdl/space.c. Bytes of the line end, or of the white space, or of the character of a bare word
 * that begins at byte `at`; 0 = it is none. */
size_t kdl_newline(const struct kdl_reader *r, size_t at);
size_t kdl_space(const struct kdl_reader *r, size_t at);
size_t kdl_letter(const struct kdl_reader *r, size_t at);
/* Skips white space and comments within a node; whether there was any. */
bool kdl_skip_space(struct kdl_reader *r);
/* The same, over ends of lines and comments that end a line. */
void kdl_skip_lines(struct kdl_reader *r);
/* Reports bytes that no document may have. */
void kdl_check_text(struct kdl_reader *r);

/* kdl/string.c. Whether a quoted or raw string begins here; and reads it. -1: reported, and the
 * position is where reading can go on. */
bool kdl_string_here(const struct kdl_reader *r);
int kdl_read_string(struct kdl_reader *r, struct str *ret);

/* kdl/value.c. A string of any form, as the names of nodes and properties are. -1: reported. */
int kdl_read_word(struct kdl_reader *r, struct str *ret);
/* A value with its annotation. -1: reported. */
int kdl_read_value(struct kdl_reader *r, struct kdl_value *ret);
/* "(type)"; ptr NULL if none begins here. -1: reported. */
int kdl_read_annotation(struct kdl_reader *r, struct str *ret);

/* Adds an error; the result takes diag_help. */
#define kdl_error(r, start, end, ...) \
    diag_add(&(r)->doc->diags, &(r)->doc->source, DIAG_ERROR, (struct span){(start), (end)}, \
             __VA_ARGS__)

#endif
