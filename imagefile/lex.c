// SPDX-License-Identifier: MIT
// A physical line is scanned once: for the comment that ends it (not in RUN) and the backslash that
// continues it. The text of an instruction on one line is a view into the source; several lines are
// joined in a buffer with a piece for each, from which places are found again. Here-documents are
// looked for in the joined text and read from the lines that follow.
#include "imagefile/lex.h"

#include "base/vector.h"
#include "imagefile/rules.h"

#include <stdint.h>

DEFINE_VECTOR(pieces, struct piece);
DEFINE_VECTOR(heredocs, struct heredoc);

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct str str_trim(struct str s)
{
    while (s.len && is_blank(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

struct str str_clip(struct str s)
{
    if (s.len > 60)
        s.len = 60;
    return s;
}

/* The line that starts at `at`, without its ending; *next is where the one after it starts. */
static struct str line_at(const struct source *s, size_t at, size_t *next)
{
    const char *start = s->text + at, *lf = memchr(start, '\n', s->len - at);
    size_t n = lf ? (size_t)(lf - start) : s->len - at;
    *next = lf ? at + n + 1 : s->len;
    while (n && start[n - 1] == '\r') // CR CR LF is what some transfers make of CR LF
        n--;
    return (struct str){start, n};
}

static bool is_comment(struct str line)
{
    line = str_trim(line);
    return line.len && line.ptr[0] == '#';
}

/* How quotes count while an instruction is scanned for comments. */
struct scan {
    bool command; /* RUN: no comments after text */
    bool quotes;
    char quote;    /* the open one, 0 = none */
    bool in_space; /* the byte before was a blank: '#' would begin a comment */
};

/* The part of a line that counts, and whether the instruction goes on in the next line. */
static struct str scan_line(struct scan *sc, struct str line, bool *continues)
{
    struct str trimmed = line;
    while (trimmed.len && is_blank(trimmed.ptr[trimmed.len - 1]))
        trimmed.len--;
    size_t slashes = 0;
    while (slashes < trimmed.len && trimmed.ptr[trimmed.len - 1 - slashes] == '\\')
        slashes++;
    *continues = slashes % 2;
    struct str body = *continues ? (struct str){line.ptr, trimmed.len - 1} : trimmed;
    if (sc->command)
        return body;
    for (size_t i = 0; i < body.len; i++) {
        char c = body.ptr[i];
        if (c == '#' && sc->in_space && !sc->quote) {
            *continues = false;
            return (struct str){line.ptr, i};
        }
        sc->in_space = is_blank(c);
        if (!sc->quotes)
            continue;
        if (c == '\\' && sc->quote != '\'')
            i++;
        else if (sc->quote ? c == sc->quote : c == '"' || c == '\'')
            sc->quote = sc->quote ? 0 : c;
    }
    return body;
}

/* Moves from the line after a continued one to the line that goes on with it: comment lines and
 * blank ones in between are skipped. false: there is none. */
static bool find_continuation(struct lexer *lx)
{
    size_t first_blank = SIZE_MAX, next;
    for (size_t at = lx->at; at < lx->source->len; at = next) {
        struct str line = line_at(lx->source, at, &next);
        if (!str_trim(line).len) {
            if (first_blank == SIZE_MAX)
                first_blank = at;
            continue;
        }
        if (is_comment(line))
            continue;
        // A trailing backslash before a blank line is more likely left over than meant when an
        // instruction follows; transient reads it so, Dockerfile would glue the two together.
        bool ended = first_blank != SIZE_MAX && instruction_starts(str_trim(line));
        if (first_blank != SIZE_MAX) {
            struct diag *d =
                diag_warn(lx->diags, lx->source, RULE_NO_EMPTY_CONTINUATION,
                          (struct span){first_blank, first_blank},
                          ended ? "the previous line ends in a backslash, but nothing follows"
                                : "blank line inside a continued instruction");
            diag_help(d, ended ? "remove the backslash"
                               : "remove the blank line, or make it a comment");
        }
        lx->at = ended ? first_blank : at;
        return !ended;
    }
    lx->at = lx->source->len;
    return false;
}

/* Joins the lines of an instruction. `text` is its first line after the keyword. */
static void read_text(struct lexer *lx, struct logical *l, struct scan *sc, struct str text)
{
    CLEANUP(buf_clear) struct buf joined = BUF_INIT;
    CLEANUP(pieces_clear) struct pieces pieces = {0};
    const char *base = lx->source->text;
    size_t total = 0;
    for (bool more = true;;) {
        struct str part = scan_line(sc, text, &more);
        total += part.len;
        *pieces_push(&pieces) = (struct piece){joined.len, (size_t)(part.ptr - base)};
        if (total <= IMAGEFILE_LINE_MAX) {
            if (pieces.len == 1 && !more)
                l->text = part;
            else
                buf_add_str(&joined, part);
        }
        l->end = (size_t)(part.ptr - base) + part.len;
        if (!more || !find_continuation(lx))
            break;
        text = line_at(lx->source, lx->at, &lx->at);
    }
    l->too_long = total > IMAGEFILE_LINE_MAX;
    if (l->too_long)
        l->text = (struct str){"", 0};
    else if (joined.len || !l->text.ptr)
        l->text = arena_str(lx->arena, buf_str(&joined));
    l->n_pieces = pieces.len;
    l->pieces = arena_copy(lx->arena, pieces.ptr, pieces.len * sizeof *pieces.ptr);
}

struct span lex_span(const struct logical *l, struct str part)
{
    size_t at = (size_t)(part.ptr - l->text.ptr), low = 0, high = l->n_pieces;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (l->pieces[mid].in_text <= at)
            low = mid;
        else
            high = mid;
    }
    size_t start = l->pieces[low].in_source + (at - l->pieces[low].in_text);
    size_t line_end = high < l->n_pieces ? l->pieces[high].in_text : SIZE_MAX;
    size_t len = part.len < line_end - at ? part.len : line_end - at;
    return (struct span){start, start + len};
}

/* Takes blanks off both ends of the text and keeps the pieces true. */
static void trim_text(struct logical *l)
{
    struct str t = str_trim(l->text);
    size_t skipped = (size_t)(t.ptr - l->text.ptr);
    struct piece *p = l->pieces;
    size_t n = 0;
    for (size_t i = 0; i < l->n_pieces; i++) {
        struct piece one = p[i];
        if (i + 1 < l->n_pieces && p[i + 1].in_text <= skipped)
            continue; // wholly inside what was skipped
        if (one.in_text < skipped) {
            one.in_source += skipped - one.in_text;
            one.in_text = skipped;
        }
        one.in_text -= skipped;
        if (!n || one.in_text < t.len) // lines of nothing but blanks may end the text
            p[n++] = one;
    }
    l->n_pieces = n;
    l->text = t;
}

bool lex_word(struct str *rest, bool quotes, struct str *ret)
{
    while (rest->len && is_blank(rest->ptr[0])) {
        rest->ptr++;
        rest->len--;
    }
    if (!rest->len)
        return false;
    size_t i = 0;
    char quote = 0;
    for (; i < rest->len && (quote || !is_blank(rest->ptr[i])); i++) {
        char c = rest->ptr[i];
        if (!quotes)
            continue;
        if (c == '\\' && quote != '\'' && i + 1 < rest->len)
            i++;
        else if (quote ? c == quote : c == '"' || c == '\'')
            quote = quote ? 0 : c;
    }
    *ret = (struct str){rest->ptr, i};
    rest->ptr += i;
    rest->len -= i;
    return true;
}

size_t lex_heredoc_word(struct str text, bool shell, struct heredoc *ret)
{
    size_t i = 0;
    while (i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9')
        i++;
    if (text.len - i < 3 || text.ptr[i] != '<' || text.ptr[i + 1] != '<' || text.ptr[i + 2] == '<')
        return 0;
    i += 2;
    struct heredoc h = {0};
    if (text.ptr[i] == '-') {
        h.strip_tabs = true;
        i++;
    }
    while (i < text.len && is_blank(text.ptr[i]))
        i++;
    size_t start = i;
    char quote = 0;
    for (; i < text.len && (quote || !is_blank(text.ptr[i])); i++) {
        char c = text.ptr[i];
        if (!quote && (c == '<' || (shell && strchr(";&|>()", c))))
            break;
        if (c == '\\' && quote != '\'' && i + 1 < text.len) {
            h.quoted = true;
            i++;
        } else if (quote ? c == quote : c == '"' || c == '\'') {
            quote = quote ? 0 : c;
            h.quoted = true;
        }
    }
    if (i == start || quote || (i < text.len && text.ptr[i] == '<'))
        return 0;
    h.delimiter = (struct str){text.ptr + start, i - start};
    if (ret)
        *ret = h;
    return i;
}

/* The delimiter without its quotes and backslashes. */
static struct str unquote(struct arena *a, struct str s)
{
    char *out = arena_alloc(a, s.len + 1);
    size_t n = 0;
    char quote = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '\\' && quote != '\'' && i + 1 < s.len)
            out[n++] = s.ptr[++i];
        else if (quote ? c == quote : c == '"' || c == '\'')
            quote = quote ? 0 : c;
        else
            out[n++] = c;
    }
    return (struct str){out, n};
}

static struct str without_tabs(struct str line)
{
    while (line.len && line.ptr[0] == '\t') {
        line.ptr++;
        line.len--;
    }
    return line;
}

enum { GUESSES_MAX = 100000 };

/* Finds the line that ends h, from `at` on; *ret_end is where the body ends and *ret_next the line
 * after the delimiter. A guess gives up when all guesses together took too long. */
static bool find_end(struct lexer *lx, const struct heredoc *h, size_t at, bool guess,
                     size_t *ret_end, size_t *ret_next)
{
    size_t next;
    for (; at < lx->source->len; at = next) {
        if (guess && lx->guessed++ > GUESSES_MAX)
            return false;
        struct str line = line_at(lx->source, at, &next);
        if (!str_eq(h->strip_tabs ? without_tabs(line) : line, h->delimiter))
            continue;
        *ret_end = at;
        *ret_next = next;
        return true;
    }
    return false;
}

/* The body as it shall be: a view where nothing has to change. */
static struct str body_of(struct lexer *lx, const struct heredoc *h, size_t start, size_t end)
{
    struct str raw = {lx->source->text + start, end - start};
    if (!h->strip_tabs && !memchr(raw.ptr, '\r', raw.len))
        return raw;
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    for (size_t at = start, next; at < end; at = next) {
        struct str line = line_at(lx->source, at, &next);
        buf_add_str(&b, h->strip_tabs ? without_tabs(line) : line);
        buf_addc(&b, '\n');
    }
    return arena_str(lx->arena, buf_str(&b));
}

/* Reads the body of h at lx->at. A missing end is a mistake only if this is surely a here-document:
 * what looks like one after a misspelt word may be none. */
static bool read_body(struct lexer *lx, struct heredoc *h, bool sure)
{
    size_t start = lx->at, end, next;
    if (!find_end(lx, h, start, !sure, &end, &next)) {
        if (!sure)
            return false;
        struct str name = str_clip(h->delimiter);
        struct diag *d = diag_add(lx->diags, lx->source, DIAG_ERROR, h->span,
                                  "unterminated here-document '" STR_FMT "'", STR_ARG(name));
        diag_help(d, "end it with a line that contains only " STR_FMT "", STR_ARG(name));
        end = next = lx->source->len;
    }
    h->body = body_of(lx, h, start, end);
    h->body_span = (struct span){start, end};
    lx->at = next;
    return end < lx->source->len;
}

/* Whether text[from, to) ends inside of $((…)), where << shifts bits; `open` is how it began. */
static bool in_arithmetic(struct str text, size_t from, size_t to, bool open)
{
    for (size_t i = from; i < to && i + 1 < text.len; i++)
        if (text.ptr[i] == text.ptr[i + 1] && (text.ptr[i] == '(' || text.ptr[i] == ')'))
            open = text.ptr[i] == '(';
    return open;
}

size_t lex_heredoc(struct str *rest, struct str *word, bool shell, struct heredoc *ret)
{
    struct str text = {word->ptr, word->len + rest->len};
    size_t n = lex_heredoc_word(text, shell, ret);
    if (n > word->len || (n && !shell)) {
        *word = (struct str){text.ptr, n};
        *rest = (struct str){text.ptr + n, text.len - n};
    }
    return n;
}

static void read_heredocs(struct lexer *lx, struct logical *l)
{
    const struct instruction *in = l->instruction;
    if ((in && !(in->traits & TRAIT_HEREDOC)) || !memmem(l->text.ptr, l->text.len, "<<", 2))
        return;
    bool shell = !in || in->traits & TRAIT_COMMAND;
    CLEANUP(heredocs_clear) struct heredocs found = {0};
    struct str rest = l->text, word;
    bool shifts = false;
    for (size_t seen = 0; lex_word(&rest, shell, &word) && !(shell && word.ptr[0] == '#');) {
        struct heredoc h;
        size_t n = lex_heredoc(&rest, &word, shell, &h);
        if (!n)
            continue;
        size_t at = (size_t)(word.ptr - l->text.ptr);
        shifts = in_arithmetic(l->text, seen, at, shifts);
        seen = at;
        // $((1 <<2)) looks like one too, but nobody calls a delimiter so
        bool sure =
            in && !(shell && ((h.delimiter.ptr[0] >= '0' && h.delimiter.ptr[0] <= '9') || shifts));
        h.span = lex_span(l, (struct str){word.ptr, n});
        h.delimiter = unquote(lx->arena, h.delimiter);
        bool whole = read_body(lx, &h, sure);
        if (whole || sure)
            *heredocs_push(&found) = h;
        if (!whole && sure)
            break;
    }
    l->n_heredocs = found.len;
    l->heredocs = arena_copy(lx->arena, found.ptr, found.len * sizeof *found.ptr);
}

/* The keyword ends at a blank; the first line's text is what follows it. */
static struct str split_keyword(struct lexer *lx, struct logical *l, struct str line)
{
    size_t i = 0, n;
    while (is_blank(line.ptr[i]))
        i++;
    for (n = i; n < line.len && !is_blank(line.ptr[n]); n++)
        if (line.ptr[n] == '\\' && n + 1 == line.len)
            break;
    l->keyword = (struct str){line.ptr + i, n - i};
    l->keyword_at = (size_t)(l->keyword.ptr - lx->source->text);
    l->instruction = instruction_find(l->keyword);
    return (struct str){line.ptr + n, line.len - n};
}

bool lex_next(struct lexer *lx, struct logical *ret)
{
    const struct source *s = lx->source;
    if (!lx->at && s->len >= 3 && !memcmp(s->text, "\xef\xbb\xbf", 3))
        lx->at = 3;
    while (lx->at < s->len) {
        struct str line = line_at(s, lx->at, &lx->at);
        if (!str_trim(line).len || is_comment(line) || str_is(str_trim(line), "\\"))
            continue; // a backslash alone continues nothing
        *ret = (struct logical){0};
        struct str text = split_keyword(lx, ret, line);
        unsigned traits = ret->instruction ? ret->instruction->traits : 0;
        struct str trimmed = str_trim(text);
        bool list = traits & TRAIT_JSON && trimmed.len && trimmed.ptr[0] == '[';
        struct scan sc = {.command = traits & TRAIT_COMMAND,
                          .quotes = traits & TRAIT_QUOTES || list};
        read_text(lx, ret, &sc, text);
        trim_text(ret);
        if (ret->too_long) {
            diag_add(lx->diags, s, DIAG_ERROR,
                     (struct span){ret->keyword_at, ret->keyword_at + str_clip(ret->keyword).len},
                     "instruction is longer than %u bytes", IMAGEFILE_LINE_MAX);
            ret->keyword = str_clip(ret->keyword);
        } else {
            read_heredocs(lx, ret);
        }
        return true;
    }
    return false;
}
