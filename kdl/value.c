// SPDX-License-Identifier: MIT
// Words without quotes: identifiers, numbers, and the keywords of both versions (true, #true).
#include "kdl/internal.h"

#include "base/vector.h"

#include <errno.h>
#include <stdlib.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static struct str take_word(struct kdl_reader *r)
{
    size_t start = r->at, n;
    while ((n = kdl_letter(r, r->at)))
        r->at += n;
    return (struct str){r->text + start, r->at - start};
}

/* Whether a number of this beginning is meant. */
static bool is_number(struct str w)
{
    size_t sign = w.len && (*w.ptr == '+' || *w.ptr == '-');
    return w.len > sign && is_digit(w.ptr[sign]);
}

/* Something was expected here, and this is not it. */
static int unexpected(struct kdl_reader *r, const char *expected)
{
    size_t start = r->at, n = kdl_newline(r, start) ? 0 : 1;
    struct str what = {r->text + start, n};
    if (start == r->len || !n)
        kdl_error(r, start, start, "%s is missing here", expected);
    else
        diag_help(kdl_error(r, start, start + n, "'" STR_FMT "' where %s should be", STR_ARG(what),
                            expected),
                  "put text with special characters into quotes");
    return -1;
}

static int reserved(struct kdl_reader *r, size_t start, struct str w)
{
    diag_help(
        kdl_error(r, start, start + w.len, "'" STR_FMT "' is a keyword, not a name", STR_ARG(w)),
        "put it into quotes if it is text");
    return -1;
}

int kdl_read_word(struct kdl_reader *r, struct str *ret)
{
    static const char *const keywords[] = {"true", "false", "null", "inf", "-inf", "nan"};
    if (kdl_string_here(r))
        return kdl_read_string(r, ret);
    size_t start = r->at;
    struct str w = take_word(r);
    if (!w.len)
        return unexpected(r, "a name");
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (str_is(w, keywords[i]))
            return reserved(r, start, w);
    size_t sign = *w.ptr == '+' || *w.ptr == '-', dot = w.len > sign && w.ptr[sign] == '.';
    if (w.len > sign + dot && is_digit(w.ptr[sign + dot])) {
        diag_help(kdl_error(r, start, r->at, "a name does not begin with a digit"),
                  "put it into quotes");
        return -1;
    }
    *ret = arena_str(r->doc->arena, w);
    return 0;
}

/* Digits of the base with '_' between; what is left is cut off *w. */
static bool take_digits(struct str *w, int base)
{
    static const char all[] = "0123456789abcdefABCDEF";
    size_t allowed = base == 16 ? 22 : (size_t)base, n = 0;
    if (!w->len || !memchr(all, *w->ptr, allowed))
        return false;
    while (n < w->len && (w->ptr[n] == '_' || memchr(all, w->ptr[n], allowed)))
        n++;
    w->ptr += n;
    w->len -= n;
    return true;
}

static bool take_letter(struct str *w, const char *letters)
{
    if (!w->len || !strchr(letters, *w->ptr))
        return false;
    w->ptr++;
    w->len--;
    return true;
}

static bool good_number(struct str w, int *base)
{
    *base = 10;
    (void)take_letter(&w, "+-");
    if (w.len > 1 && *w.ptr == '0' && strchr("xob", w.ptr[1])) {
        *base = w.ptr[1] == 'x' ? 16 : w.ptr[1] == 'o' ? 8 : 2;
        w.ptr += 2;
        w.len -= 2;
        return take_digits(&w, *base) && !w.len;
    }
    if (!take_digits(&w, 10) || (take_letter(&w, ".") && !take_digits(&w, 10)))
        return false;
    if (take_letter(&w, "eE")) {
        (void)take_letter(&w, "+-");
        if (!take_digits(&w, 10))
            return false;
    }
    return !w.len;
}

static void take_integer(struct kdl_value *v, int base)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    size_t sign = v->text.ptr[0] == '-' || v->text.ptr[0] == '+';
    if (v->text.ptr[0] == '-')
        buf_addc(&b, '-');
    for (size_t i = sign + (base == 10 ? 0 : 2); i < v->text.len; i++)
        if (v->text.ptr[i] != '_')
            buf_addc(&b, v->text.ptr[i]);
    char *end;
    errno = 0;
    v->integer = strtoll(b.data, &end, base);
    v->whole = !*end && !errno;
}

static int take_number(struct kdl_reader *r, struct str w, struct kdl_value *ret)
{
    int base;
    size_t start = (size_t)(w.ptr - r->text);
    if (!good_number(w, &base)) {
        struct str shown = {w.ptr, w.len > 60 ? 60 : w.len};
        diag_help(
            kdl_error(r, start, start + w.len, "'" STR_FMT "' is not a number", STR_ARG(shown)),
            "put it into quotes if it is text");
        return -1;
    }
    ret->type = KDL_NUMBER;
    ret->text = arena_str(r->doc->arena, w);
    take_integer(ret, base);
    return 0;
}

/* The keywords of both versions. */
static bool take_keyword(struct str w, struct kdl_value *ret)
{
    bool hash = w.len && *w.ptr == '#';
    struct str bare = {w.ptr + hash, w.len - hash};
    if (str_is(bare, "true") || str_is(bare, "false")) {
        ret->type = KDL_BOOL;
        ret->truth = *bare.ptr == 't';
    } else if (str_is(bare, "null")) {
        ret->type = KDL_NULL;
    } else if (hash && (str_is(bare, "inf") || str_is(bare, "-inf") || str_is(bare, "nan"))) {
        ret->type = KDL_NUMBER;
    } else {
        return false;
    }
    return true;
}

static int read_hash(struct kdl_reader *r, struct kdl_value *ret)
{
    size_t start = r->at++;
    (void)take_word(r);
    struct str w = {r->text + start, r->at - start};
    if (take_keyword(w, ret)) {
        ret->text = arena_str(r->doc->arena, w);
        return 0;
    }
    struct str shown = {w.ptr, w.len > 60 ? 60 : w.len};
    diag_help(kdl_error(r, start, r->at, "'" STR_FMT "' is not a keyword", STR_ARG(shown)),
              "comments begin with //; '#' is for #true, #false, #null, #inf, #-inf, #nan and "
              "#\"…\"#");
    return -1;
}

static int read_bare(struct kdl_reader *r, struct kdl_value *ret)
{
    if (kdl_string_here(r))
        return kdl_read_string(r, &ret->text);
    if (kdl_at(r, "#"))
        return read_hash(r, ret);
    size_t start = r->at;
    struct str w = take_word(r);
    if (!w.len)
        return unexpected(r, "a value");
    if (is_number(w))
        return take_number(r, w, ret);
    if (take_keyword(w, ret)) {
        ret->text = arena_str(r->doc->arena, w);
        return 0;
    }
    r->at = start;
    return kdl_read_word(r, &ret->text);
}

int kdl_read_annotation(struct kdl_reader *r, struct str *ret)
{
    size_t start = r->at;
    if (!kdl_at(r, "("))
        return 0;
    r->at++;
    (void)kdl_skip_space(r);
    if (kdl_read_word(r, ret) < 0)
        return -1;
    (void)kdl_skip_space(r);
    if (!kdl_at(r, ")")) {
        kdl_error(r, start, start + 1, "'(' without a ')'");
        return -1;
    }
    r->at++;
    (void)kdl_skip_space(r);
    return 0;
}

int kdl_read_value(struct kdl_reader *r, struct kdl_value *ret)
{
    *ret = (struct kdl_value){0};
    if (kdl_read_annotation(r, &ret->annotation) < 0)
        return -1;
    ret->span.start = r->at;
    int rc = read_bare(r, ret);
    ret->span.end = r->at;
    return rc;
}
