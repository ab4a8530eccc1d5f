// SPDX-License-Identifier: MIT
// Characters by their classes (KDL 2, "Whitespace", "Newline", "Disallowed Literal Code Points"),
// and what is between the parts of a node.
#include "kdl/internal.h"

#include "base/utf8.h"

static size_t char_at(const struct kdl_reader *r, size_t at, uint32_t *c)
{
    *c = 0;
    return at < r->len ? utf8_next(r->text + at, r->len - at, c) : 0;
}

size_t kdl_newline(const struct kdl_reader *r, size_t at)
{
    uint32_t c;
    size_t n = char_at(r, at, &c);
    if (c == '\r')
        return at + 1 < r->len && r->text[at + 1] == '\n' ? 2 : 1;
    return (c >= '\n' && c <= '\f') || c == 0x85 || c == 0x2028 || c == 0x2029 ? n : 0;
}

size_t kdl_space(const struct kdl_reader *r, size_t at)
{
    uint32_t c;
    size_t n = char_at(r, at, &c);
    return c == ' ' || c == '\t' || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
                   c == 0x202f || c == 0x205f || c == 0x3000
               ? n
               : 0;
}

size_t kdl_letter(const struct kdl_reader *r, size_t at)
{
    if (at >= r->len || kdl_newline(r, at) || kdl_space(r, at) ||
        memchr("\\/(){};[]\"#=", r->text[at], 12))
        return 0;
    uint32_t c;
    size_t n = char_at(r, at, &c);
    return n ? n : 1; // reported by kdl_check_text
}

/* Comments of this kind nest. */
static void skip_comment(struct kdl_reader *r)
{
    size_t start = r->at, depth = 0;
    do {
        if (kdl_at(r, "/*")) {
            depth++;
            r->at += 2;
        } else if (kdl_at(r, "*/")) {
            depth--;
            r->at += 2;
        } else {
            r->at++;
        }
    } while (depth && r->at < r->len);
    if (depth)
        diag_help(kdl_error(r, start, start + 2, "comment without an end"),
                  "write '*/' where it ends; comments may be nested");
}

/* To the end of the line, which stays. */
static void skip_line(struct kdl_reader *r)
{
    while (r->at < r->len && !kdl_newline(r, r->at))
        r->at++;
}

/* What follows a backslash: blanks, and the end of the line or a comment that goes as far. */
static bool skip_continuation(struct kdl_reader *r)
{
    size_t start = r->at++, n;
    while ((n = kdl_space(r, r->at)) || kdl_at(r, "/*")) {
        if (n)
            r->at += n;
        else
            skip_comment(r);
    }
    if (kdl_at(r, "//"))
        skip_line(r);
    n = kdl_newline(r, r->at);
    if (n || r->at == r->len) {
        r->at += n;
        return true;
    }
    diag_help(kdl_error(r, start, start + 1, "a backslash outside of a string ends its line"),
              "put text with a backslash into quotes: #\"C:\\\"#");
    return false;
}

bool kdl_skip_space(struct kdl_reader *r)
{
    size_t start = r->at, n;
    for (;;) {
        if ((n = kdl_space(r, r->at)))
            r->at += n;
        else if (kdl_at(r, "/*"))
            skip_comment(r);
        else if (!kdl_at(r, "\\") || !skip_continuation(r))
            return r->at > start;
    }
}

void kdl_skip_lines(struct kdl_reader *r)
{
    for (size_t n;;) {
        (void)kdl_skip_space(r);
        if ((n = kdl_newline(r, r->at)))
            r->at += n;
        else if (kdl_at(r, "//"))
            skip_line(r);
        else
            return;
    }
}

static bool is_forbidden(uint32_t c)
{
    return c <= 8 || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x200e || c == 0x200f ||
           (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

/* One report for each run of them. */
void kdl_check_text(struct kdl_reader *r)
{
    bool bad = false;
    if (kdl_at(r, "\xff\xfe") || kdl_at(r, "\xfe\xff")) {
        diag_help(kdl_error(r, 0, 2, "the file is UTF-16"), "save it as UTF-8");
        r->at = r->len; // none of it can be read
    }
    for (size_t at = r->at, n; at < r->len; at += n) {
        uint32_t c;
        n = char_at(r, at, &c);
        bool before = bad;
        bad = !n || is_forbidden(c);
        if (bad && !before && !n)
            diag_help(kdl_error(r, at, at + 1, "a byte that is not UTF-8"),
                      "save the file as UTF-8");
        else if (bad && !before)
            diag_help(kdl_error(r, at, at + n, "the character U+%04X must not be here", c),
                      "remove it; in quotes it may be written \\u{%X}", c);
        n = n ? n : 1;
    }
}
