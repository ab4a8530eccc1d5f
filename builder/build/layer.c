// SPDX-License-Identifier: MIT
//
// A step that changes the disk: its layer is found by its key, or the step is run in the builder VM
// (target.h), and what it left becomes the layer. Where no layer is found, the user is told why.
#include "base/alloc.h"
#include "base/json.h"
#include "base/session.h"
#include "builder/build/private.h"
#include "builder/context/manifest.h"
#include "builder/host/runner.h"
#include "builder/worker/guestfs.h"
#include "builder/worker/runner.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

struct runner_wait step_wait(struct build *b)
{
    return (struct runner_wait){step_left_ms(b), build_output, b};
}

int step_left_ms(const struct build *b)
{
    long long left = b->step_deadline - now_ms();
    return !b->step_deadline ? -1 : left < 0 ? 0 : left < INT_MAX ? (int)left : INT_MAX;
}

/* Whether a step to come will want another VM than this one's: it is of another stage, or looks at
 * what a --from reads. If it is cached it will not, but that shows only then. */
static bool needs_another(const struct build *b)
{
    for (size_t i = (size_t)(b->current - b->file->steps) + 1; i < b->file->n_steps; i++) {
        const struct imagefile_step *step = &b->file->steps[i];
        if (step->stage != NO_STAGE && b->stages[step->stage].needed &&
            (step->stage != b->current->stage || step_has_from(step)))
            return true;
    }
    return false;
}

/* Which files differ from those of the layer the last build made, in words; owned, NULL: not known.
 */
static char *explain_files(struct build *b, const char *old_id, struct str manifest)
{
    CLEANUP(layer_freep) struct layer *layer = NULL;
    CLEANUP(buf_clear) struct buf old = BUF_INIT, out = BUF_INIT;
    CLEANUP(strv_clear) struct strv changes = {0};
    if (!old_id || !manifest.len || store_get(b->store, old_id, &layer, NULL) < 0 ||
        layer_manifest(layer, &old, NULL) < 0)
        return NULL;
    manifest_diff(buf_str(&old), manifest, 5, &changes);
    for (size_t i = 0; i < changes.len; i++)
        buf_addf(&out, "%s%s", i ? ", " : "", changes.ptr[i]);
    if ((b->current->op == OP_COPY || b->current->op == OP_ADD) &&
        word_given(&b->current->copy.from))
        buf_addf(&out, " in '" STR_FMT "'", STR_ARG(b->current->copy.from.raw));
    return changes.len ? buf_detach(&out, NULL) : NULL;
}

/* Why store_find has just given no layer for the step's key, in words; owned. */
static char *explain(struct build *b, const struct stage_run *st, const struct imagefile_step *step,
                     const json_t *inputs, struct str manifest)
{
    if (store_damage(b->store))
        return xasprintf("its layer is damaged: %s", store_damage(b->store));
    AUTO_FREE char *text = step_text(step);
    const json_t *old = record_match(&b->record, text);
    AUTO_FREE char *files =
        explain_files(b, json_string_value(json_object_get(old, "id")), manifest);
    char *why = key_explain(json_object_get(old, "inputs"), inputs, files,
                            record_changed_step(&b->record, st->from));
    return why ? why : xstrdup("its layer is gone");
}

static void use_layer(struct stage_run *st, const struct layer *layer)
{
    memcpy(st->disk.id, layer->id, ID_SIZE);
    st->disk.size = layer->virtual_size;
}

/* What --on-error asks for, once a step has failed in a VM that still runs. */
static void on_failure(struct build *b, struct draft *draft, const struct imagefile_step *step)
{
    if (b->o->on_error == ON_ERROR_FAIL || session_cancelled(b->s) || !b->target.runner)
        return;
    CLEANUP(error_freep) struct error *err = NULL;
    if (b->o->on_error == ON_ERROR_SHELL) {
        CLEANUP(runner_exec_clear) struct runner_exec e = {0};
        session_notice(b->s,
                       "the step failed; this is a shell in its state: exit to end the build");
        environment_put_shell(b->s, &e);
        environment_put(b->s, b->o, &b->stages[step->stage].config, &b->stages[step->stage].args,
                        &e);
        int status;
        if (runner_terminal(b->target.runner, &e, &status, &err) < 0)
            session_notice(b->s, "%s", err->message);
        return;
    }
    AUTO_FREE char *sealed =
        target_seal(&b->target, draft_id(draft), b->stages[step->stage].disk.size, &err);
    AUTO_FREE char *text = step_text(step);
    json_auto_t *fields = json_pack("{s:s}", "step", text);
    if (!sealed || link(sealed, draft_disk(draft)) < 0 ||
        store_keep_failed(draft, b->name, fields, &err) < 0) {
        session_notice(b->s, "%s",
                       err ? err->message : "the failed step's state could not be kept");
        return;
    }
    AUTO_FREE char *word = shell_word(b->name);
    session_notice(b->s, "the failed step's state is kept: kiln shell %s@failed", word);
}

/* Why a step is not for the host (host/runner.h); NULL: it may try. A stage whose further steps want
 * the VM is left to it from here on, as it will be started anyway. */
static const char *not_for_host(const struct build *b, const struct stage_run *st,
                                const struct imagefile_step *step, const struct work *w)
{
    if (b->host_declined)
        return "a step before was unusual";
    if (b->o->on_error != ON_ERROR_FAIL)
        return "--on-error may need a shell";
    if (target_in_vm(&b->target, &st->disk))
        return "it runs already";
    if (w->kind != WORK_SEND && w->kind != WORK_MKDIR && w->kind != WORK_PARTITION)
        return "the step needs it";
    if (w->kind != WORK_PARTITION && !st->disk.mounts)
        return "the disk was not partitioned by kiln";
    for (size_t i = (size_t)(step - b->file->steps) + 1; i < b->file->stages[step->stage].end; i++)
        if (b->file->steps[i].op == OP_RUN || b->file->steps[i].op == OP_INSPECT ||
            step_has_from(&b->file->steps[i]))
            return "a later step needs it";
    return NULL;
}

static const struct runner_ops *choose_runner(const struct build *b, const struct stage_run *st,
                                              const struct imagefile_step *step,
                                              const struct work *w)
{
    if (b->o->runner != BUILD_RUNNER_AUTO)
        return b->target.ops;
    const char *why = not_for_host(b, st, step, w);
    if (!why)
        return &host_runner;
    session_debug(b->s, 1, "in the builder VM, not on the host: %s", why);
    return b->target.ops;
}

/* The target is ready for the step. A disk that the builder VM cannot mount is for libguestfs, with
 * --runner auto. */
static int get_ready(struct build *b, const struct runner_ops *ops, const struct disk_state *disk,
                     struct error **err)
{
    struct target *t = &b->target;
    CLEANUP(error_freep) struct error *why = NULL, *missing = NULL;
    if (target_ready_on(t, ops, disk, &why) == 0)
        return 0;
    if (b->o->runner != BUILD_RUNNER_AUTO || ops != &builder_vm_runner || !t->runner ||
        t->mounted || session_cancelled(b->s) || why->kind == ERR_KILLED)
        return error_propagate(err, STEAL(why));
    session_notice(b->s, "the builder VM cannot mount the disk (%.*s): trying libguestfs",
                   (int)strcspn(why->message, "\n"), why->message);
    target_clear(t);
    t->ops = &guestfs_runner;
    if (target_ready_on(t, t->ops, disk, &missing) == 0)
        return 0;
    if (missing->kind != ERR_NOT_FOUND && (missing->hint || session_cancelled(b->s)))
        return error_propagate(err, STEAL(missing));
    // what the VM says of a disk that nobody can mount tells more
    session_notice(b->s, "%.*s%s%s", (int)strcspn(missing->message, "\n"), missing->message,
                   missing->hint ? "; " : "", missing->hint ? missing->hint : "");
    return error_propagate(err, STEAL(why));
}

/* In a VM on the right disk; *ret_start: when the step began, which the VM's start is not part of.
 */
static int try_work(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                    struct draft *draft, const struct work *work, long long *ret_start,
                    struct error **err)
{
    const struct runner_ops *ops = choose_runner(b, st, step, work);
    if (get_ready(b, ops, &st->disk, err) < 0)
        return -1;
    *ret_start = now_us();
    b->step_deadline = b->o->step_timeout_s ? now_ms() + b->o->step_timeout_s * 1000 : 0;
    CLEANUP(error_freep) struct error *no_log = NULL;
    if (step_log_open(&b->log, draft_log(draft), &no_log) < 0)
        session_debug(b->s, 1, "%s", no_log->message);
    b->target.dirty = true;
    if (b->target.runner->ops == b->target.ops && needs_another(b))
        target_start_ahead(&b->target);
    CLEANUP(error_freep) struct error *why = NULL;
    int rc = step_work(b, st, step, work, &why);
    bool late = rc < 0 && why->kind == ERR_GUEST && step_left_ms(b) == 0;
    b->step_deadline = 0;
    (void)step_log_close(&b->log, NULL);
    if (late)
        return error_set(err, ERR_GUEST, "step %zu (" STR_FMT ") took longer than %lld s", b->step,
                         STR_ARG(step->text), b->o->step_timeout_s);
    return rc < 0 ? error_propagate(err, STEAL(why)) : 0;
}

/* The step is run, and its overlay sealed; returns the overlay's path, owned. */
static char *run_sealed(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                        struct draft *draft, const struct work *work, long long *ret_start,
                        struct error **err)
{
    if (try_work(b, st, step, draft, work, ret_start, err) < 0)
        return NULL;
    return target_seal(&b->target, draft_id(draft), st->disk.size, err);
}

/* Once more in another VM if this one's template was damaged: what it did then says nothing of the
 * step. */
static char *do_work(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                     struct draft *draft, const struct work *work, long long *ret_start,
                     struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    char *sealed = run_sealed(b, st, step, draft, work, ret_start, &why);
    if (sealed)
        return sealed;
    bool host = b->target.runner && b->target.runner->ops == &host_runner;
    if ((!host && why->kind != ERR_GUEST) || !b->target.runner ||
        !runner_worth_retry(b->target.runner)) {
        error_propagate(err, STEAL(why));
        return NULL;
    }
    int shown = (int)strcspn(why->message, "\n");
    if (host)
        session_debug(b->s, 1, "in the builder VM, not on the host: %.*s", shown, why->message);
    else
        session_notice(b->s,
                       "the builder VM failed, and its template is damaged: trying the step once "
                       "more (%.*s)",
                       shown, why->message);
    b->host_declined |= host;
    target_drop(&b->target);
    return run_sealed(b, st, step, draft, work, ret_start, err);
}

/* The step is run and its overlay becomes the draft's layer. */
static int make_layer(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                      struct draft *draft, json_t *inputs, struct str manifest,
                      const struct work *work, struct layer **ret, struct error **err)
{
    long long start = 0;
    AUTO_FREE char *sealed = do_work(b, st, step, draft, work, &start, err);
    if (!sealed) {
        if (!start) // no VM, or not on the right disk: there is no state to keep
            return -1;
        build_failed(b, st, step, draft_log(draft), err);
        if (b->ui->step_failed && !session_cancelled(b->s))
            b->ui->step_failed(b->ui->arg, b->step);
        on_failure(b, draft, step);
        target_drop(&b->target);
        return -1;
    }
    b->target.dirty = false;
    // a second name: QEMU opens the file by the first one again when it makes it read-only; that
    // one goes with the store's scratch folder
    if (link(sealed, draft_disk(draft)) < 0)
        return error_errno(err, "cannot link '%s'", sealed);
    if (manifest.len && draft_manifest(draft, manifest.ptr, manifest.len, err) < 0)
        return -1;
    double seconds = (double)(now_us() - start) / 1e6;
    AUTO_FREE char *text = step_text(step);
    json_auto_t *fields =
        json_pack("{s:f, s:O, s:s}", "seconds", seconds, "inputs", inputs, "step", text);
    long long commit = now_us();
    if (store_commit(draft, fields, ret, err) < 0)
        return -1;
    session_timing(b->s, "commit", now_us() - commit);
    if (b->ui->step_done)
        b->ui->step_done(b->ui->arg, b->step, seconds, layer_bytes(*ret));
    return 0;
}

/* Why no layer may be used, as an option says; NULL: one may. */
static const char *forced(const struct build *b, const struct stage_run *st)
{
    if (b->o->no_cache)
        return "--no-cache";
    if (b->o->no_cache_from && b->step >= b->o->no_cache_from)
        return "--no-cache-from";
    return st->no_cache ? "--no-cache-filter" : NULL;
}

/* 1: *ret is the layer to use; 0: *draft is to be filled. */
static int find_or_draft(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                         const char *key, const json_t *inputs, struct str manifest,
                         struct layer **ret, struct draft **draft, struct error **err)
{
    const char *option = forced(b, st);
    int found = option ? 0 : remote_find(b, st, key, ret, err);
    if (found)
        return found;
    AUTO_FREE char *why = option ? xstrdup(option) : explain(b, st, step, inputs, manifest);
    if (b->o->require_cached) {
        error_set(err, ERR_USER, "step %zu is not cached: %s", b->step, why);
        return error_hint(err, "--require-cached asks for a build that does nothing");
    }
    if (remote_bring(b, st->disk.id, err) < 0 || remote_bring_sources(b, err) < 0)
        return -1;
    AUTO_FREE char *text = step_text(step);
    struct draft_request r = {.key = key,
                              .parent = *st->disk.id ? st->disk.id : NULL,
                              .step = text,
                              .rebuild = option != NULL};
    found = store_build_begin(b->store, &r, ret, draft, err);
    if (found == 0)
        step_shown(b, step, STEP_RUNS, why);
    return found;
}

int step_layer(struct build *b, struct stage_run *st, const struct imagefile_step *step,
               struct key *key, struct str manifest, struct work work, struct error **err)
{
    char hex[ID_SIZE];
    json_t *inputs_owned = NULL;
    key_finish(key, hex, &inputs_owned);
    json_auto_t *inputs = inputs_owned;
    struct layer *layer = NULL;
    CLEANUP(draft_freep) struct draft *draft = NULL;
    int rc = find_or_draft(b, st, step, hex, inputs, manifest, &layer, &draft, err);
    b->layers++;
    if (rc == 1) {
        b->cached += !b->ran[b->step - 1]; // or it was made before the build began again
        step_shown(b, step, STEP_CACHED, NULL);
    } else if (rc == 0) {
        rc = make_layer(b, st, step, draft, inputs, manifest, &work, &layer, err);
        b->ran[b->step - 1] = rc >= 0;
    }
    if (rc >= 0) {
        AUTO_FREE char *text = step_text(step);
        record_step(&b->record, b->step, text, hex, layer->id, inputs);
        use_layer(st, layer);
    }
    layer_free(layer);
    return rc < 0 ? -1 : 0;
}
