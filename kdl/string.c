// SPDX-License-Identifier: MIT
// Strings in quotes: "…" with escapes, which may span lines as in KDL 1; r"…" and r#"…"# of KDL 1
// and #"…"# of KDL 2 without; """ over several lines, whose last one says how much white space the
// others begin with. First the end is found, then the text between is translated: \ before white
// space, the common indent, the other escapes, in this order, as KDL 2 has it.
#include "kdl/internal.h"

#include "base/utf8.h"

struct opening {
    size_t start; /* of the string */
    size_t body;  /* after the quotes */
    size_t hashes;
    bool raw, multi;
};

static bool find_opening(const struct kdl_reader *r, struct opening *ret)
{
    size_t at = r->at, end;
    *ret = (struct opening){.start = at};
    bool first = at < r->len && r->text[at] == 'r';
    at += first;
    for (end = at; end < r->len && r->text[end] == '#'; end++)
        ;
    if (end == r->len || r->text[end] != '"')
        return false;
    ret->hashes = end - at;
    ret->raw = first || ret->hashes;
    ret->multi = !first && r->len - end >= 3 && !memcmp(r->text + end, "\"\"\"", 3);
    ret->body = end + (ret->multi ? 3 : 1);
    return true;
}

bool kdl_string_here(const struct kdl_reader *r)
{
    struct opening o;
    return find_opening(r, &o);
}

/* Whether the string ends at byte `at`. */
static bool ends(const struct kdl_reader *r, const struct opening *o, size_t at)
{
    size_t quotes = o->multi ? 3 : 1;
    if (r->len - at < quotes + o->hashes || memcmp(r->text + at, "\"\"\"", quotes) != 0)
        return false;
    for (size_t i = 0; i < o->hashes; i++)
        if (r->text[at + quotes + i] != '#')
            return false;
    return true;
}

/* Where the closing quote is; the text's length if nowhere. */
static size_t find_end(struct kdl_reader *r, const struct opening *o, bool *lines)
{
    size_t *lost = o->multi ? &r->multi_lost : &r->raw_lost;
    *lines = false;
    if (o->hashes >= *lost)
        return r->len;
    for (size_t at = o->body; at < r->len; at++) {
        if (r->text[at] == '"' && ends(r, o, at))
            return at;
        *lines |= kdl_newline(r, at) != 0;
        at += !o->raw && r->text[at] == '\\' && at + 1 < r->len;
    }
    if (o->raw) // an escape may hide quotes that others see
        *lost = o->hashes;
    return r->len;
}

/* What may follow a string. After one over several lines anything else tells that a quote is
 * missing, and that the end that was found is where the next string begins. */
static bool may_follow(const struct kdl_reader *r, size_t at)
{
    return at >= r->len || kdl_newline(r, at) || kdl_space(r, at) ||
           memchr(";{})=/\\", r->text[at], 7);
}

static int no_end(struct kdl_reader *r, const struct opening *o)
{
    struct diag *d = kdl_error(r, o->start, o->body, "string without an end");
    if (o->multi)
        diag_help(d, "write the same quotes on a line of their own");
    else
        diag_help(d, "close the quotes; text of several lines stands between \"\"\" and \"\"\"");
    for (r->at = o->body; r->at < r->len && !kdl_newline(r, r->at); r->at++)
        ;
    return -1;
}

static void add_utf8(struct buf *out, uint32_t c)
{
    if (c < 0x80) {
        buf_addc(out, (char)c);
    } else if (c < 0x800) {
        buf_addc(out, (char)(0xc0 | c >> 6));
        buf_addc(out, (char)(0x80 | (c & 0x3f)));
    } else if (c < 0x10000) {
        buf_addc(out, (char)(0xe0 | c >> 12));
        buf_addc(out, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_addc(out, (char)(0x80 | (c & 0x3f)));
    } else {
        buf_addc(out, (char)(0xf0 | c >> 18));
        buf_addc(out, (char)(0x80 | (c >> 12 & 0x3f)));
        buf_addc(out, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_addc(out, (char)(0x80 | (c & 0x3f)));
    }
}

/* "{1F600}" at `at`; its length, 0 = it is none. */
static size_t code_point(const char *at, size_t left, uint32_t *ret)
{
    static const char digits[] = "0123456789abcdef";
    size_t i = 1;
    *ret = 0;
    if (!left || at[0] != '{')
        return 0;
    for (; i < left && i <= 6 && at[i] != '}'; i++) {
        const char *d = memchr(digits, at[i] >= 'A' && at[i] <= 'F' ? at[i] + 32 : at[i], 16);
        if (!d)
            return 0;
        *ret = *ret * 16 + (uint32_t)(d - digits);
    }
    bool good =
        i > 1 && i < left && at[i] == '}' && *ret <= 0x10ffff && (*ret < 0xd800 || *ret > 0xdfff);
    return good ? i + 1 : 0;
}

/* The escape behind a backslash; its length, 0 = unknown. */
static size_t add_escape(const char *at, size_t left, struct buf *out)
{
    static const char from[] = "nrt\\\"bfs/", to[] = "\n\r\t\\\"\b\f /";
    const char *known = left ? memchr(from, *at, sizeof from - 1) : NULL;
    if (known) {
        buf_addc(out, to[known - from]);
        return 1;
    }
    uint32_t c;
    size_t n = left && *at == 'u' ? code_point(at + 1, left - 1, &c) : 0;
    if (n)
        add_utf8(out, c);
    return n ? n + 1 : 0;
}

static void bad_escape(struct kdl_reader *r, size_t at, size_t end)
{
    size_t n = at + 1 < end ? kdl_letter(r, at + 1) : 0;
    n = n ? n : at + 1 < end;
    struct diag *d = kdl_error(r, at, at + 1 + n, "'" STR_FMT "' means nothing in a string",
                               (int)(1 + n), r->text + at);
    if (n && r->text[at + 1] == 'u')
        diag_help(d, "a character is written \\u{1F600}, with 1 to 6 hexadecimal digits");
    else
        diag_help(d, "write \\\\ for a backslash, or use #\"…\"#, where it is nothing special");
}

/* The white space behind the backslash at byte `at`, which both are gone from the string. */
static size_t hidden_space(const struct kdl_reader *r, size_t at, size_t end)
{
    size_t n = 1, more;
    while (at + n < end && ((more = kdl_space(r, at + n)) || (more = kdl_newline(r, at + n))))
        n += more;
    return n > 1 ? n : 0;
}

/* A string of one line, or one of several as KDL 1 has it. */
static void translate(struct kdl_reader *r, size_t at, size_t end, struct buf *out)
{
    while (at < end) {
        const char *slash = memchr(r->text + at, '\\', end - at);
        size_t plain = slash ? (size_t)(slash - r->text) : end;
        buf_add(out, r->text + at, plain - at);
        if (!slash)
            return;
        size_t n = hidden_space(r, plain, end);
        if (!n && (n = add_escape(slash + 1, end - plain - 1, out)))
            n++;
        if (!n)
            bad_escape(r, plain, end);
        at = plain + (n ? n : 1);
    }
}

/* One line of a string of several: [start, end) of the text, without its line end. */
struct line {
    size_t start, end;
};

static bool is_blank(const struct kdl_reader *r, bool raw, struct line l)
{
    for (size_t n; l.start < l.end; l.start += n)
        if (!(n = kdl_space(r, l.start)) &&
            (raw || r->text[l.start] != '\\' || !(n = hidden_space(r, l.start, l.end))))
            return false;
    return true;
}

/* The end of the line that begins at `at`, without line ends behind a backslash; *next: the next. */
static size_t line_end(const struct kdl_reader *r, bool raw, size_t at, size_t end, size_t *next)
{
    for (size_t n; at < end;) {
        if (!raw && r->text[at] == '\\') {
            n = hidden_space(r, at, end);
            at += n ? n : at + 1 < end ? 2 : 1;
        } else if ((n = kdl_newline(r, at))) {
            *next = at + n;
            return at;
        } else {
            at++;
        }
    }
    *next = end + 1; // there is no further one
    return end;
}

/* Adds what follows the indent of a line. */
static void add_line(struct kdl_reader *r, const struct opening *o, struct line l,
                     struct str indent, struct buf *out)
{
    if (is_blank(r, o->raw, l))
        return;
    bool good = l.end - l.start >= indent.len &&
                (!indent.len || !memcmp(r->text + l.start, indent.ptr, indent.len));
    if (!good)
        diag_help(kdl_error(r, l.start, l.start, "this line is indented less than the last one"),
                  "the white space before the closing quotes is what every line must begin with");
    size_t from = l.start + (good ? indent.len : 0);
    if (o->raw)
        buf_add(out, r->text + from, l.end - from);
    else
        translate(r, from, l.end, out);
}

static int read_lines(struct kdl_reader *r, const struct opening *o, size_t end, struct buf *out)
{
    size_t first = kdl_newline(r, o->body), at = o->body + first, last = at, next;
    if (!first || first > end - o->body) {
        diag_help(kdl_error(r, o->start, o->body, "after \"\"\" the text begins on the next line"),
                  "a string of one line has one quote at each side");
        return -1;
    }
    for (; at <= end; at = next) {
        last = at;
        (void)line_end(r, o->raw, at, end, &next);
    }
    struct line closing = {last, end};
    if (!is_blank(r, o->raw, closing)) {
        diag_help(kdl_error(r, end, end + 3, "the closing quotes are on a line of their own"),
                  "start a new line before them");
        return -1;
    }
    struct str indent = {r->text + last, end - last};
    for (size_t i = 0; i < indent.len; i++)
        if (indent.ptr[i] == '\\')
            indent.len = i;
    for (at = o->body + first; at < last; at = next) {
        struct line l = {at, line_end(r, o->raw, at, end, &next)};
        add_line(r, o, l, indent, out);
        if (next < last)
            buf_addc(out, '\n');
    }
    return 0;
}

int kdl_read_string(struct kdl_reader *r, struct str *ret)
{
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    struct opening o;
    bool lines;
    if (!find_opening(r, &o))
        return -1;
    size_t end = find_end(r, &o, &lines), after = end + (o.multi ? 3 : 1) + o.hashes;
    if (end == r->len || (!o.multi && lines && !may_follow(r, after)))
        return no_end(r, &o);
    r->at = after;
    if (o.multi && read_lines(r, &o, end, &out) < 0)
        return -1;
    if (!o.multi && o.raw)
        buf_add(&out, r->text + o.body, end - o.body);
    else if (!o.multi)
        translate(r, o.body, end, &out);
    *ret = arena_str(r->doc->arena, buf_str(&out));
    return 0;
}
