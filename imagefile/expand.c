// SPDX-License-Identifier: MIT
// One scanner over the bytes of a word: it copies runs of ordinary bytes, takes quotes and
// backslashes as the word's mode says, and calls itself for what stands after ":-" and its like, up
// to the '}'. Without variables to look up (vars NULL) it only checks the syntax.
#include "imagefile/parser.h"
#include "imagefile/pattern.h"

#include <stdarg.h>
#include <stdint.h>

struct expansion {
    const struct imagefile *f;
    const struct imagefile_vars *vars; /* NULL: check only */
    struct str text;
    size_t at;
    bool quotes;          /* WORD_SHELL */
    struct span fallback; /* the place of mistakes when the text is not a view into the source */
    struct buf *out;      /* NULL: what is expanded is thrown away */
    size_t used;          /* bytes given so far */
    unsigned depth;
    /* the mistake */
    struct span where;
    char message[160];
};

/* The place of text[from, to), or of the whole word when the text is not a view into the source. */
static struct span place_of(const struct expansion *x, size_t from, size_t to)
{
    const struct source *s = &x->f->source;
    uintptr_t p = (uintptr_t)(x->text.ptr + from), base = (uintptr_t)s->text;
    return p >= base && p < base + s->len ? (struct span){p - base, p - base + (to - from)}
                                          : x->fallback;
}

__attribute__((format(printf, 3, 4))) static bool fail(struct expansion *x, size_t from,
                                                       const char *fmt, ...)
{
    x->where = place_of(x, from, from + (from < x->text.len));
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(x->message, sizeof x->message, fmt, ap);
    va_end(ap);
    return false;
}

static bool give(struct expansion *x, const char *bytes, size_t n)
{
    if (!x->out)
        return true;
    x->used += n;
    if (x->used > IMAGEFILE_VALUE_MAX)
        return fail(x, 0, "the expanded value is too long");
    buf_add(x->out, bytes, n);
    return true;
}

static bool is_name_start(char c)
{
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static size_t name_length(struct str s)
{
    size_t n = 0;
    if (!s.len || !is_name_start(s.ptr[0]))
        return 0;
    while (n < s.len && (is_name_start(s.ptr[n]) || (s.ptr[n] >= '0' && s.ptr[n] <= '9')))
        n++;
    return n;
}

static bool expand_until(struct expansion *x, char end, char quote);

static bool at_end(const struct expansion *x)
{
    return x->at >= x->text.len;
}

static const char *look_up(const struct expansion *x, struct str name)
{
    return x->vars ? x->vars->get(x->vars->ctx, name) : NULL;
}

/* $name and ${name}, which ends before x->at: nothing where the variable is not set. */
static bool give_value(struct expansion *x, struct str name, size_t start)
{
    const char *value = look_up(x, name);
    if (!value && x->vars && x->vars->missing)
        x->vars->missing(x->vars->ctx, name, place_of(x, start, x->at));
    return !value || give(x, value, strlen(value));
}

/* What stands after the operator: given to out when `wanted`, else only read. */
static bool expand_operand(struct expansion *x, bool wanted, char quote)
{
    struct buf *out = x->out;
    const struct imagefile_vars *vars = x->vars;
    if (!wanted) { // a variable in what is thrown away is not used
        x->out = NULL;
        x->vars = NULL;
    }
    bool good = expand_until(x, '}', quote);
    x->out = out;
    x->vars = vars;
    return good;
}

/* ${name?message} of a variable that is not set: the operand is the error. */
static bool required(struct expansion *x, size_t start, struct str name, char quote)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    struct buf *out = x->out;
    if (out)
        x->out = &text;
    bool good = expand_until(x, '}', quote);
    x->out = out;
    if (!good || !x->vars)
        return good;
    if (!text.len)
        buf_addf(&text, "the variable '" STR_FMT "' is not set", STR_ARG(str_clip(name)));
    return fail(x, start, "%.150s", text.data);
}

/* An operand up to `end`, expanded into text. */
static bool read_operand(struct expansion *x, char end, char quote, struct buf *text)
{
    struct buf *out = x->out;
    if (out)
        x->out = text;
    bool good = expand_until(x, end, quote);
    x->out = out;
    return good;
}

/* ${name#pattern}, ##, %, %%, /pattern/text, //; x->at is after the first byte of the operator. */
static bool expand_pattern(struct expansion *x, size_t start, struct str name, char op, char quote)
{
    CLEANUP(buf_clear) struct buf pattern = BUF_INIT, by = BUF_INIT, result = BUF_INIT;
    bool twice = !at_end(x) && x->text.ptr[x->at] == op;
    x->at += twice;
    if (op == '/' && !memchr(x->text.ptr + x->at, '/', x->text.len - x->at))
        return fail(x, start, "write ${name/pattern/text}");
    if (!read_operand(x, op == '/' ? '/' : '}', quote, &pattern) ||
        (op == '/' && !read_operand(x, '}', quote, &by)))
        return false;
    const char *text = look_up(x, name);
    if (!text || !x->out)
        return give_value(x, name, start);
    struct str value = str_of(text), p = buf_str(&pattern);
    if (value.len > PATTERN_VALUE_MAX || p.len > PATTERN_MAX)
        return fail(x, start, "the value or the pattern is too long");
    if (op != '/')
        buf_add_str(&result, pattern_cut(value, p, op, twice));
    else
        pattern_replace(value, p, buf_str(&by), twice, &result);
    return give(x, result.data, result.len);
}

/* At the byte after "${". */
static bool expand_braces(struct expansion *x, size_t start, char quote)
{
    struct str rest = {x->text.ptr + x->at, x->text.len - x->at};
    struct str name = {rest.ptr, name_length(rest)};
    if (!name.len)
        return fail(x, start, "'${' needs a name: ${name}");
    x->at += name.len;
    if (at_end(x))
        return fail(x, start, "'${' without a closing '}'");
    if (++x->depth > IMAGEFILE_DEPTH_MAX)
        return fail(x, start, "variables are nested too deeply");
    char op = x->text.ptr[x->at++];
    bool colon = op == ':';
    if (colon && at_end(x))
        return fail(x, start, "'${' without a closing '}'");
    if (colon)
        op = x->text.ptr[x->at++];
    if ((unsigned char)op <= ' ')
        return fail(x, start, "'${' without a closing '}'");
    bool good;
    if (op == '}' && !colon) {
        good = give_value(x, name, start);
    } else if (op == '-' || op == '+' || op == '?') {
        const char *value = look_up(x, name);
        bool set = value && (*value || !colon);
        if (op != '+' && set)
            good = give(x, value, strlen(value)) && expand_operand(x, false, quote);
        else if (op == '?')
            good = required(x, start, name, quote);
        else
            good = expand_operand(x, op == '-' || set, quote);
    } else if (!colon && (op == '#' || op == '%' || op == '/')) {
        good = expand_pattern(x, start, name, op, quote);
    } else {
        good = fail(x, x->at - 1, "unknown operator '%c' in ${…}: use :- - :+ + :? ? # %% /",
                    (unsigned char)op < 0x7f ? op : '?');
    }
    x->depth--;
    return good;
}

/* At a '$'. */
static bool expand_dollar(struct expansion *x, char quote)
{
    size_t start = x->at++;
    struct str rest = {x->text.ptr + x->at, x->text.len - x->at};
    if (rest.len && rest.ptr[0] == '{') {
        x->at++;
        return expand_braces(x, start, quote);
    }
    struct str name = {rest.ptr, name_length(rest)};
    if (!name.len)
        return give(x, "$", 1);
    x->at += name.len;
    return give_value(x, name, start);
}

/* At a backslash. `quote` is the open one. */
static bool expand_backslash(struct expansion *x, char quote)
{
    char next = x->at + 1 < x->text.len ? x->text.ptr[x->at + 1] : '\0';
    bool last = x->at + 1 >= x->text.len;
    x->at += last ? 1 : 2;
    if (last)
        return x->quotes || give(x, "\\", 1);
    bool drop = (x->quotes && !quote) || next == '$' || next == '\\' || (quote && next == '"') ||
                (x->depth && next == '}');
    if (!drop && !give(x, "\\", 1))
        return false;
    return give(x, &next, 1);
}

static bool expand_single(struct expansion *x)
{
    size_t start = x->at++;
    const char *from = x->text.ptr + x->at, *close = memchr(from, '\'', x->text.len - x->at);
    if (!close)
        return fail(x, start, "unterminated quote");
    x->at += (size_t)(close - from) + 1;
    return give(x, from, (size_t)(close - from));
}

/* Up to `end` (which is taken; '\0' = the end of the text), inside `quote` if that is set. */
static bool expand_until(struct expansion *x, char end, char quote)
{
    size_t start = x->at;
    char open = quote;
    while (!at_end(x)) {
        const char *p = x->text.ptr + x->at;
        if (*p == '$') {
            if (!expand_dollar(x, open))
                return false;
        } else if (*p == '\\') {
            if (!expand_backslash(x, open))
                return false;
        } else if (end && *p == end && open == quote) {
            x->at++;
            return true;
        } else if (x->quotes && *p == '"') {
            if (!open)
                start = x->at;
            open = open ? '\0' : '"';
            x->at++;
        } else if (x->quotes && *p == '\'' && !open) {
            if (!expand_single(x))
                return false;
        } else {
            size_t n = 1;
            while (x->at + n < x->text.len && !strchr("$\\}/\"'", p[n]))
                n++;
            x->at += n;
            if (!give(x, p, n))
                return false;
        }
    }
    if (end)
        return fail(x, start ? start - 1 : 0, "'${' without a closing '}'");
    return !open || fail(x, start, "unterminated quote");
}

static bool expand_text(struct expansion *x)
{
    return expand_until(x, '\0', '\0');
}

static int report(struct expansion *x, struct error **err)
{
    unsigned line, column;
    source_place(&x->f->source, x->where.start, &line, &column);
    error_set(err, ERR_USER, "%s", x->message);
    return error_at(err, x->f->source.path, line, column);
}

int imagefile_expand(const struct imagefile *f, const struct word *w,
                     const struct imagefile_vars *vars, struct buf *out, struct error **err)
{
    if (w->mode == WORD_LITERAL) {
        buf_add_str(out, w->raw);
        return 0;
    }
    struct expansion x = {.f = f,
                          .vars = vars,
                          .text = w->raw,
                          .quotes = w->mode == WORD_SHELL,
                          .fallback = w->span,
                          .out = out};
    return expand_text(&x) ? 0 : report(&x, err);
}

int imagefile_expand_heredoc(const struct imagefile *f, const struct heredoc *h,
                             const struct imagefile_vars *vars, struct buf *out, struct error **err)
{
    if (h->quoted) {
        buf_add_str(out, h->body);
        return 0;
    }
    struct expansion x = {.f = f, .vars = vars, .text = h->body, .fallback = h->span, .out = out};
    return expand_text(&x) ? 0 : report(&x, err);
}

static void check(struct expansion *x, struct diags *d)
{
    if (!expand_text(x))
        diag_add(d, &x->f->source, DIAG_ERROR, x->where, "%s", x->message);
}

void expand_check(const struct imagefile *f, const struct word *w, struct diags *d)
{
    struct expansion x = {
        .f = f, .text = w->raw, .quotes = w->mode == WORD_SHELL, .fallback = w->span};
    if (w->mode != WORD_LITERAL)
        check(&x, d);
}

void expand_check_heredoc(const struct imagefile *f, const struct heredoc *h, struct diags *d)
{
    struct expansion x = {.f = f, .text = h->body, .fallback = h->span};
    if (!h->quoted)
        check(&x, d);
}
