/* SPDX-License-Identifier: MIT
 *
 * A text that a user wrote, a map of its lines, and diagnostics that point into it.
 *
 *     CLEANUP(source_clear) struct source s;
 *     source_init(&s, "Imagefile", text, len);          // text must live as long as s
 *     CLEANUP(diags_clear) struct diags d = {0};
 *     diag_add(&d, &s, DIAG_ERROR, (struct span){0, 4}, "no '%s' here", "FROM");
 *     CLEANUP(buf_clear) struct buf out = BUF_INIT;
 *     diag_format(&s, &d.ptr[0], &out);                 // what cli/ prints
 *
 * Lines and columns are 1-based; columns count bytes, as gcc's do. Offsets are 0-based bytes.
 */
#ifndef BASE_SOURCE_H
#define BASE_SOURCE_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct source {
    const char *path; /* as it shall be printed; borrowed */
    const char *text; /* borrowed; need not end in NUL */
    size_t len;
    size_t *line_start; /* offsets; owned */
    size_t n_lines;     /* at least 1 */
};

/* Bytes [start, end) of a source; start == end points between two bytes. */
struct span {
    size_t start, end;
};

/* A note says what kiln makes of something that is right elsewhere. */
enum diag_severity { DIAG_ERROR, DIAG_WARNING, DIAG_NOTE };

struct diag {
    enum diag_severity severity;
    unsigned line, column; /* of span.start; line 0 = about the whole file */
    struct span span;
    char *message;    /* one phrase without capital or full stop; owned */
    char *help;       /* what to type or check, or NULL; owned */
    const char *rule; /* the name of a warning's check (imagefile/rules.h), static; NULL = none */
};

/* In the order found; diags_sort orders by place. */
struct diags {
    struct diag *ptr;
    size_t len, alloc;
    size_t errors, warnings, notes; /* how many of each, also of those past DIAGS_MAX */
    uint64_t skipped;   /* bits of enum rule: warnings that are not added (imagefile/rules.h) */
    bool warnings_fail; /* they are added as errors */
};
#define DIAGS_MAX 10000 /* further ones are counted but not kept */

/* A message ends where the user must act: no line is longer than this on the screen. */
#define DIAG_WIDTH 100

void source_init(struct source *s, const char *path, const char *text, size_t len);
void source_clear(struct source *s);
/* Line and column of a byte; offset may be len (the end). */
void source_place(const struct source *s, size_t offset, unsigned *line, unsigned *column);
/* The line's bytes without its line ending; line is 1-based and must exist. */
struct str source_line(const struct source *s, unsigned line);

/* Adds a diagnostic and returns it (valid until the next one is added; NULL past DIAGS_MAX). */
struct diag *diag_add(struct diags *d, const struct source *s, enum diag_severity severity,
                      struct span at, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* Sets the help of d; NULL d is fine. */
void diag_help(struct diag *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void diags_sort(struct diags *d); /* by place, stable */
void diags_clear(struct diags *d);
/* Makes every note an error. */
void diags_strict(struct diags *d);

/* Appends "path:line:col: error: message", a warning's rule in brackets, the source line, a caret line with ~~~ and "help: …".
 * Tabs are kept in both lines so that they align; a long line is trimmed around the caret; bytes
 * that are no UTF-8 and control bytes are shown as '?'; wide characters count two cells. */
void diag_format(const struct source *s, const struct diag *d, struct buf *out);
/* Appends text with each byte that is not UTF-8 replaced by U+FFFD: for JSON. */
void source_add_utf8(struct buf *out, struct str text);
/* Makes the first error of d an ERR_USER with its place and help; returns -1. Without any error in
 * d it returns 0. */
int diags_to_error(const struct diags *d, const struct source *s, struct error **err);

#endif
