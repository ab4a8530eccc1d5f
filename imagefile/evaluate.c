// SPDX-License-Identifier: MIT
// Walks the stages as a build would, with what the text and --build-arg say about variables: reports
// what is wrong with FROM, DISK and PARTITION, which stage a --from means, and variables that
// nothing sets. What a base image's ENV holds is asked for; where nobody knows it, only names that
// look like a mistake are reported. The work is bounded: a text that would take too long is walked
// to the end by the build alone.
#include "imagefile/parser.h"
#include "imagefile/scope.h"

#include "base/alloc.h"

enum {
    VARIABLES_MAX = 1000, // of a scope: they are searched one by one
    WORK_MAX = 200000000, // variables looked at, bytes made
};

struct evaluation {
    struct imagefile *f;
    const struct imagefile_given *given;
    struct scope globals, *stages;
    struct scope *scope; /* the one that words are expanded in */
    size_t step;         /* whose words they are */
    bool unknown;        /* the last word held a variable that only the build knows */
    size_t work;
};

static bool too_much(const struct evaluation *e)
{
    return e->work > WORK_MAX;
}

static const char *get(void *ctx, struct str name)
{
    struct evaluation *e = ctx;
    const struct variable *v = scope_find(e->scope, name);
    e->work += e->scope->vars.len + 1;
    e->unknown |= v ? v->unknown : e->scope->open;
    return v ? variable_value(v) : NULL;
}

/* What may be meant by a variable that nothing sets; NULL: nobody knows. In the arena. */
static const char *advice(struct evaluation *e, struct str name)
{
    const struct imagefile *f = e->f;
    struct str clip = str_clip(name);
    bool global = e->scope == &e->globals;
    if (!global && scope_find(&e->globals, name))
        return arena_fmt(f->arena, "declare it above with ARG " STR_FMT " in this stage",
                         STR_ARG(clip))
            .ptr;
    e->work += f->n_steps;
    for (size_t i = 0; i < f->n_steps; i++) {
        const struct imagefile_step *s = &f->steps[i];
        for (size_t j = 0; (s->op == OP_ARG || s->op == OP_ENV) && j < s->pairs.len; j++)
            if (i != e->step && str_eq(s->pairs.ptr[j].name.raw, name))
                return arena_fmt(f->arena, "%s " STR_FMT " on line %u is %s",
                                 imagefile_op_name(s->op), STR_ARG(clip), s->line,
                                 global ? "below: FROM sees only the ARGs above the first FROM"
                                 : s->stage == f->steps[e->step].stage ? "below it"
                                                                       : "in another stage")
                    .ptr;
    }
    e->work += 1000 * e->scope->vars.len;
    const char *near = scope_nearest(e->scope, name);
    return near ? arena_fmt(f->arena, "did you mean $%s?", near).ptr : NULL;
}

static void missing(void *ctx, struct str name, struct span at)
{
    struct evaluation *e = ctx;
    if (too_much(e))
        return;
    const struct imagefile_step *s = &e->f->steps[e->step];
    bool declared = scope_find(e->scope, name);
    if (declared && s->op != OP_FROM)
        return;
    const char *help = declared ? NULL : advice(e, name);
    if (!declared && !help && e->scope->open)
        return;
    struct str clip = str_clip(name);
    struct diag *d = diag_warn(
        &e->f->diags, &e->f->source,
        s->op == OP_FROM ? RULE_UNDEFINED_ARG_IN_FROM : RULE_UNDEFINED_VAR, at,
        declared ? "the ARG '" STR_FMT "' has no value here" : "undefined variable '" STR_FMT "'",
        STR_ARG(clip));
    if (declared)
        diag_help(d, "give it a default, or build with --build-arg " STR_FMT "=…", STR_ARG(clip));
    else if (help)
        diag_help(d, "%s", help);
    else
        diag_help(d, "set it above with ARG or ENV, or write ${" STR_FMT ":-} if it may be empty",
                  STR_ARG(clip));
}

/* An expanded word; NULL if that fails or the word is absent. The caller owns it. */
static char *value_of(struct evaluation *e, const struct word *w, struct error **err)
{
    struct imagefile_vars vars = {get, e, missing};
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    e->unknown = false;
    if (!word_given(w) || imagefile_expand(e->f, w, &vars, &out, err) < 0)
        return NULL;
    e->work += out.len;
    return buf_detach(&out, NULL);
}

static void look_at(struct evaluation *e, const struct word *w)
{
    if (word_given(w) && w->mode != WORD_LITERAL && memchr(w->raw.ptr, '$', w->raw.len))
        free(value_of(e, w, NULL));
}

/* The value of a word that no base image can change, in the arena; else NULL. */
static const char *known(struct evaluation *e, const struct word *w)
{
    AUTO_FREE char *value = value_of(e, w, NULL);
    bool open = e->scope->open && w->mode != WORD_LITERAL && word_given(w) &&
                memchr(w->raw.ptr, '$', w->raw.len);
    return value && !e->unknown && !open ? arena_str(e->f->arena, str_of(value)).ptr : NULL;
}

static void take_arg(struct evaluation *e, struct scope *scope, const struct pair *p)
{
    struct imagefile *f = e->f;
    struct str name = p->name.raw;
    const char *given = e->given->build_args.get(e->given->build_args.ctx, name);
    const struct variable *global = scope == &e->globals ? NULL : scope_find(&e->globals, name);
    char *value = given ? xstrdup(given) : value_of(e, &p->value, NULL);
    bool unknown = !given && e->unknown;
    if (scope->vars.len >= VARIABLES_MAX)
        e->work += WORK_MAX;
    struct variable *v = scope_add(scope, f->arena, name);
    if (value)
        v->arg = arena_str(f->arena, str_of(value)).ptr;
    else if (global)
        v->arg = global->arg;
    v->unknown = unknown && !v->env;
    free(value);
}

/* All values see the variables as they were before the instruction. */
static void take_env(struct evaluation *e, const struct imagefile_step *s)
{
    struct arena *a = e->f->arena;
    AUTO_FREE struct variable *fresh = xcalloc(s->pairs.len, sizeof *fresh);
    for (size_t i = 0; i < s->pairs.len; i++) {
        AUTO_FREE char *name = value_of(e, &s->pairs.ptr[i].name, NULL);
        AUTO_FREE char *value = value_of(e, &s->pairs.ptr[i].value, NULL);
        fresh[i] = (struct variable){.name = name ? arena_str(a, str_of(name)).ptr : NULL,
                                     .env = arena_str(a, str_of(value ? value : "")).ptr,
                                     .unknown = e->unknown};
    }
    for (size_t i = 0; i < s->pairs.len && s->op == OP_ENV; i++) {
        if (!fresh[i].name)
            continue;
        struct variable *v = scope_add(e->scope, a, str_of(fresh[i].name));
        v->env = fresh[i].env;
        v->unknown = fresh[i].unknown;
    }
    if (e->scope->vars.len > VARIABLES_MAX)
        e->work += WORK_MAX;
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
static void check_disk(struct evaluation *e, size_t stage)
{
    const struct imagefile_stage *st = &e->f->stages[stage];
    struct imagefile_vars vars = {get, e, NULL};
    struct disk_spec disk = {0};
    AUTO_FREE struct partition_spec *parts = xcalloc(st->end - st->first, sizeof *parts);
    size_t n = 0;
    CLEANUP(error_freep) struct error *err = NULL;
    for (size_t i = st->first; i < st->end && !err; i++) {
        if (e->f->steps[i].op == OP_DISK) {
            if (imagefile_disk(e->f, &e->f->steps[i], &vars, &disk, &err) == 0)
                imagefile_check_new_disk(e->f, &e->f->steps[i], &disk, &err);
        } else if (e->f->steps[i].op == OP_PARTITION &&
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

/* A DISK that makes an image's disk larger. */
static void check_growth(struct evaluation *e, const struct imagefile_step *step)
{
    struct imagefile_vars vars = {get, e, NULL};
    struct disk_spec disk;
    CLEANUP(error_freep) struct error *err = NULL;
    if (imagefile_disk(e->f, step, &vars, &disk, &err) < 0)
        report(e->f, err);
}

/* What to do about an image that is nowhere, owned, or NULL. */
static char *missing_image(struct evaluation *e, const char *name)
{
    return e->given->image_missing ? e->given->image_missing(e->given->ctx, name) : NULL;
}

/* A --from: a stage above, or an image. */
static void check_source(struct evaluation *e, const char *name, const struct word *w)
{
    CLEANUP(error_freep) struct error *err = NULL;
    bool stage = imagefile_find_stage(e->f, str_of(name), e->step, true) != NO_STAGE;
    if (stage)
        return;
    struct diag *d = NULL;
    AUTO_FREE char *missing = missing_image(e, name);
    if (imagefile_check_source(e->f, str_of(name), e->step, &err) < 0)
        d = diag_add(&e->f->diags, &e->f->source, DIAG_ERROR, w->span, "%s", err->message);
    else if (missing)
        d = diag_warn(&e->f->diags, &e->f->source, RULE_UNKNOWN_IMAGE, w->span,
                      "'%.60s' is neither a stage above nor an image", name);
    AUTO_FREE char *help = d ? imagefile_stage_advice(e->f, str_of(name), e->step, NULL) : NULL;
    // in the first stage no other can be meant
    const char *better = missing && !err && e->f->steps[e->step].stage == 0 ? missing : help;
    if (better)
        diag_help(d, "%s", better);
}

/* Returns what --from names, in the arena; NULL: only the build will know. */
static const char *take_source(struct evaluation *e, const struct word *w)
{
    AUTO_FREE char *name = value_of(e, w, NULL);
    if (!name || e->unknown)
        return NULL;
    check_source(e, name, w);
    return arena_str(e->f->arena, str_of(name)).ptr;
}

/* The user and the group of --chown and USER, where they are numbers. */
static void check_owner(struct evaluation *e, const struct word *w)
{
    const char *value = known(e, w);
    struct str group = value ? str_of(value) : STR(""), user = str_cut(&group, ':');
    if (!id_too_large(user) && !id_too_large(group))
        return;
    struct str wrong = str_clip(id_too_large(user) ? user : group);
    diag_help(diag_add(&e->f->diags, &e->f->source, DIAG_ERROR, w->span,
                       "'" STR_FMT "' is not the number of a user or group", STR_ARG(wrong)),
              "it is at most 4294967294");
}

static void visit_copy(struct evaluation *e, struct imagefile_step *s)
{
    struct copy_args *c = &s->copy;
    const struct word *words[] = {&c->dest, &c->chmod, &c->platform};
    struct imagefile_vars vars = {get, e, missing};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        look_at(e, words[i]);
    for (size_t i = 0; i < c->excludes.len; i++)
        look_at(e, &c->excludes.ptr[i]);
    for (size_t i = 0; i < c->n_sources; i++) {
        const struct heredoc *h = c->sources[i].heredoc;
        CLEANUP(buf_clear) struct buf out = BUF_INIT;
        c->sources[i].known = known(e, &c->sources[i].path);
        if (h && memchr(h->body.ptr, '$', h->body.len))
            imagefile_expand_heredoc(e->f, h, &vars, &out, NULL);
        e->work += out.len;
    }
    check_owner(e, &c->chown);
    c->checksum_known = known(e, &c->checksum);
    if (word_given(&c->from))
        c->from_name = take_source(e, &c->from);
}

/* What a mount needs of the build, if all its fields are known. */
static void take_needs(struct evaluation *e, struct run_mount *m)
{
    struct imagefile_vars vars = {get, e, NULL};
    struct mount_spec spec = {0};
    for (size_t i = 0; i < MOUNT_FIELDS && e->scope->open; i++)
        if (word_given(&m->fields[i]) && memchr(m->fields[i].raw.ptr, '$', m->fields[i].raw.len))
            return;
    e->unknown = false;
    if (imagefile_mount(e->f, m, &vars, &spec, NULL) < 0 || e->unknown) {
        mount_spec_clear(&spec);
        return;
    }
    if (spec.type == MOUNT_BIND && !spec.from && spec.source)
        m->bind_source = arena_str(e->f->arena, str_of(spec.source)).ptr;
    if (spec.type == MOUNT_SECRET && spec.required)
        m->needs_secret = arena_str(e->f->arena, str_of(spec.id)).ptr;
    if (spec.type == MOUNT_SSH && spec.required)
        m->needs_ssh = arena_str(e->f->arena, str_of(spec.id)).ptr;
    mount_spec_clear(&spec);
}

static void visit_run(struct evaluation *e, struct imagefile_step *s)
{
    for (size_t i = 0; i < s->run.n_mounts; i++) {
        struct run_mount *m = &s->run.mounts[i];
        for (size_t j = 0; j < MOUNT_FIELDS; j++)
            if (j != MOUNT_FROM)
                look_at(e, &m->fields[j]);
        if (word_given(&m->fields[MOUNT_FROM]))
            m->from_name = take_source(e, &m->fields[MOUNT_FROM]);
        take_needs(e, m);
    }
}

static void visit(struct evaluation *e, struct imagefile_step *s)
{
    switch (s->op) {
    case OP_ARG:
        for (size_t i = 0; i < s->pairs.len; i++)
            take_arg(e, e->scope, &s->pairs.ptr[i]);
        break;
    case OP_ENV:
    case OP_LABEL:
        take_env(e, s);
        break;
    case OP_COPY:
    case OP_ADD:
        visit_copy(e, s);
        break;
    case OP_RUN:
        visit_run(e, s);
        break;
    case OP_WORKDIR:
        look_at(e, &s->word);
        break;
    case OP_USER:
        check_owner(e, &s->word);
        break;
    case OP_DISK:
    case OP_PARTITION:
        for (size_t i = 0; i < s->words.len; i++)
            look_at(e, &s->words.ptr[i]);
        break;
    case OP_EXPOSE:
    case OP_VOLUME:
    case OP_STOPSIGNAL:
        for (size_t i = 0; i < s->words.len; i++)
            look_at(e, &s->words.ptr[i]);
        break;
    case OP_FROM:
    case OP_SHELL:
    case OP_INSPECT:
    case OP_CMD:
    case OP_ENTRYPOINT:
    case OP_HEALTHCHECK:
    case OP_MAINTAINER:
    case OP_COUNT:
        break;
    }
}

static void take_image_env(struct evaluation *e, const char *image)
{
    const json_t *env = e->given->image_env ? e->given->image_env(e->given->ctx, image) : NULL;
    const char *name;
    json_t *value;
    e->scope->open = !env;
    json_object_foreach ((json_t *)env, name, value) {
        struct variable *v = scope_add(e->scope, e->f->arena, str_of(name));
        v->env = json_is_string(value)
                     ? arena_str(e->f->arena, str_of(json_string_value(value))).ptr
                     : "";
    }
}

static void check_platform(struct evaluation *e, const struct word *w)
{
    AUTO_FREE char *platform = value_of(e, w, NULL);
    if (platform && !e->unknown && memchr(w->raw.ptr, '$', w->raw.len) &&
        !imagefile_platform_ours(platform))
        diag_help(diag_add(&e->f->diags, &e->f->source, DIAG_ERROR, w->span,
                           "unsupported platform '%.60s'", platform),
                  "the builder VM and its images are linux/amd64");
}

/* Opens e->scope for a stage as its FROM says; false: there is something wrong with it. */
static bool begin_stage(struct evaluation *e, size_t stage, bool *ret_scratch)
{
    const struct imagefile_stage *st = &e->f->stages[stage];
    CLEANUP(error_freep) struct error *err = NULL;
    e->scope = &e->globals;
    e->step = st->first;
    check_platform(e, &e->f->steps[st->first].from.platform);
    size_t warnings = e->f->diags.warnings;
    AUTO_FREE char *image = value_of(e, &e->f->steps[st->first].from.image, &err);
    size_t base = image ? imagefile_find_stage(e->f, str_of(image), st->first, false) : NO_STAGE;
    e->scope = &e->stages[stage];
    if (!image || (base == NO_STAGE && imagefile_check_from(e->f, stage, image, &err) < 0)) {
        report(e->f, err);
        e->scope->open = true;
        return false;
    }
    if (base != NO_STAGE) {
        scope_copy(e->scope, &e->stages[base]);
        e->work += e->scope->vars.len * sizeof(struct variable);
        return true;
    }
    struct variable *path = scope_add(e->scope, e->f->arena, STR("PATH"));
    path->env = imagefile_default_path;
    *ret_scratch = imagefile_is_scratch(image);
    if (*ret_scratch)
        return true;
    take_image_env(e, image);
    // a name that lacks a variable's value is not the one that is meant
    bool whole = !e->unknown && e->f->diags.warnings == warnings;
    AUTO_FREE char *missing = whole ? missing_image(e, image) : NULL;
    bool near = false;
    AUTO_FREE char *above = imagefile_stage_advice(e->f, str_of(image), st->first, &near);
    const char *help = missing && near ? above : missing;
    if (help)
        diag_help(
            diag_warn(&e->f->diags, &e->f->source, RULE_UNKNOWN_IMAGE,
                      e->f->steps[st->first].from.image.span,
                      "the image '%.60s' is not in the backend, and nothing says where to fetch it",
                      image),
            "%s", help);
    return true;
}

static void evaluate_stage(struct evaluation *e, size_t stage)
{
    const struct imagefile_stage *st = &e->f->stages[stage];
    bool scratch = false, good = begin_stage(e, stage, &scratch), disk = false;
    for (size_t i = st->first; i < st->end && !too_much(e); i++) {
        e->step = i;
        if (e->f->steps[i].op == OP_DISK && good && !scratch)
            check_growth(e, &e->f->steps[i]);
        if (e->f->steps[i].op == OP_DISK && scratch && !disk) {
            disk = true;
            check_disk(e, stage); // only ARGs of this stage may stand before it
        }
        visit(e, &e->f->steps[i]);
    }
}

void imagefile_evaluate(struct imagefile *f, const struct imagefile_given *given)
{
    if (f->diags.errors)
        return;
    struct evaluation e = {.f = f, .given = given};
    e.stages = xcalloc(f->n_stages, sizeof *e.stages);
    e.scope = &e.globals;
    for (size_t i = 0; i < IMAGEFILE_PLATFORM_ARGS; i++) {
        struct str name = str_of(imagefile_platform_args[i].name);
        const char *value = given->build_args.get(given->build_args.ctx, name);
        if (!value && given->target && str_is(name, "TARGETSTAGE"))
            value = given->target;
        scope_add(&e.globals, f->arena, name)->arg =
            value ? arena_str(f->arena, str_of(value)).ptr : imagefile_platform_args[i].value;
    }
    for (size_t i = 0; i < f->n_steps && f->steps[i].stage == NO_STAGE; i++) {
        e.step = i;
        visit(&e, &f->steps[i]);
    }
    for (size_t i = 0; i < f->n_stages && !too_much(&e); i++)
        evaluate_stage(&e, i);
    for (size_t i = 0; i < f->n_stages; i++)
        scope_clear(&e.stages[i]);
    free(e.stages);
    scope_clear(&e.globals);
    diags_sort(&f->diags);
}
