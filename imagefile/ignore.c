// SPDX-License-Identifier: MIT
// A pattern is cleaned and cut into items. A plain one is compared directly; the others run as a
// small automaton: a set of items that may come next, moved on by each character of the path, so
// that no pattern can take more than its length times the path's. Where a '/' comes and the
// automaton accepts, a folder above the path has matched.
#include "imagefile/ignore.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/path.h"
#include "base/vector.h"
#include "imagefile/glob.h"

#include <stdint.h>

enum item_kind {
    ITEM_BYTE,  /* exactly this byte */
    ITEM_ONE,   /* '?': a character but '/' */
    ITEM_CLASS, /* "[…]" */
    ITEM_STAR,  /* any characters but '/' */
    ITEM_DEEP,  /* "**" before more: nothing, or anything up to a '/' */
    ITEM_LOOP,  /* always after ITEM_DEEP: inside its "anything" */
    ITEM_ALL,   /* "**" at the end, or at the start before plain text: anything */
};

struct item {
    enum item_kind kind;
    char byte;
    const char *cls; /* into the pattern's text */
};

enum { ITEMS_MAX = 1024 };
DEFINE_VECTOR(items, struct item);

struct pattern {
    char *written; /* as the user wrote it */
    char *text;    /* cleaned */
    struct items items;
    char *needle; /* bytes in a row that every match holds; "" = none */
    bool shows;   /* '!' */
    bool plain;   /* text is a plain path */
};
DEFINE_VECTOR(patterns, struct pattern);

struct ignore {
    struct patterns patterns;
};

struct ignore *ignore_new(void)
{
    return xcalloc(1, sizeof(struct ignore));
}

static void pattern_clear(struct pattern *p)
{
    free(p->written);
    free(p->text);
    free(p->needle);
    items_clear(&p->items);
}

void ignore_free(struct ignore *ig)
{
    if (!ig)
        return;
    vec_foreach (struct pattern *, p, &ig->patterns)
        pattern_clear(p);
    patterns_clear(&ig->patterns);
    free(ig);
}

/* Drops empty and "." parts and resolves "..", as Go's filepath.Clean; the '/' in front goes too,
 * and with it what leads above it. */
static char *clean(struct str s)
{
    bool rooted = s.len && s.ptr[0] == '/';
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    struct str part;
    size_t above = 0; // ".." in front, which nothing takes away
    for (size_t at = 0; path_part(s, &at, &part);) {
        if (!str_is(part, ".."))
            path_push(&b, part);
        else if (b.len > above)
            (void)path_pop(&b);
        else if (!rooted) {
            path_push(&b, part);
            above = b.len;
        }
    }
    return xstrdup(b.len ? b.data : ".");
}

static void push(struct items *items, enum item_kind kind, char byte, const char *cls)
{
    *items_push(items) = (struct item){kind, byte, cls};
}

/* "**.ext", "**name": any path that ends so, as moby's matcher has it. */
static bool is_suffix(const char *p)
{
    return p[0] == '*' && p[1] == '*' && p[2] && p[2] != '/' && !strpbrk(p + 2, "*?[]\\");
}

static bool compile(struct pattern *pat)
{
    bool match;
    for (const char *p = pat->text; *p;) {
        size_t n = 1;
        if (p[0] == '*' && p[1] == '*') {
            n = p[2] == '/' ? 3 : 2;
            if (p == pat->text && is_suffix(p)) {
                push(&pat->items, ITEM_ALL, 0, NULL);
            } else if (p[n]) {
                push(&pat->items, ITEM_DEEP, 0, NULL);
                push(&pat->items, ITEM_LOOP, 0, NULL);
            } else {
                push(&pat->items, ITEM_ALL, 0, NULL);
            }
        } else if (p[0] == '*') {
            push(&pat->items, ITEM_STAR, 0, NULL);
        } else if (p[0] == '?') {
            push(&pat->items, ITEM_ONE, 0, NULL);
        } else if (p[0] == '[') {
            n = glob_class(p, 0, &match);
            push(&pat->items, ITEM_CLASS, 0, p);
        } else if (p[0] == '\\') {
            n = p[1] ? 2 : 0;
            push(&pat->items, ITEM_BYTE, p[1], NULL);
        } else {
            push(&pat->items, ITEM_BYTE, *p, NULL);
        }
        if (!n)
            return false;
        p += n;
    }
    return true;
}

/* The longest run of plain bytes. */
static char *find_needle(const struct items *items)
{
    CLEANUP(buf_clear) struct buf best = BUF_INIT;
    CLEANUP(buf_clear) struct buf row = BUF_INIT;
    vec_foreach (const struct item *, it, items) {
        if (it->kind == ITEM_BYTE)
            buf_addc(&row, it->byte);
        else
            buf_reset(&row);
        if (row.len > best.len) {
            buf_reset(&best);
            buf_add(&best, row.data, row.len);
        }
    }
    return buf_detach(&best, NULL);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct str trim(struct str s)
{
    while (s.len && is_space(s.ptr[s.len - 1]))
        s.len--;
    while (s.len && is_space(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    return s;
}

/* moby cleans a pattern with its '!' once more: of "!../../x", "!.." is then a folder's name that
 * the second ".." takes away, and "x" is hidden. */
static void clean_shown(struct pattern *pat)
{
    if (!pat->shows)
        return;
    AUTO_FREE char *marked = xasprintf("!%s", pat->text);
    AUTO_FREE char *text = clean(str_of(marked));
    pat->shows = text[0] == '!';
    free(pat->text);
    pat->text = xstrdup(pat->shows ? text + 1 : text);
}

static int add(struct ignore *ig, struct str line, struct error **err)
{
    struct str written = line;
    struct pattern pat = {.shows = line.len && line.ptr[0] == '!'};
    if (pat.shows) {
        line.ptr++;
        line.len--;
    }
    line = trim(line);
    if (!line.len)
        return error_set(err, ERR_USER, "'!' needs a pattern after it");
    pat.written = str_dup(written);
    pat.text = clean(line);
    clean_shown(&pat);
    pat.plain = !glob_magic(pat.text);
    bool good = strlen(pat.text) <= ITEMS_MAX / 2 && compile(&pat);
    if (!good) {
        error_set(err, ERR_USER,
                  strlen(pat.text) > ITEMS_MAX / 2 ? "the pattern '%.60s…' is too long"
                                                   : "the pattern '%s' is malformed",
                  pat.written);
        error_hint(err, "'[' needs a ']', and '\\' a character after it");
        pattern_clear(&pat);
        return -1;
    }
    pat.needle = find_needle(&pat.items);
    *patterns_push(&ig->patterns) = pat;
    return 0;
}

int ignore_add(struct ignore *ig, const char *pattern, struct error **err)
{
    return add(ig, str_of(pattern), err);
}

int ignore_parse(struct ignore *ig, const char *name, const char *text, size_t len,
                 struct error **err)
{
    size_t at = len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;
    for (unsigned line = 1; at < len; line++) {
        const char *start = text + at, *lf = memchr(start, '\n', len - at);
        size_t n = lf ? (size_t)(lf - start) : len - at;
        at += n + 1;
        if (n && start[0] == '#')
            continue;
        struct str pattern = trim((struct str){start, n});
        if (memchr(start, '\0', n)) {
            error_set(err, ERR_USER, "NUL byte: this is not a text file");
            return error_at(err, name, line, 0);
        }
        if (pattern.len && add(ig, pattern, err) < 0)
            return error_at(err, name, line, 1);
    }
    return 0;
}

/* Puts item i into the set, and what may come at once after it. */
static void enter(const struct pattern *p, unsigned char *set, size_t i)
{
    for (;; i++) {
        set[i] = 1;
        if (i == p->items.len)
            return;
        enum item_kind kind = p->items.ptr[i].kind;
        if (kind == ITEM_DEEP) {
            set[++i] = 1; // the loop, and what follows it
            continue;
        }
        if (kind != ITEM_STAR && kind != ITEM_ALL)
            return;
    }
}

static bool takes(const struct item *it, uint32_t c)
{
    bool match;
    switch (it->kind) {
    case ITEM_BYTE:
        return false; // compared by byte in step()
    case ITEM_ONE:
        return c != '/';
    case ITEM_CLASS:
        return glob_class(it->cls, c, &match) && match;
    case ITEM_STAR:
        return c != '/';
    case ITEM_DEEP:
        return false;
    case ITEM_LOOP:
    case ITEM_ALL:
        return true;
    }
    return false;
}

/* Moves the set over one character; false when it is empty afterwards. Literals are stored byte by
 * byte, so a character of several bytes is walked through a run of them. */
static bool step(const struct pattern *p, const unsigned char *set, unsigned char *next,
                 const char *s, size_t n, uint32_t c)
{
    bool alive = false;
    memset(next, 0, p->items.len + 1);
    for (size_t i = 0; i < p->items.len; i++) {
        const struct item *it = &p->items.ptr[i];
        if (!set[i])
            continue;
        if (it->kind == ITEM_BYTE) {
            size_t k = 0;
            while (k < n && i + k < p->items.len && it[k].kind == ITEM_BYTE && it[k].byte == s[k])
                k++;
            if (k < n)
                continue;
            enter(p, next, i + n);
        } else if (!takes(it, c)) {
            continue;
        } else if (it->kind == ITEM_STAR || it->kind == ITEM_ALL) {
            enter(p, next, i);
        } else if (it->kind == ITEM_LOOP) {
            next[i] = 1;
            if (c == '/')
                enter(p, next, i + 1);
        } else {
            enter(p, next, i + 1);
        }
        alive = true;
    }
    return alive;
}

enum outcome { NO_MATCH, MATCH, COULD_MATCH_BELOW };

/* COULD_MATCH_BELOW is only told apart from NO_MATCH for a path that ends in '/'. */
static enum outcome run(const struct pattern *p, const char *path)
{
    unsigned char sets[2][ITEMS_MAX + 1], *set = sets[0], *next = sets[1], *swap;
    memset(set, 0, p->items.len + 1);
    enter(p, set, 0);
    while (*path) {
        size_t n;
        uint32_t c = glob_char(path, &n);
        if (c == '/' && set[p->items.len])
            return MATCH; // a folder above
        if (!step(p, set, next, path, n, c))
            return NO_MATCH;
        swap = set;
        set = next;
        next = swap;
        path += n;
    }
    return set[p->items.len] ? MATCH : COULD_MATCH_BELOW;
}

static bool matches(const struct pattern *p, const char *path)
{
    if (!p->plain)
        return strstr(path, p->needle) && run(p, path) == MATCH;
    size_t n = strlen(p->text);
    return !strncmp(path, p->text, n) && (!path[n] || path[n] == '/');
}

/* The pattern that decides, the last one that matches; NULL if none does. */
static const struct pattern *decider(const struct ignore *ig, const char *path)
{
    for (size_t i = ig ? ig->patterns.len : 0; i-- > 0;)
        if (matches(&ig->patterns.ptr[i], path))
            return &ig->patterns.ptr[i];
    return NULL;
}

bool ignore_hides(const struct ignore *ig, const char *path)
{
    const struct pattern *p = decider(ig, path);
    return p && !p->shows;
}

bool ignore_prunes(const struct ignore *ig, const char *folder)
{
    const struct pattern *p = decider(ig, folder);
    if (!p || p->shows)
        return false;
    AUTO_FREE char *below = xasprintf("%s/", folder);
    for (p++; p < ig->patterns.ptr + ig->patterns.len; p++)
        if (p->shows && run(p, below) != NO_MATCH)
            return false;
    return true;
}

const char *ignore_decider(const struct ignore *ig, const char *path)
{
    const struct pattern *p = decider(ig, path);
    return p ? p->written : NULL;
}
