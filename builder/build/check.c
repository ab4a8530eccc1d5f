// SPDX-License-Identifier: MIT
//
// What can be said of an Imagefile before step 1, and of variables that only the build knows: those
// of a base image that was not in the backend when the build began.
#include "base/alloc.h"
#include "base/session.h"
#include "builder/build/base_env.h"
#include "builder/build/image_chain.h"
#include "builder/build/private.h"
#include "image/backend.h"
#include "image/known.h"
#include "image/spec.h"
#include "registry/reference.h"

#include <string.h>
#include <unistd.h>

static const char *given_arg(void *arg, struct str name)
{
    const struct build *b = arg;
    AUTO_FREE char *text = str_dup(name);
    return build_arg(b->s, b->o, text);
}

void check_variables(struct build *b)
{
    CLEANUP(base_env_clear) struct base_env env = {.dir = b->s->backend};
    struct imagefile_given given = {.build_args = {given_arg, b, NULL},
                                    .target = b->o->target,
                                    .image_env = base_env_get,
                                    .ctx = &env};
    imagefile_evaluate(b->file, &given);
}

/* Whether a step brings the image: "FROM name,file=…" and then "COPY --from=name". */
static bool is_brought(const struct build *b, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < b->file->n_steps; i++) {
        const struct imagefile_step *s = &b->file->steps[i];
        struct str raw = s->op == OP_FROM   ? s->from.image.raw
                         : s->op == OP_COPY ? s->copy.from.raw
                                            : (struct str){"", 0};
        if (raw.len > n && raw.ptr[n] == ',' && !memcmp(raw.ptr, name, n))
            return true;
    }
    return false;
}

/* Whether it is fetched when it is first used. What is wrong with a table, the step says. */
static bool is_known(const struct build *b, const char *name)
{
    CLEANUP(known_images_free) struct known_images known = {0};
    return b->o->pull != PULL_NEVER &&
           (known_images_read(b->s, &known, NULL) < 0 || known_images_find(&known, name));
}

static int no_file(const struct build *b, const char *file, const struct word *w,
                   struct error **err)
{
    unsigned line, column;
    source_place(&b->file->source, w->span.start, &line, &column);
    (void)error_errno(err, "cannot take an image from '%s'", file);
    return error_at(err, b->file_path, line, column);
}

int check_contexts(struct build *b, struct error **err)
{
    for (size_t i = 0; i < b->o->n_contexts; i++) {
        const struct named_context *c = &b->o->contexts[i];
        struct image_spec spec = {0};
        if (!c->image || reference_is(c->image) ||
            image_spec_parse(str_of(c->image), &spec, NULL) < 0)
            continue;
        AUTO_FREE char *of_step = image_step_name(b->s->backend, c->image);
        bool there = spec.kind != SPEC_NAME || backend_has(b->s->backend, spec.name) ||
                     (of_step && backend_has(b->s->backend, of_step)) || is_known(b, spec.name);
        image_spec_clear(&spec);
        if (there)
            continue;
        error_set(err, ERR_USER, "--build-context %s: '%s' is neither a folder nor an image here",
                  c->name, c->image);
        AUTO_FREE char *advice = known_images_advice(b->s, c->image, NULL);
        return error_hint(err, "%s", advice);
    }
    return 0;
}

int check_image(struct build *b, const char *name, const struct imagefile_step *step,
                const struct word *w, struct error **err)
{
    struct image_spec spec = {0};
    AUTO_FREE char *of_step = image_step_name(b->s->backend, name);
    if (of_step && backend_has(b->s->backend, of_step))
        return 0; // which steps there are is looked up when it is used
    if (reference_is(name) || image_spec_parse(str_of(name), &spec, NULL) < 0)
        return 0; // the step says what is wrong with it
    bool here = backend_has(b->s->backend, spec.name);
    bool there =
        spec.kind != SPEC_NAME || here || is_brought(b, spec.name) || is_known(b, spec.name);
    AUTO_FREE char *file = spec.kind == SPEC_FILE && !here ? xstrdup(spec.source) : NULL;
    image_spec_clear(&spec);
    if (file && access(file, F_OK) < 0)
        return no_file(b, file, w, err);
    if (there)
        return 0;
    unsigned line, column;
    size_t at = (size_t)(step - b->file->steps);
    bool near_stage, near_image;
    AUTO_FREE char *advice = imagefile_stage_advice(b->file, str_of(name), at, &near_stage);
    AUTO_FREE char *meant = known_images_advice(b->s, name, &near_image);
    bool stage = step->op != OP_FROM || near_stage;
    const char *help =
        stage && (!near_image || step->stage > 0) ? advice : meant; // stage 0 has none above
    source_place(&b->file->source, w->span.start, &line, &column);
    error_set(err, ERR_NOT_FOUND, "unable to find image '%s' in backend '%s'", name, b->s->backend);
    error_hint(err, "%s", help);
    return error_at(err, b->file_path, line, column);
}

void variable_missing(void *stage, struct str name, struct span at)
{
    struct stage_run *st = stage;
    AUTO_FREE char *text = str_dup(name);
    struct imagefile *f = st->build->file;
    if (settings_get(&st->unset, text) || f->diags.len >= DIAGS_MAX)
        return;
    for (size_t i = 0; i < f->diags.len; i++)
        if (f->diags.ptr[i].span.start == at.start && f->diags.ptr[i].span.end == at.end)
            return; // said before step 1
    AUTO_FREE char *help =
        xasprintf("set it above with ARG or ENV, or write ${%.60s:-} if it may be empty", text);
    imagefile_warn(f, RULE_UNDEFINED_VAR, at, help, "undefined variable '%.60s'", text);
    for (size_t i = 0; i < f->diags.len; i++)
        if (f->diags.ptr[i].span.start == at.start && f->diags.ptr[i].span.end == at.end)
            build_show_diagnostic(st->build, &f->diags.ptr[i]);
}
