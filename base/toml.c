// SPDX-License-Identifier: MIT
//
// One pass over the bytes; each function takes what it is named after and leaves r->at behind it.
// Places are counted only when one is needed.
#include "base/toml.h"

#include "base/alloc.h"
#include "base/buf.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    const char *path, *text;
    size_t n, at;
    struct toml *out;
    struct error **err;
};

void toml_clear(struct toml *t)
{
    vec_foreach (struct toml_entry *, e, &t->entries) {
        free(e->table);
        free(e->key);
        free(e->text);
        strv_clear(&e->items);
    }
    toml_entries_clear(&t->entries);
    strv_clear(&t->tables);
}

static void place(const struct reader *r, size_t at, unsigned *line, unsigned *column)
{
    *line = *column = 1;
    for (size_t i = 0; i < at; i++) {
        ++*column;
        if (r->text[i] == '\n') {
            ++*line;
            *column = 1;
        }
    }
}

static int fail(struct reader *r, size_t at, const char *what)
{
    struct error *e = NULL;
    error_set(&e, ERR_USER, "%s", what);
    e->loc.path = xstrdup(r->path);
    place(r, at, &e->loc.line, &e->loc.column);
    return error_propagate(r->err, e);
}

/* The next byte; '\0' at the end. */
static char peek(const struct reader *r)
{
    return r->at < r->n ? r->text[r->at] : '\0';
}

static bool follows(const struct reader *r, const char *what)
{
    size_t n = strlen(what);
    return r->n - r->at >= n && !memcmp(r->text + r->at, what, n);
}

static void skip_blanks(struct reader *r)
{
    while (peek(r) == ' ' || peek(r) == '\t')
        r->at++;
}

static bool is_control(char c)
{
    return ((unsigned char)c < ' ' && c != '\t') || c == 0x7f;
}

/* Blanks, a comment and the newline, if they are there; true if a newline or the end came. */
static int end_line(struct reader *r, bool *ret_ended)
{
    skip_blanks(r);
    if (peek(r) == '#')
        while (r->at < r->n && !is_control(r->text[r->at]))
            r->at++;
    *ret_ended = r->at == r->n || follows(r, "\n") || follows(r, "\r\n");
    if (r->at < r->n && !*ret_ended && is_control(peek(r)))
        return fail(r, r->at, "a control character");
    if (*ret_ended && r->at < r->n)
        r->at += peek(r) == '\r' ? 2 : 1;
    return 0;
}

static int must_end_line(struct reader *r)
{
    bool ended;
    if (end_line(r, &ended) < 0)
        return -1;
    return ended ? 0 : fail(r, r->at, "expected the end of the line");
}

/* Whole lines that hold nothing, or the rest of one. */
static int skip_lines(struct reader *r)
{
    bool ended = true;
    while (ended && r->at < r->n)
        if (end_line(r, &ended) < 0)
            return -1;
    return 0;
}

static void add_utf8(struct buf *b, uint32_t c)
{
    if (c < 0x80) {
        buf_addc(b, (char)c);
    } else if (c < 0x800) {
        buf_addc(b, (char)(0xc0 | c >> 6));
        buf_addc(b, (char)(0x80 | (c & 0x3f)));
    } else {
        if (c < 0x10000) {
            buf_addc(b, (char)(0xe0 | c >> 12));
        } else {
            buf_addc(b, (char)(0xf0 | c >> 18));
            buf_addc(b, (char)(0x80 | (c >> 12 & 0x3f)));
        }
        buf_addc(b, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_addc(b, (char)(0x80 | (c & 0x3f)));
    }
}

/* \u or \U with so many digits; r->at is behind the letter. */
static int unicode(struct reader *r, size_t digits, struct buf *to)
{
    uint32_t c = 0;
    size_t start = r->at - 2;
    for (size_t i = 0; i < digits; i++, r->at++) {
        int digit = peek(r);
        if (!isxdigit(digit))
            return fail(r, start, "an escape that needs more hexadecimal digits");
        c = c << 4 | (uint32_t)(isdigit(digit) ? digit - '0' : (digit | 32) - 'a' + 10);
    }
    if (!c || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return fail(r, start, "an escape that stands for no character");
    add_utf8(to, c);
    return 0;
}

static int escape(struct reader *r, struct buf *to)
{
    static const char letters[] = "btnfr\"\\", values[] = "\b\t\n\f\r\"\\";
    size_t start = r->at++;
    char c = peek(r);
    const char *known = c ? strchr(letters, c) : NULL;
    r->at += r->at < r->n;
    if (c == 'u' || c == 'U')
        return unicode(r, c == 'u' ? 4 : 8, to);
    if (!known)
        return fail(r, start, "an unknown escape");
    buf_addc(to, values[known - letters]);
    return 0;
}

/* "basic" with escapes, or 'literal'. */
static int string(struct reader *r, struct buf *to)
{
    char quote = peek(r);
    size_t start = r->at;
    if (follows(r, "\"\"\"") || follows(r, "'''"))
        return fail(r, start, "multi-line strings are not supported");
    for (r->at++; peek(r) != quote;) {
        if (r->at == r->n || follows(r, "\n") || follows(r, "\r\n"))
            return fail(r, start, "a string that does not end on its line");
        if (is_control(peek(r)))
            return fail(r, r->at, "a control character in a string");
        if (peek(r) == '\\' && quote == '"') {
            if (escape(r, to) < 0)
                return -1;
        } else {
            buf_addc(to, r->text[r->at++]);
        }
    }
    r->at++;
    return 0;
}

/* [+-]?(0|[1-9](_?[0-9])*) */
static bool is_decimal(const char *p)
{
    p += *p == '+' || *p == '-';
    if (*p == '0')
        return !p[1];
    if (!isdigit((unsigned char)*p))
        return false;
    for (; *p; p++)
        if (*p == '_' ? !isdigit((unsigned char)p[1]) : !isdigit((unsigned char)*p))
            return false;
    return true;
}

static int number(struct reader *r, struct buf *to)
{
    size_t start = r->at;
    while (isalnum((unsigned char)peek(r)) || (peek(r) && strchr("+-_.:", peek(r))))
        r->at++;
    AUTO_FREE char *word = xstrndup(r->text + start, r->at - start);
    const char *digits = word + (*word == '+' || *word == '-');
    if (!is_decimal(word)) {
        if (*digits == '0' && digits[1] && strchr("xob", digits[1]))
            return fail(r, start, "only decimal integers are supported");
        if (strchr(digits, ':') || strchr(digits, '-'))
            return fail(r, start, "dates and times are not supported");
        if (strpbrk(digits, ".eE") || !strcmp(digits, "inf") || !strcmp(digits, "nan"))
            return fail(r, start, "floating-point numbers are not supported");
        return fail(r, start,
                    isalpha((unsigned char)*word) ? "expected a value; text needs quotes"
                                                  : "not an integer");
    }
    CLEANUP(buf_clear) struct buf plain = BUF_INIT;
    for (const char *p = word; *p; p++)
        if (*p != '_')
            buf_addc(&plain, *p);
    errno = 0;
    long long value = strtoll(plain.data, NULL, 10);
    if (errno)
        return fail(r, start, "an integer of more than 64 bits");
    buf_addf(to, "%lld", value);
    return 0;
}

/* What an array may hold. */
static int scalar(struct reader *r, struct buf *to, enum toml_type *ret_type)
{
    bool quoted = peek(r) == '"' || peek(r) == '\'';
    *ret_type = quoted ? TOML_STRING : TOML_INTEGER;
    if (quoted)
        return string(r, to);
    if (isalnum((unsigned char)peek(r)) || peek(r) == '+' || peek(r) == '-')
        return number(r, to);
    return fail(r, r->at, "expected a value");
}

static int array(struct reader *r, struct strv *items)
{
    size_t start = r->at++;
    for (;;) {
        CLEANUP(buf_clear) struct buf item = BUF_INIT;
        enum toml_type type;
        if (skip_lines(r) < 0)
            return -1;
        if (peek(r) == ']')
            break;
        if (r->at == r->n)
            return fail(r, start, "an array that does not end");
        if (peek(r) == '[' || peek(r) == '{' || follows(r, "true") || follows(r, "false"))
            return fail(r, r->at, "arrays may hold strings and integers only");
        if (scalar(r, &item, &type) < 0)
            return -1;
        strv_add(items, item.data ? item.data : "");
        if (skip_lines(r) < 0)
            return -1;
        if (peek(r) == ',')
            r->at++;
        else if (peek(r) != ']')
            return fail(r, r->at < r->n ? r->at : start, "expected ',' or ']' in an array");
    }
    r->at++;
    return 0;
}

static int value(struct reader *r, struct toml_entry *e)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    if (peek(r) == '{')
        return fail(r, r->at, "inline tables are not supported");
    if (peek(r) == '[') {
        e->type = TOML_ARRAY;
        return array(r, &e->items);
    }
    e->flag = follows(r, "true");
    if (e->flag || follows(r, "false")) {
        e->type = TOML_BOOLEAN;
        r->at += e->flag ? 4 : 5;
        return 0;
    }
    if (scalar(r, &text, &e->type) < 0)
        return -1;
    e->text = xstrdup(text.data ? text.data : "");
    return 0;
}

static int key(struct reader *r, char **ret)
{
    CLEANUP(buf_clear) struct buf name = BUF_INIT;
    size_t start = r->at;
    if (peek(r) == '"' || peek(r) == '\'') {
        if (string(r, &name) < 0)
            return -1;
    } else {
        while (isalnum((unsigned char)peek(r)) || peek(r) == '_' || peek(r) == '-')
            buf_addc(&name, r->text[r->at++]);
        if (r->at == start)
            return fail(r, start, "expected a key");
    }
    skip_blanks(r);
    if (peek(r) == '.')
        return fail(r, start, "keys with dots are not supported");
    *ret = xstrdup(name.data ? name.data : "");
    return 0;
}

static int table(struct reader *r)
{
    size_t start = r->at;
    AUTO_FREE char *name = NULL;
    if (follows(r, "[["))
        return fail(r, start, "arrays of tables are not supported");
    r->at++;
    skip_blanks(r);
    if (key(r, &name) < 0)
        return -1;
    if (peek(r) != ']')
        return fail(r, r->at, "expected ']'");
    r->at++;
    vec_foreach (char **, known, &r->out->tables)
        if (!strcmp(*known, name))
            return fail(r, start, "a table that was there before");
    strv_add_take(&r->out->tables, STEAL(name));
    return must_end_line(r);
}

static int pair(struct reader *r)
{
    size_t n_tables = r->out->tables.len, start = r->at;
    const char *in = n_tables ? r->out->tables.ptr[n_tables - 1] : "";
    AUTO_FREE char *name = NULL;
    if (key(r, &name) < 0)
        return -1;
    if (peek(r) != '=')
        return fail(r, r->at, "expected '=' after the key");
    r->at++;
    skip_blanks(r);
    vec_foreach (const struct toml_entry *, known, &r->out->entries)
        if (!strcmp(known->table, in) && !strcmp(known->key, name))
            return fail(r, start, "a key that was there before");
    struct toml_entry *e = toml_entries_push(&r->out->entries);
    e->table = xstrdup(in);
    e->key = STEAL(name);
    place(r, start, &e->line, &e->column);
    return value(r, e) < 0 ? -1 : must_end_line(r);
}

int toml_parse(const char *path, const char *text, size_t n, struct toml *ret, struct error **err)
{
    struct reader r = {.path = path, .text = text, .n = n, .out = ret, .err = err};
    if (follows(&r, "\xef\xbb\xbf"))
        r.at = 3;
    for (;;) {
        if (skip_lines(&r) < 0)
            return -1;
        if (r.at == r.n)
            return 0;
        if ((peek(&r) == '[' ? table(&r) : pair(&r)) < 0)
            return -1;
    }
}
