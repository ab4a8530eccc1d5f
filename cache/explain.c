// SPDX-License-Identifier: MIT
//
// Two lists of inputs are compared name by name, the k-th field of a name with the k-th field of
// that name on the other side; two manifests are merged like sorted files.
#include "base/alloc.h"
#include "base/json.h"
#include "cache/key.h"

#include <string.h>

#define SHOWN 3      /* reasons, and files, that are named */
#define VALUE_MAX 40 /* bytes of a value that is shown */

struct reasons {
    struct buf text;
    size_t n;
};

static void add_reason(struct reasons *r, const char *text)
{
    if (r->n++ >= SHOWN)
        return;
    buf_adds(&r->text, r->n > 1 ? ", " : "");
    buf_adds(&r->text, text);
}

/* The field of this name that has `skip` others of its name before it. */
static const json_t *nth_field(const json_t *fields, const char *name, size_t skip)
{
    size_t i;
    json_t *f;
    json_array_foreach((json_t *)fields, i, f)
    {
        const char *its = json_str(f, "name");
        if (its && !strcmp(its, name) && skip-- == 0)
            return f;
    }
    return NULL;
}

static size_t count_before(const json_t *fields, size_t end, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < end; i++) {
        const char *its = json_str(json_array_get(fields, i), "name");
        n += its && !strcmp(its, name);
    }
    return n;
}

static bool same_value(const json_t *a, const json_t *b)
{
    const char *x = json_str(a, "value"), *y = json_str(b, "value");
    if (!x && !y) {
        x = json_str(a, "sha256");
        y = json_str(b, "sha256");
    }
    return x && y && !strcmp(x, y);
}

static bool can_show(const char *value)
{
    if (!value || strlen(value) > VALUE_MAX)
        return false;
    for (; *value; value++)
        if ((unsigned char)*value < 0x20 || *value == 0x7f)
            return false;
    return true;
}

static void explain_value(struct reasons *r, const char *name, const json_t *old, const json_t *new)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    const char *x = json_str(old, "value"), *y = json_str(new, "value");
    if (!strcmp(name, "step"))
        buf_adds(&b, "the instruction changed");
    else if (can_show(x) && can_show(y))
        buf_addf(&b, "%s %s → %s", name, *x ? x : "''", *y ? y : "''");
    else
        buf_addf(&b, "%s changed", name);
    add_reason(r, b.data);
}

struct line {
    struct str field[7];
};

/* Takes a line off *rest. False at the end. Missing fields are empty. */
static bool next_line(struct str *rest, struct line *l)
{
    *l = (struct line){0};
    if (!rest->len)
        return false;
    const char *nl = memchr(rest->ptr, '\n', rest->len);
    size_t len = nl ? (size_t)(nl - rest->ptr) : rest->len;
    struct str left = {rest->ptr, len};
    for (size_t i = 0; i < 7; i++) {
        const char *tab = left.len ? memchr(left.ptr, '\t', left.len) : NULL;
        size_t n = tab ? (size_t)(tab - left.ptr) : left.len;
        l->field[i] = (struct str){left.ptr, n};
        left.ptr += n + (tab != NULL);
        left.len -= n + (tab != NULL);
    }
    rest->ptr += len + (nl != NULL);
    rest->len -= len + (nl != NULL);
    return true;
}

static int compare_paths(struct str a, struct str b)
{
    int c = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);
    return c ? c : (a.len > b.len) - (a.len < b.len);
}

static bool is_escape(struct str s, const char *code)
{
    return s.len >= 3 && !memcmp(s.ptr, code, 3);
}

/* Blanks and signs come back, control characters stay escaped. */
static void add_path(struct buf *b, struct str path)
{
    for (; path.len; path.ptr++, path.len--) {
        char plain = is_escape(path, "%20")   ? ' '
                     : is_escape(path, "%25") ? '%'
                     : is_escape(path, "%5C") ? '\\'
                     : is_escape(path, "%2D") ? '-'
                                              : 0;
        buf_addc(b, plain ? plain : *path.ptr);
        path.ptr += plain ? 2 : 0;
        path.len -= plain ? 2 : 0;
    }
}

/* What of an entry changed: the first of these that differs, if it alone does. */
static const char *what_changed(const struct line *a, const struct line *b)
{
    static const char *const what[7] = {[2] = "the mode of ",
                                        [3] = "the owner of ",
                                        [4] = "the target of ",
                                        [5] = "the attributes of "};
    const char *said = NULL;
    for (size_t i = 1; i < 7; i++) {
        if (str_eq(a->field[i], b->field[i]))
            continue;
        if (said || !what[i])
            return "";
        said = what[i];
    }
    return said ? said : "";
}

static void add_file(struct reasons *files, const char *before, struct str path, const char *after)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    buf_adds(&b, before);
    add_path(&b, path);
    buf_adds(&b, after);
    add_reason(files, b.data);
}

static bool same_line(const struct line *a, const struct line *b)
{
    for (size_t i = 0; i < 7; i++)
        if (!str_eq(a->field[i], b->field[i]))
            return false;
    return true;
}

static void explain_files(struct reasons *r, const struct buf *old, const struct buf *new)
{
    CLEANUP(buf_clear) struct buf all = BUF_INIT;
    struct reasons files = {.text = BUF_INIT};
    struct str olds = buf_str(old), news = buf_str(new);
    struct line a, b;
    bool have_a = next_line(&olds, &a), have_b = next_line(&news, &b);
    while (have_a || have_b) {
        int c = !have_a ? 1 : !have_b ? -1 : compare_paths(a.field[0], b.field[0]);
        if (c < 0)
            add_file(&files, "", a.field[0], " removed");
        else if (c > 0)
            add_file(&files, "", b.field[0], " added");
        else if (!same_line(&a, &b))
            add_file(&files, what_changed(&a, &b), b.field[0], " changed");
        if (c <= 0)
            have_a = next_line(&olds, &a);
        if (c >= 0)
            have_b = next_line(&news, &b);
    }
    buf_adds(&all, files.n ? files.text.data : "files changed");
    if (files.n > SHOWN)
        buf_addf(&all, " and %zu more", files.n - SHOWN);
    buf_clear(&files.text);
    add_reason(r, all.data);
}

static void explain_fields(struct reasons *r, const json_t *old, const json_t *new,
                           const struct buf *old_manifest, const struct buf *new_manifest)
{
    size_t i;
    json_t *f;
    json_array_foreach((json_t *)new, i, f)
    {
        const char *name = json_str(f, "name");
        if (!name || !strcmp(name, "parent"))
            continue;
        const json_t *was = nth_field(old, name, count_before(new, i, name));
        AUTO_FREE char *added = xasprintf("%s added", name);
        if (!was)
            add_reason(r, added);
        else if (same_value(was, f))
            continue;
        else if (!strcmp(name, "files") && old_manifest && new_manifest)
            explain_files(r, old_manifest, new_manifest);
        else
            explain_value(r, name, was, f);
    }
    json_array_foreach((json_t *)old, i, f)
    {
        const char *name = json_str(f, "name");
        if (!name || nth_field(new, name, count_before(old, i, name)))
            continue;
        AUTO_FREE char *removed = xasprintf("%s removed", name);
        add_reason(r, removed);
    }
}

char *key_explain(const json_t *old, const json_t *new, const struct buf *old_manifest,
                  const struct buf *new_manifest)
{
    if (!old)
        return xstrdup("never built");
    struct reasons r = {.text = BUF_INIT};
    explain_fields(&r, old, new, old_manifest, new_manifest);
    if (r.n > SHOWN)
        buf_addf(&r.text, " and %zu more", r.n - SHOWN);
    if (!same_value(nth_field(old, "parent", 0), nth_field(new, "parent", 0)))
        buf_addf(&r.text, "%sparent changed", r.n++ ? ", " : "");
    char *text = r.n ? xstrdup(r.text.data) : NULL;
    buf_clear(&r.text);
    return text;
}
