// SPDX-License-Identifier: MIT
//
// Walks the steps of the stages that the target needs, in file order. Instructions that only change
// what is known (ARG, ENV…) are setting.c; the others go to step.c and run.c, which end
// in step_layer: find the layer of the step's key, or carry the step out and commit its overlay.
// After every step, failed ones too, the build's history is complete in b->record, so that the next
// build can say what changed and `kiln shell NAME@STEP` finds every state.
#include "builder/build/build.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/lock.h"
#include "base/session.h"
#include "base/source.h"
#include "builder/build/precheck.h"
#include "builder/build/prefetch.h"
#include "builder/build/private.h"
#include "builder/worker/guestfs.h"
#include "builder/worker/runner.h"
#include "cache/history.h"
#include "image/backend.h"
#include "image/convert.h"
#include "image/name.h"

#include <limits.h>
#include <time.h>
#include <unistd.h>

void build_result_clear(struct build_result *r)
{
    free(r->name);
    free(r->file);
    free(r->layer);
    *r = (struct build_result){0};
}

void build_output(void *build, int stream, const char *bytes, size_t n)
{
    struct build *b = build;
    CLEANUP(error_freep) struct error *err = NULL;
    if (step_log_add(&b->log, bytes, n, &err) < 0)
        session_debug(b->s, 1, "%s", err->message);
    session_output(b->s, stream, bytes, n);
}

char *step_text(const struct imagefile_step *step)
{
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    source_add_utf8(&out, step->text);
    return buf_detach(&out, NULL);
}

void step_shown(struct build *b, const struct imagefile_step *step, enum step_state state,
                const char *why)
{
    if (b->ui->step)
        b->ui->step(b->ui->arg, b->step, b->total, step->text.ptr, state, why);
}

int build_context(struct build *b, struct error **err)
{
    if (b->ctx)
        return 0;
    CLEANUP(strv_clear) struct strv hidden = {0};
    if (b->o->local)
        strv_addf(&hidden, "%s.qcow2", b->name);
    for (size_t i = 0; i < b->o->n_products; i++)
        context_hide(b->o->dir, b->o->products[i], &hidden);
    struct context_options o = {
        .dir = b->o->dir, .imagefile = b->imagefile, .shown = b->o->shown_dir, .hidden = &hidden};
    return context_open(b->s, &o, &b->ctx, err);
}

static int do_step(struct build *b, struct stage_run *st, size_t i, struct error **err)
{
    const struct imagefile_step *step = &b->file->steps[i];
    if (step_is_setting(step->op) || imagefile_is_note(step->op))
        step_shown(b, step, STEP_META, NULL);
    switch (step->op) {
    case OP_FROM:
        return stage_from(b, st, step, err);
    case OP_DISK:
        return step_disk(b, st, step, err);
    case OP_PARTITION: {
        bool last =
            i + 1 == b->file->stages[step->stage].end || b->file->steps[i + 1].op != OP_PARTITION;
        return step_partition(b, st, step, last, err);
    }
    case OP_COPY:
    case OP_ADD:
        return step_copy(b, st, step, err);
    case OP_RUN:
        return step_run(b, st, step, err);
    case OP_ARG:
    case OP_ENV:
    case OP_LABEL:
    case OP_USER:
    case OP_SHELL:
        return step_setting(b, st, step, err);
    case OP_WORKDIR:
        return step_workdir(b, st, step, err);
    case OP_INSPECT:
        return step_inspect(b, st, step, err);
    case OP_CMD:
    case OP_ENTRYPOINT:
    case OP_EXPOSE:
    case OP_VOLUME:
    case OP_HEALTHCHECK:
    case OP_STOPSIGNAL:
    case OP_MAINTAINER:
        return step_note(b, st, step, err);
    case OP_COUNT:
        break;
    }
    return 0;
}

static int walk(struct build *b, struct error **err)
{
    for (size_t i = 0; i < b->file->n_steps; i++) {
        const struct imagefile_step *step = &b->file->steps[i];
        if (step->stage == NO_STAGE)
            continue; // ARGs before the first FROM: stages_choose took them
        struct stage_run *st = &b->stages[step->stage];
        if (!st->needed)
            continue;
        if (session_cancelled(b->s))
            return error_set(err, ERR_CANCELLED, "interrupted");
        b->step++;
        b->current = step;
        strv_clear(&b->sources);
        if (do_step(b, st, i, err) < 0) {
            error_at(err, b->file_path, step->line, step->column);
            return -1;
        }
        st->done = i + 1 == b->file->stages[step->stage].end;
        if (remote_store(b, st, err) < 0)
            return -1;
        AUTO_FREE char *text = step_text(step);
        record_shown(&b->record, b->step, text, st->disk.id);
    }
    return 0;
}

struct stage_run *target_stage(struct build *b)
{
    for (size_t i = b->file->n_stages; i-- > 0;)
        if (b->stages[i].needed)
            return &b->stages[i];
    return NULL;
}

static char *image_metadata(struct build *b, struct stage_run *st)
{
    json_auto_t *m = json_pack("{s:s, s:I, s:o, s:O, s:s}", "kiln", KILN_VERSION, "created",
                               (json_int_t)time(NULL), "config", config_to_json(&st->config),
                               "steps", b->record.shown, "name", b->name);
    if (st->disk.mounts)
        (void)json_object_set(m, "mounts", st->disk.mounts);
    char *text = json_text(m);
    if (strlen(text) <= 60000)
        return text;
    // a very long Imagefile: what FROM needs stays, `image history` then shows the layers only
    free(text);
    (void)json_object_del(m, "steps");
    return json_text(m);
}

static int export_local(struct build *b, struct stage_run *st, const char *metadata,
                        struct build_result *ret, struct error **err)
{
    AUTO_FREE char *base = xasprintf("%s.qcow2", b->name);
    AUTO_FREE char *path = path_join(b->o->dir, base);
    CLEANUP(strv_clear) struct strv chain = {0};
    if (store_chain(b->store, st->disk.id, &chain, err) < 0)
        return -1;
    struct image_export o = {.format = FORMAT_QCOW2};
    struct image_content c = {&chain, st->disk.size, metadata};
    if (image_export_chain(b->s, &c, path, &o, err) < 0)
        return error_wrap(err, "cannot store '%s'", path);
    ret->file = STEAL(path);
    return 0;
}

/* --label, as a LABEL below the last step would. */
static int add_labels(struct build *b, struct stage_run *st, struct error **err)
{
    for (size_t i = 0; i < b->o->n_labels; i++) {
        const char *given = b->o->labels[i], *eq = strchr(given, '=');
        AUTO_FREE char *name = xstrndup(given, strcspn(given, "="));
        if (check_utf8("--label", given, err) < 0)
            return -1;
        settings_set(&st->config.labels, name, eq ? eq + 1 : "");
    }
    return 0;
}

static int finish(struct build *b, struct build_result *ret, struct error **err)
{
    struct stage_run *st = target_stage(b);
    if (add_labels(b, st, err) < 0)
        return -1;
    AUTO_FREE char *metadata = image_metadata(b, st);
    long long start = now_us();
    if (b->o->local) {
        if (export_local(b, st, metadata, ret, err) < 0)
            return -1;
    } else {
        struct backend_thin thin = {.layer = st->disk.id, .metadata = metadata};
        if (backend_register_thin(b->s->backend, b->name, &thin, err) < 0)
            return -1;
        if (store_drop_failed(b->store, b->name, err) < 0)
            return -1;
    }
    session_timing(b->s, "register", now_us() - start);
    ret->name = xstrdup(b->name);
    ret->layer = xstrdup(st->disk.id);
    ret->steps = b->layers;
    ret->cached = b->cached;
    return 0;
}

static bool stage_needed(void *build, size_t stage)
{
    const struct build *b = build;
    return b->stages[stage].needed;
}

static struct context *opened_context(void *build, struct error **err)
{
    struct build *b = build;
    return build_context(b, err) < 0 ? NULL : b->ctx;
}

static bool given_ssh(void *build, const char *id)
{
    return ssh_find(build, id);
}

static bool given_secret(void *build, const char *id)
{
    return secret_find(build, id);
}

/* What no step need be run for to know that it will fail. */
static int check_first(struct build *b, struct error **err)
{
    struct precheck p = {.file = b->file,
                         .arg = b,
                         .needs = stage_needed,
                         .open = opened_context,
                         .has_secret = given_secret,
                         .has_ssh = given_ssh};
    return precheck(&p, err) < 0 ? -1 : build_report(b, DIAG_ERROR, err);
}

static int choose_name(struct build *b, struct error **err)
{
    if (b->o->name) {
        b->name = xstrdup(b->o->name);
    } else {
        AUTO_FREE char *real = realpath(b->o->dir, NULL);
        const char *slash = real ? strrchr(real, '/') : NULL;
        b->name = xstrdup(slash && slash[1] ? slash + 1 : "image");
    }
    if (image_name_check(b->name, err) < 0)
        return error_hint(err, "--name gives the image another name");
    return 0;
}

static char *name_lock_path(const struct build *b)
{
    AUTO_FREE char *file = image_name_encode(b->name);
    return xasprintf("%s/.working/%s.name", b->s->backend, file);
}

/* One build of a name at a time: both would register it. */
static int lock_name(struct build *b, struct error **err)
{
    if (b->o->local)
        return 0;
    AUTO_FREE char *dir = path_join(b->s->backend, ".working"), *path = name_lock_path(b);
    if (make_dirs_inside(dir, err) < 0)
        return -1;
    CLEANUP(error_freep) struct error *why = NULL;
    b->name_lock = lock_try(path, LOCK_EXCLUSIVE, &why);
    if (b->name_lock >= 0)
        return 0;
    if (why->kind != ERR_BUSY)
        return error_propagate(err, STEAL(why));
    error_set(err, ERR_BUSY, "image '%s' is being built by another kiln", b->name);
    return error_hint(err, "wait for it, or choose another name with --name");
}

static int prepare(struct build *b, struct error **err)
{
    if (choose_name(b, err) < 0 || build_read(b, err) < 0)
        return -1;
    b->stages = xcalloc(b->file->n_stages, sizeof *b->stages);
    b->orders = xcalloc(b->file->n_stages, sizeof *b->orders);
    b->ran = xcalloc(b->file->n_steps + 1, sizeof *b->ran);
    for (size_t i = 0; i < b->file->n_stages; i++)
        b->stages[i].build = b;
    if (stages_choose(b, err) < 0)
        return -1;
    if (b->o->no_cache_from > b->total)
        return error_set(err, ERR_USER, "--no-cache-from %zu: the last step is %zu",
                         b->o->no_cache_from, b->total);
    if (check_contexts(b, err) < 0 || check_first(b, err) < 0 || lock_name(b, err) < 0)
        return -1;
    if (store_open(b->s, b->s->backend, &b->store, err) < 0)
        return -1;
    record_open(&b->record, b->store, b->name);
    const struct build_secret *key = secret_find(b, "disk-key");
    bool guestfs = b->o->runner == BUILD_RUNNER_GUESTFS;
    b->target = (struct target){.ops = guestfs ? &guestfs_runner : &builder_vm_runner,
                                .s = b->s,
                                .store = b->store,
                                .options = {.memory_mb = b->o->memory_mb,
                                            .cpus = b->o->cpus,
                                            .accel = b->o->accel,
                                            .disk_key = {key ? key->bytes : "", key ? key->len : 0},
                                            .cwd = store_cwd(b->store)}};
    return 0;
}

/* As it was before it was walked. */
static void stage_reset(struct stage_run *st)
{
    config_clear(&st->config);
    settings_clear(&st->args);
    settings_clear(&st->unset);
    disk_state_clear(&st->disk);
    for (size_t p = 0; p < st->n_parts; p++)
        partition_spec_clear(&st->parts[p]);
    free(st->parts);
    local_layers_clear(&st->locals);
    *st = (struct stage_run){.build = st->build, .needed = st->needed, .no_cache = st->no_cache};
}

static void build_clear(struct build *b)
{
    target_clear(&b->target);
    (void)step_log_close(&b->log, NULL);
    context_free(b->ctx);
    named_clear(b);
    remote_caches_free(b->caches);
    strv_clear(&b->sources);
    for (size_t i = 0; b->stages && i < b->file->n_stages; i++)
        stage_reset(&b->stages[i]);
    free(b->stages);
    free(b->orders);
    free(b->ran);
    strv_clear(&b->held);
    settings_clear(&b->global_args);
    strv_clear(&b->pulled);
    prefetched_free(b->prefetched);
    record_clear(&b->record);
    imagefile_free(b->file);
    store_free(b->store);
    if (b->name_lock >= 0) {
        AUTO_FREE char *path = name_lock_path(b);
        (void)unlink(path); // held, so nobody else's
        close(b->name_lock);
    }
    free(b->name);
    free(b->file_path);
    free(b->imagefile);
}

static int build_once(struct build *b, struct build_result *ret, struct error **err)
{
    int rc = walk(b, err);
    if (rc == 0)
        rc = remote_bring(b, target_stage(b)->disk.id, err);
    if (!b->o->require_cached && !b->again)
        record_keep(&b->record, b->s, b->store, b->name, b->step);
    return rc < 0 ? -1 : finish(b, ret, err);
}

/* Once more without a cache that could not give what it said it had, or with one's layers. */
static int build_all(struct build *b, struct build_result *ret, struct error **err)
{
    struct error *why = NULL;
    int rc;
    while ((rc = build_once(b, ret, &why)) < 0 && b->again) {
        error_free(STEAL(why));
        target_drop(&b->target);
        remote_begin_again(b);
        for (size_t i = 0; i < b->file->n_stages; i++)
            stage_reset(&b->stages[i]);
        record_clear(&b->record);
        record_open(&b->record, b->store, b->name);
        b->step = b->layers = b->cached = 0;
    }
    return rc < 0 ? error_propagate(err, why) : 0;
}

int build_image(const struct session *s, const struct build_options *o, const struct build_ui *ui,
                struct build_result *ret, struct error **err)
{
    struct build b = {.s = s, .o = o, .ui = ui, .name_lock = -1, .log = STEP_LOG_INIT};
    long long start = now_us();
    int rc = prepare(&b, err);
    if (rc == 0)
        rc = prefetch(&b, err);
    if (rc == 0)
        rc = build_all(&b, ret, err);
    if (rc == 0)
        history_drop_failed(b.store, b.name);
    // what a build that failed has sent so far is of use to the next one
    if (remote_finish(&b, rc < 0 ? NULL : err) < 0)
        rc = -1;
    ret->seconds = (double)(now_us() - start) / 1e6;
    build_clear(&b);
    return rc;
}
