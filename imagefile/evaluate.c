// SPDX-License-Identifier: MIT
// Gives ARGs their values as a build would and reports what they break in FROM, DISK and PARTITION.
// These see no ENV: only ARG may stand before them. Elsewhere the base image's ENV counts too,
// which nobody knows before the build.
#include "imagefile/parser.h"

struct variable {
    struct str name;
    const char *value; /* in the arena */
};
DEFINE_VECTOR(variables, struct variable);

enum { VARIABLES_MAX = 1000 }; // they are searched one by one; who has more is not evaluated

struct evaluation {
    struct imagefile *f;
    const struct imagefile_vars *given;
    struct variables globals, locals;
    bool too_many;
};

static struct variable *find(const struct variables *v, struct str name)
{
    vec_foreach (struct variable *, p, v)
        if (str_eq(p->name, name))
            return p;
    return NULL;
}

static const char *get(void *ctx, struct str name)
{
    const struct variable *v = find(ctx, name);
    return v ? v->value : NULL;
}

static void set(struct evaluation *e, struct variables *v, struct str name, const char *value)
{
    struct variable *there = find(v, name);
    e->too_many |= !there && v->len >= VARIABLES_MAX;
    if (e->too_many)
        return;
    if (!there)
        there = variables_push(v);
    *there = (struct variable){name, value};
}

/* An expanded word in the arena; NULL if that fails. */
static const char *value_of(struct evaluation *e, struct variables *scope, const struct word *w)
{
    struct imagefile_vars vars = {.get = get, .ctx = scope};
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    if (imagefile_expand(e->f, w, &vars, &out, NULL) < 0)
        return NULL;
    return arena_copy(e->f->arena, out.data, out.len);
}

static void take_arg(struct evaluation *e, struct variables *scope, const struct pair *p)
{
    struct str name = p->name.raw;
    const char *value = e->given->get(e->given->ctx, name);
    if (value)
        value = arena_str(e->f->arena, str_of(value)).ptr;
    else if (word_given(&p->value))
        value = value_of(e, scope, &p->value);
    else
        value = get(&e->globals, name);
    if (value)
        set(e, scope, name, value);
}

static void report(struct imagefile *f, const struct error *err)
{
    struct source *s = &f->source;
    size_t at = s->line_start[err->loc.line - 1] + err->loc.column - 1, end = at;
    while (end < s->len && !strchr(" \t\r\n", s->text[end]))
        end++;
    struct diag *d = diag_add(&f->diags, s, DIAG_ERROR, (struct span){at, end}, "%s", err->message);
    if (err->hint)
        diag_help(d, "%s", err->hint);
}

/* DISK and PARTITION of one stage; the words without variables were checked when they were parsed.
 */
static void check_disk(struct evaluation *e, size_t stage, struct variables *scope)
{
    const struct imagefile_stage *st = &e->f->stages[stage];
    struct imagefile_vars vars = {.get = get, .ctx = scope};
    struct disk_spec disk = {0};
    AUTO_FREE struct partition_spec *parts = xcalloc(st->end - st->first, sizeof *parts);
    size_t n = 0;
    CLEANUP(error_freep) struct error *err = NULL;
    for (size_t i = st->first; i < st->end && !err; i++) {
        if (e->f->steps[i].op == OP_DISK)
            imagefile_disk(e->f, &e->f->steps[i], &vars, &disk, &err);
        else if (e->f->steps[i].op == OP_PARTITION &&
                 imagefile_partition(e->f, &e->f->steps[i], &vars, &parts[n], &err) == 0)
            n++;
    }
    if (!err && disk.size)
        imagefile_check_disk(e->f, stage, &disk, parts, n, &err);
    if (err)
        report(e->f, err);
    for (size_t i = 0; i < n; i++)
        partition_spec_clear(&parts[i]);
}

static void evaluate_stage(struct evaluation *e, size_t stage)
{
    const struct imagefile_stage *st = &e->f->stages[stage];
    struct imagefile_vars vars = {.get = get, .ctx = &e->globals};
    CLEANUP(buf_clear) struct buf image = BUF_INIT;
    CLEANUP(error_freep) struct error *err = NULL;
    if (imagefile_expand(e->f, &e->f->steps[st->first].from.image, &vars, &image, &err) < 0 ||
        imagefile_check_from(e->f, stage, image.data, &err) < 0) {
        report(e->f, err);
        return;
    }
    if (!imagefile_is_scratch(image.data))
        return;
    e->locals.len = 0; // an ARG without a default takes up the global one
    for (size_t i = st->first; i < st->end && e->f->steps[i].op != OP_DISK; i++)
        for (size_t j = 0; e->f->steps[i].op == OP_ARG && j < e->f->steps[i].pairs.len; j++)
            take_arg(e, &e->locals, &e->f->steps[i].pairs.ptr[j]);
    if (!e->too_many)
        check_disk(e, stage, &e->locals);
}

void imagefile_evaluate(struct imagefile *f, const struct imagefile_vars *build_args)
{
    if (f->diags.errors)
        return;
    struct evaluation e = {.f = f, .given = build_args};
    for (size_t i = 0; i < f->n_steps && f->steps[i].stage == NO_STAGE; i++)
        for (size_t j = 0; f->steps[i].op == OP_ARG && j < f->steps[i].pairs.len; j++)
            take_arg(&e, &e.globals, &f->steps[i].pairs.ptr[j]);
    for (size_t i = 0; i < f->n_stages && !e.too_many; i++)
        evaluate_stage(&e, i);
    variables_clear(&e.globals);
    variables_clear(&e.locals);
    diags_sort(&f->diags);
}
