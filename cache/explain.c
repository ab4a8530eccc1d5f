// SPDX-License-Identifier: MIT
//
// Two lists of inputs are compared name by name, the k-th field of a name with the k-th field of
// that name on the other side.
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
    json_array_foreach ((json_t *)fields, i, f) {
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

static void explain_fields(struct reasons *r, const json_t *old, const json_t *new,
                           const char *files)
{
    size_t i;
    json_t *f;
    json_array_foreach ((json_t *)new, i, f) {
        const char *name = json_str(f, "name");
        if (!name || !strcmp(name, "parent"))
            continue;
        const json_t *was = nth_field(old, name, count_before(new, i, name));
        AUTO_FREE char *added = xasprintf("%s added", name);
        if (!was)
            add_reason(r, added);
        else if (same_value(was, f))
            continue;
        else if (!strcmp(name, "files"))
            add_reason(r, files ? files : "files changed");
        else
            explain_value(r, name, was, f);
    }
    json_array_foreach ((json_t *)old, i, f) {
        const char *name = json_str(f, "name");
        if (!name || nth_field(new, name, count_before(old, i, name)))
            continue;
        AUTO_FREE char *removed = xasprintf("%s removed", name);
        add_reason(r, removed);
    }
}

char *key_explain(const json_t *old, const json_t *new, const char *files, size_t parent_step)
{
    if (!old)
        return xstrdup("first build");
    struct reasons r = {.text = BUF_INIT};
    explain_fields(&r, old, new, files);
    if (r.n > SHOWN)
        buf_addf(&r.text, " and %zu more", r.n - SHOWN);
    if (!same_value(nth_field(old, "parent", 0), nth_field(new, "parent", 0))) {
        buf_addf(&r.text, "%sparent changed", r.n++ ? ", " : "");
        if (parent_step)
            buf_addf(&r.text, " (step %zu)", parent_step);
    }
    char *text = r.n ? xstrdup(r.text.data) : NULL;
    buf_clear(&r.text);
    return text;
}
