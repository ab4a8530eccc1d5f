// SPDX-License-Identifier: MIT
//
// Which stages a build needs, and what FROM and --from stand for.
#include "base/alloc.h"
#include "base/session.h"
#include "builder/build/image_chain.h"
#include "builder/build/private.h"

#include <string.h>

static int need(struct build *b, struct stage_run *scope, size_t stage, struct error **err);

/* A stage that a --from names must be built before; what it names else must be an image. With a
 * variable that only the build knows, the step itself will find out. */
static int need_source(struct build *b, struct stage_run *scope, const struct word *w,
                       const char *name, size_t at, struct error **err)
{
    if (!word_given(w))
        return 0;
    AUTO_FREE char *plain = NULL;
    if (!name && !memchr(w->raw.ptr, '$', w->raw.len))
        name = plain = expand_word(b, scope, w, err);
    if (!name)
        return 0;
    const struct named_context *named = named_find(b, name);
    if (named)
        return named->dir ? 0 : check_image(b, named->image, &b->file->steps[at], w, err);
    size_t stage = imagefile_find_stage(b->file, str_of(name), at, true);
    if (stage == NO_STAGE)
        return check_image(b, name, &b->file->steps[at], w, err);
    return need(b, scope, stage, err);
}

static int need_base(struct build *b, struct stage_run *scope, size_t at, struct error **err)
{
    const struct word *w = &b->file->steps[at].from.image;
    AUTO_FREE char *name = expand_word(b, scope, w, err);
    if (!name)
        return -1;
    size_t stage = imagefile_find_stage(b->file, str_of(name), at, false);
    if (stage != NO_STAGE)
        return need(b, scope, stage, err);
    const struct named_context *named = named_find(b, name);
    if (named && named->dir) {
        error_set(err, ERR_USER, "the build context '%s' is a folder, not an image", name);
        return error_hint(err, "COPY --from=%s takes its files", name);
    }
    if (named)
        return check_image(b, named->image, &b->file->steps[at], w, err);
    return imagefile_is_scratch(name) ? 0 : check_image(b, name, &b->file->steps[at], w, err);
}

static int need_step(struct build *b, struct stage_run *scope, size_t at, struct error **err)
{
    const struct imagefile_step *step = &b->file->steps[at];
    if (step->op == OP_FROM)
        return need_base(b, scope, at, err);
    if (step->op == OP_COPY || step->op == OP_ADD)
        return need_source(b, scope, &step->copy.from, step->copy.from_name, at, err);
    for (size_t m = 0; step->op == OP_RUN && m < step->run.n_mounts; m++)
        if (need_source(b, scope, &step->run.mounts[m].fields[MOUNT_FROM],
                        step->run.mounts[m].from_name, at, err) < 0)
            return -1;
    return 0;
}

static int need(struct build *b, struct stage_run *scope, size_t stage, struct error **err)
{
    if (b->stages[stage].needed)
        return 0;
    b->stages[stage].needed = true;
    const struct imagefile_stage *info = &b->file->stages[stage];
    b->total += info->end - info->first;
    for (size_t i = info->first; i < info->end; i++)
        if (need_step(b, scope, i, err) < 0)
            return -1;
    return 0;
}

static void take_platform_args(struct build *b, struct stage_run *scope)
{
    for (size_t i = 0; i < IMAGEFILE_PLATFORM_ARGS; i++) {
        const char *name = imagefile_platform_args[i].name, *value = build_arg(b->s, b->o, name);
        if (!value && b->o->target && !strcmp(name, "TARGETSTAGE"))
            value = b->o->target;
        value = value ? value : imagefile_platform_args[i].value;
        settings_set(&b->global_args, name, value);
        settings_set(&scope->args, name, value);
    }
}

/* ARGs before the first FROM see only one another, and the platform's. */
static int take_global_args(struct build *b, struct stage_run *scope, struct error **err)
{
    take_platform_args(b, scope);
    for (size_t i = 0; i < b->file->n_steps; i++) {
        const struct imagefile_step *step = &b->file->steps[i];
        for (size_t p = 0; step->stage == NO_STAGE && step->op == OP_ARG && p < step->pairs.len;
             p++) {
            AUTO_FREE char *name = expand_word(b, scope, &step->pairs.ptr[p].name, err);
            if (!name)
                return -1;
            const char *given = build_arg(b->s, b->o, name);
            AUTO_FREE char *value = NULL;
            if (given)
                value = xstrdup(given);
            else if (word_given(&step->pairs.ptr[p].value))
                value = expand_word(b, scope, &step->pairs.ptr[p].value, err);
            else
                continue;
            if (!value)
                return -1;
            settings_set(&b->global_args, name, value);
            settings_set(&scope->args, name, value);
        }
    }
    return 0;
}

/* Whether a needed stage begins with an image. */
static bool uses_image(struct build *b, struct stage_run *scope)
{
    for (size_t i = 0; i < b->file->n_steps; i++) {
        const struct imagefile_step *step = &b->file->steps[i];
        if (step->op != OP_FROM || !b->stages[step->stage].needed)
            continue;
        AUTO_FREE char *name = expand_word(b, scope, &step->from.image, NULL);
        if (name && !imagefile_is_scratch(name) &&
            imagefile_find_stage(b->file, str_of(name), i, false) == NO_STAGE)
            return true;
    }
    return false;
}

/* What is built must be a disk: not a stage that only holds files, nor one that begins from it. */
static int check_target(struct build *b, struct stage_run *scope, size_t stage, struct error **err)
{
    for (;;) {
        size_t at = b->file->stages[stage].first;
        AUTO_FREE char *name = expand_word(b, scope, &b->file->steps[at].from.image, err);
        if (!name)
            return -1;
        size_t base = imagefile_find_stage(b->file, str_of(name), at, false);
        if (base == NO_STAGE)
            return imagefile_holds_files(b->file, stage, name)
                       ? imagefile_needs_disk(b->file, stage, err)
                       : 0;
        stage = base;
    }
}

/* --no-cache-filter */
static int take_no_cache(struct build *b, struct error **err)
{
    for (size_t i = 0; i < b->o->n_no_cache_stages; i++) {
        const char *name = b->o->no_cache_stages[i];
        size_t stage = imagefile_find_stage(b->file, str_of(name), b->file->n_steps, true);
        if (stage == NO_STAGE) {
            error_set(err, ERR_USER, "--no-cache-filter: no stage '%s' in '%s'", name,
                      b->file_path);
            AUTO_FREE char *advice =
                imagefile_stage_advice(b->file, str_of(name), b->file->n_steps, NULL);
            return error_hint(err, "%s", advice);
        }
        b->stages[stage].no_cache = true;
    }
    return 0;
}

int stages_choose(struct build *b, struct error **err)
{
    struct stage_run scope = {0};
    int rc = take_global_args(b, &scope, err);
    size_t target = b->file->n_stages - 1;
    if (rc == 0 && b->o->target) {
        target = imagefile_find_stage(b->file, str_of(b->o->target), b->file->n_steps, true);
        if (target == NO_STAGE) {
            bool near;
            AUTO_FREE char *advice =
                imagefile_stage_advice(b->file, str_of(b->o->target), b->file->n_steps, &near);
            rc = error_set(err, ERR_USER, "no stage '%s' in '%s'", b->o->target, b->file_path);
            error_hint(err, "%s",
                       near ? advice : "--target takes a name given with FROM … AS NAME");
        }
    }
    if (rc == 0)
        rc = need(b, &scope, target, err);
    if (rc == 0)
        rc = check_target(b, &scope, target, err);
    if (rc == 0)
        rc = take_no_cache(b, err);
    if (rc == 0 && b->o->checksum && !uses_image(b, &scope)) {
        rc = error_set(err, ERR_USER, "the checksum cannot be applied: no FROM of '%s' is an image",
                       b->file_path);
        error_hint(err, "--checksum is about the image that FROM names");
    }
    settings_clear(&scope.args);
    return rc;
}

static bool was_pulled(const struct build *b, const char *text)
{
    for (size_t i = 0; i < b->pulled.len; i++)
        if (!strcmp(b->pulled.ptr[i], text))
            return true;
    return false;
}

/* By the text, and by the name that it gives the image. */
void note_pulled(struct build *b, const char *text)
{
    strv_add(&b->pulled, text);
    strv_add_take(&b->pulled, xstrndup(text, strcspn(text, ",")));
}

int image_disk(struct build *b, const char *text, struct disk_state *ret, struct config *config,
               struct error **err)
{
    CLEANUP(image_chain_clear) struct image_chain chain = {0};
    const struct named_context *named = named_find(b, text);
    text = named && named->image ? named->image : text;
    struct image_request r = {.ref = text,
                              .pull = was_pulled(b, text) ? PULL_NEVER : b->o->pull,
                              .checksum = config ? b->o->checksum : NULL,
                              .transfer = b->o->transfer};
    if (image_chain_find(b->s, b->store, &r, &chain, err) < 0)
        return -1;
    note_pulled(b, text);
    AUTO_FREE char *id = image_chain_layer(b->s, b->store, &chain, err);
    if (!id)
        return -1;
    memcpy(ret->id, id, sizeof ret->id);
    ret->size = chain.size;
    json_decref(ret->mounts);
    ret->mounts = json_incref(json_object_get(chain.metadata, "mounts"));
    if (config)
        config_from_json(config, json_object_get(chain.metadata, "config"));
    return 0;
}

int stage_source(struct build *b, const char *name, struct disk_state *ret, struct error **err)
{
    size_t at = (size_t)(b->current - b->file->steps);
    size_t stage = imagefile_find_stage(b->file, str_of(name), at, true);
    if (stage == NO_STAGE && image_disk(b, name, ret, NULL, err) < 0)
        return -1;
    if (stage != NO_STAGE && !b->stages[stage].done) {
        error_set(err, ERR_USER, "the stage '%s' was not built: that it is needed shows only now",
                  name);
        return error_hint(err, "give the variable of --from a value with ARG or ENV in this stage");
    }
    if (stage != NO_STAGE)
        disk_state_copy(ret, &b->stages[stage].disk);
    strv_add(&b->sources, ret->id);
    return 0;
}

int stage_from(struct build *b, struct stage_run *st, const struct imagefile_step *step,
               struct error **err)
{
    st->from = b->step;
    // FROM sees the ARGs before the first FROM, and only those
    struct stage_run scope = {.args = b->global_args};
    AUTO_FREE char *name = expand_word(b, &scope, &step->from.image, err);
    if (!name)
        return -1;
    size_t at = (size_t)(step - b->file->steps);
    size_t stage = imagefile_find_stage(b->file, str_of(name), at, false);
    st->files = imagefile_holds_files(b->file, step->stage, name);
    if (!st->files)
        step_shown(b, step, STEP_META, NULL);
    if (stage == NO_STAGE && imagefile_check_from(b->file, step->stage, name, err) < 0)
        return -1;
    if (imagefile_is_scratch(name))
        return st->files ? step_files(b, st, step, err) : 0;
    if (stage == NO_STAGE)
        return image_disk(b, name, &st->disk, &st->config, err);
    st->files = b->stages[stage].files;
    disk_state_copy(&st->disk, &b->stages[stage].disk);
    config_copy(&st->config, &b->stages[stage].config);
    settings_copy(&st->args, &b->stages[stage].args);
    settings_copy(&st->unset, &b->stages[stage].unset);
    return 0;
}
