// SPDX-License-Identifier: MIT
// The line map is made once; a place is then a binary search. A diagnostic is shown by cutting the
// line into cells (a character, its bytes and its width), choosing the window of cells around the
// caret that fits DIAG_WIDTH, and writing the same window twice: as text, and as blanks, caret and
// tildes.
#include "base/source.h"

#include "base/alloc.h"
#include "base/utf8.h"
#include "base/vector.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <wchar.h>

void source_init(struct source *s, const char *path, const char *text, size_t len)
{
    size_t lines = 1;
    for (const char *p = text, *end = text + len; p < end && (p = memchr(p, '\n', end - p)); p++)
        lines++;
    *s = (struct source){.path = path, .text = text, .len = len, .n_lines = lines};
    s->line_start = xreallocarray(NULL, lines, sizeof *s->line_start);
    s->line_start[0] = 0;
    size_t n = 1;
    for (const char *p = text, *end = text + len; p < end && (p = memchr(p, '\n', end - p)); p++)
        s->line_start[n++] = (size_t)(p - text) + 1;
}

void source_clear(struct source *s)
{
    free(s->line_start);
    *s = (struct source){0};
}

void source_place(const struct source *s, size_t offset, unsigned *line, unsigned *column)
{
    size_t low = 0, high = s->n_lines;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (s->line_start[mid] <= offset)
            low = mid;
        else
            high = mid;
    }
    *line = (unsigned)low + 1;
    *column = (unsigned)(offset - s->line_start[low]) + 1;
}

struct str source_line(const struct source *s, unsigned line)
{
    size_t start = s->line_start[line - 1];
    size_t end = line < s->n_lines ? s->line_start[line] - 1 : s->len;
    if (end > start && s->text[end - 1] == '\r')
        end--;
    return (struct str){s->text + start, end - start};
}

static struct diag *keep(struct diags *d, struct diag item)
{
    if (item.severity == DIAG_ERROR)
        d->errors++;
    else if (item.severity == DIAG_WARNING)
        d->warnings++;
    else
        d->notes++;
    if (d->len >= DIAGS_MAX) {
        free(item.message);
        return NULL;
    }
    if (d->len == d->alloc) {
        d->alloc = d->alloc ? d->alloc * 2 : 8;
        d->ptr = xreallocarray(d->ptr, d->alloc, sizeof *d->ptr);
    }
    d->ptr[d->len] = item;
    return &d->ptr[d->len++];
}

__attribute__((format(printf, 1, 0))) static char *vtext(const char *fmt, va_list ap)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    buf_vaddf(&b, fmt, ap);
    return xstrdup(b.data);
}

struct diag *diag_add(struct diags *d, const struct source *s, enum diag_severity severity,
                      struct span at, const char *fmt, ...)
{
    struct diag item = {.severity = severity, .span = at};
    va_list ap;
    va_start(ap, fmt);
    item.message = vtext(fmt, ap);
    va_end(ap);
    source_place(s, at.start, &item.line, &item.column);
    return keep(d, item);
}

void diag_help(struct diag *d, const char *fmt, ...)
{
    if (!d)
        return;
    va_list ap;
    va_start(ap, fmt);
    free(d->help);
    d->help = vtext(fmt, ap);
    va_end(ap);
}

// qsort is not stable; two diagnostics of one place keep their order by address of the message's
// slot, which `rank` holds.
struct ranked {
    struct diag diag;
    size_t rank;
};

static int by_place(const void *pa, const void *pb)
{
    const struct ranked *a = pa, *b = pb;
    if (a->diag.span.start != b->diag.span.start)
        return a->diag.span.start < b->diag.span.start ? -1 : 1;
    return a->rank < b->rank ? -1 : 1;
}

void diags_sort(struct diags *d)
{
    AUTO_FREE struct ranked *r = xcalloc(d->len, sizeof *r);
    for (size_t i = 0; i < d->len; i++)
        r[i] = (struct ranked){d->ptr[i], i};
    qsort(r, d->len, sizeof *r, by_place);
    for (size_t i = 0; i < d->len; i++)
        d->ptr[i] = r[i].diag;
}

void diags_clear(struct diags *d)
{
    for (size_t i = 0; i < d->len; i++) {
        free(d->ptr[i].message);
        free(d->ptr[i].help);
    }
    free(d->ptr);
    *d = (struct diags){0};
}

/* One character of a line. */
struct cell {
    uint32_t offset; /* of its first byte in the line */
    uint8_t bytes;
    uint8_t width; /* columns on the screen; a tab counts as one */
    bool odd;      /* shown as '?' */
};
DEFINE_VECTOR(cells, struct cell);

void source_add_utf8(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.len;) {
        uint32_t c;
        size_t n = utf8_next(text.ptr + i, text.len - i, &c);
        if (n)
            buf_add(out, text.ptr + i, n);
        else
            buf_adds(out, "\xef\xbf\xbd");
        i += n ? n : 1;
    }
}

/* The cells of the part of the line that can be on the screen, and which of them has byte `at`. */
static size_t cut_cells(struct str line, size_t at, struct cells *ret)
{
    // Only a neighbourhood of the caret is looked at: every cell has at most 4 bytes.
    size_t from = at > 4 * DIAG_WIDTH ? at - 4 * DIAG_WIDTH : 0;
    while (from && from < line.len && ((unsigned char)line.ptr[from] & 0xc0) == 0x80)
        from--;
    size_t until = line.len - from > 12 * DIAG_WIDTH ? from + 12 * DIAG_WIDTH : line.len;
    size_t caret = SIZE_MAX;
    for (size_t i = from; i < until;) {
        uint32_t c = 0;
        size_t n = utf8_next(line.ptr + i, line.len - i, &c);
        bool odd = !n || (c < 0x20 && c != '\t') || c == 0x7f || (c >= 0x80 && c < 0xa0);
        if (!n)
            n = 1;
        if (caret == SIZE_MAX && at < i + n)
            caret = ret->len;
        *cells_push(ret) =
            (struct cell){(uint32_t)i, (uint8_t)n, odd ? 1 : (uint8_t)utf8_columns(c), odd};
        i += n;
    }
    return caret == SIZE_MAX ? ret->len : caret;
}

/* The window [*from, *until) of cells to show: the caret with a third of the width before it. */
static void choose_window(const struct cells *c, size_t caret, size_t *from, size_t *until)
{
    size_t all = 0;
    for (size_t i = 0; i < c->len; i++)
        all += c->ptr[i].width;
    *from = 0;
    if (all > DIAG_WIDTH) {
        size_t room = DIAG_WIDTH / 3;
        for (*from = caret; *from && c->ptr[*from - 1].width <= room; --*from)
            room -= c->ptr[*from - 1].width;
    }
    size_t used = 0;
    for (*until = *from; *until < c->len && used + c->ptr[*until].width <= DIAG_WIDTH; ++*until)
        used += c->ptr[*until].width;
}

static void add_excerpt(struct str line, size_t at, size_t end, struct buf *out)
{
    CLEANUP(cells_clear) struct cells c = {0};
    size_t caret = cut_cells(line, at, &c), from, until;
    choose_window(&c, caret, &from, &until);
    bool cut_left =
        c.len && c.ptr[from < c.len ? from : c.len - 1].offset > 0 && (from || c.ptr[0].offset);
    bool cut_right =
        until < c.len || (c.len && c.ptr[c.len - 1].offset + c.ptr[c.len - 1].bytes < line.len);
    buf_adds(out, cut_left ? "    ..." : "    ");
    for (size_t i = from; i < until; i++) {
        if (c.ptr[i].odd)
            buf_addc(out, '?');
        else
            buf_add(out, line.ptr + c.ptr[i].offset, c.ptr[i].bytes);
    }
    buf_adds(out, cut_right ? "...\n    " : "\n    ");
    if (cut_left)
        buf_adds(out, "   ");
    for (size_t i = from; i < caret && i < until; i++)
        for (unsigned w = 0; w < c.ptr[i].width; w++)
            buf_addc(out, line.ptr[c.ptr[i].offset] == '\t' ? '\t' : ' ');
    buf_addc(out, '^');
    for (size_t i = caret; i < until && c.ptr[i].offset < end; i++)
        for (unsigned w = i == caret; w < c.ptr[i].width; w++)
            buf_addc(out, '~');
    buf_addc(out, '\n');
}

static void add_plain(struct buf *out, const char *text)
{
    for (const char *p = text; *p; p++)
        buf_addc(out,
                 ((unsigned char)*p < 0x20 && *p != '\n' && *p != '\t') || *p == 0x7f ? '?' : *p);
}

void diag_format(const struct source *s, const struct diag *d, struct buf *out)
{
    add_plain(out, s->path);
    if (d->line)
        buf_addf(out, ":%u:%u", d->line, d->column);
    buf_adds(out, d->severity == DIAG_ERROR     ? ": error: "
                  : d->severity == DIAG_WARNING ? ": warning: "
                                                : ": note: ");
    add_plain(out, d->message);
    if (d->rule)
        buf_addf(out, " [%s]", d->rule);
    buf_addc(out, '\n');
    if (d->line && d->line <= s->n_lines) {
        size_t start = s->line_start[d->line - 1];
        struct str line = source_line(s, d->line);
        if (line.len)
            add_excerpt(line, d->span.start - start, d->span.end > start ? d->span.end - start : 0,
                        out);
    }
    if (d->help) {
        buf_adds(out, "help: ");
        add_plain(out, d->help);
        buf_addc(out, '\n');
    }
}

void diags_strict(struct diags *d)
{
    for (size_t i = 0; i < d->len; i++)
        if (d->ptr[i].severity == DIAG_NOTE)
            d->ptr[i].severity = DIAG_ERROR;
    d->errors += d->notes;
    d->notes = 0;
}

int diags_to_error(const struct diags *d, const struct source *s, struct error **err)
{
    for (size_t i = 0; i < d->len; i++) {
        if (d->ptr[i].severity != DIAG_ERROR)
            continue;
        error_set(err, ERR_USER, "%s", d->ptr[i].message);
        if (d->ptr[i].help)
            error_hint(err, "%s", d->ptr[i].help);
        return error_at(err, s->path, d->ptr[i].line, d->ptr[i].column);
    }
    return 0;
}
