// SPDX-License-Identifier: MIT
//
// Keeps the builder VM where the next step needs it. The target is always a chain of finished
// layers and one overlay of ours in the store's scratch folder. While steps follow each other the
// VM just goes on: sealing an overlay puts the next one on top. What has run in a VM, or was
// mounted in it as a target, may have taken it over, so it is used only for steps that descend from
// all of that. When the next step stands on other layers (another stage; a layer that another kiln
// built meanwhile; an overlay written to by something that is not a layer), a new VM is restored,
// and so it is after a command that changed the VM itself.
#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "builder/build/private.h"
#include "builder/context/manifest.h"
#include "cache/history.h"
#include "image/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* 4 KiB clusters: a one-line change then costs 120 KiB of layer, with 64 KiB ones 900. */
enum { OVERLAY_CLUSTER_BITS = 12 };

char *overlay_new(const char *scratch, unsigned long n, const char *backing_id, uint64_t size,
                  struct error **err)
{
    AUTO_FREE char *path = xasprintf("%s/overlay-%lu", scratch, n);
    AUTO_FREE char *backing = *backing_id ? xasprintf("../%s/disk.qcow2", backing_id) : NULL;
    struct qcow2_overlay o = {
        .size = size, .cluster_bits = OVERLAY_CLUSTER_BITS, .backing = backing};
    if (qcow2_create_overlay(path, &o, err) < 0)
        return NULL;
    return STEAL(path);
}

struct guest_wait step_wait(struct build *b)
{
    return (struct guest_wait){step_left_ms(b), build_output, b};
}

int step_left_ms(const struct build *b)
{
    long long left = b->step_deadline - now_ms();
    return !b->step_deadline ? -1 : left < 0 ? 0 : left < INT_MAX ? (int)left : INT_MAX;
}

void vm_drop(struct build *b)
{
    builder_vm_free(STEAL(b->vm));
    if (b->overlay)
        unlink(b->overlay);
    free(STEAL(b->overlay));
    b->mounted = b->dirty = b->spent = false;
    memset(b->slots, 0, sizeof b->slots);
}

void vm_drop_all(struct build *b)
{
    vm_drop(b);
    standby_free(STEAL(b->next));
}

int vm_mount_target(struct build *b, const json_t *mounts, struct error **err)
{
    long long start = now_us();
    if (guest_mount(b->vm, GUEST_TARGET, false, mounts, err) < 0)
        return -1;
    b->mounted = true;
    build_timing(b, "mount", start);
    return 0;
}

static struct builder_vm_options vm_options(struct build *b)
{
    return (struct builder_vm_options){.memory_mb = b->o->memory_mb,
                                       .cpus = b->o->cpus,
                                       .accel = b->o->accel,
                                       .cwd = store_cwd(b->store)};
}

/* The chain of files of a layer, and a new overlay on it. */
static int target_files(struct build *b, const struct disk_state *disk, struct strv *files,
                        struct error **err)
{
    if (*disk->id && store_chain(b->store, disk->id, files, err) < 0)
        return -1;
    b->overlay = overlay_new(store_scratch(b->store), b->overlays++, disk->id, disk->size, err);
    if (!b->overlay)
        return -1;
    strv_add(files, b->overlay);
    b->overlay_size = disk->size;
    memcpy(b->top, disk->id, sizeof b->top);
    return 0;
}

/* One that was started ahead, with its target, or NULL. */
static struct builder_vm *take_standby(struct build *b, const struct builder_disk *target)
{
    return b->next ? standby_take(STEAL(b->next), target) : NULL;
}

static int start(struct build *b, const struct disk_state *disk, struct error **err)
{
    CLEANUP(strv_clear) struct strv files = {0};
    long long start = now_us();
    if (target_files(b, disk, &files, err) < 0)
        return -1;
    struct builder_vm_options o = vm_options(b);
    o.target = (struct builder_disk){(const char *const *)files.ptr, files.len, true, disk->size};
    b->vm = take_standby(b, &o.target);
    if (b->vm) {
        build_timing(b, "vm-start", start);
        return 0;
    }
    if (builder_vm_start(b->s, &o, &b->vm, err) < 0)
        return -1;
    long long attached = now_us(), answered = builder_vm_answered(b->vm) * 1000;
    build_took(b, "vm-start", answered - start);
    build_took(b, "attach", attached - answered);
    return 0;
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

/* While this VM works, on another processor. */
static void start_ahead(struct build *b)
{
    if (b->next || sysconf(_SC_NPROCESSORS_ONLN) < 2 || !needs_another(b))
        return;
    struct builder_vm_options o = vm_options(b);
    b->next = standby_start(b->s, &o);
}

int vm_untouched(struct build *b, const struct disk_state *disk, struct error **err)
{
    if (b->vm && !b->mounted && !b->dirty && !strcmp(b->top, disk->id) &&
        b->overlay_size == disk->size)
        return 0;
    vm_drop(b);
    return start(b, disk, err);
}

int vm_ready(struct build *b, const struct disk_state *disk, struct error **err)
{
    bool there = b->vm && b->overlay && !b->dirty && !b->spent && !strcmp(b->top, disk->id) &&
                 b->overlay_size == disk->size;
    if (!there) {
        vm_drop(b);
        if (start(b, disk, err) < 0)
            return -1;
    }
    if (!*disk->id || b->mounted)
        return 0;
    return vm_mount_target(b, disk->mounts, err);
}

char *vm_seal(struct build *b, const char *backing_id, uint64_t size, struct error **err)
{
    long long start = now_us();
    AUTO_FREE char *next =
        overlay_new(store_scratch(b->store), b->overlays++, backing_id, size, err);
    if (!next)
        return NULL;
    if (builder_vm_next_overlay(b->vm, next, err) < 0) {
        unlink(next);
        return NULL;
    }
    char *sealed = b->overlay;
    b->overlay = STEAL(next);
    b->overlay_size = size;
    memcpy(b->top, backing_id, sizeof b->top);
    build_timing(b, "seal", start);
    return sealed;
}

static int empty_slot(struct build *b, int slot, struct error **err)
{
    if (*b->slots[slot].id &&
        (guest_umount(b->vm, slot, err) < 0 || builder_vm_set_disk(b->vm, slot, NULL, err) < 0))
        return -1;
    b->slots[slot] = (struct attachment){0};
    return 0;
}

int vm_detach_others(struct build *b, unsigned keep, struct error **err)
{
    for (int i = GUEST_EXTRA; i < GUEST_SLOTS; i++)
        if (!(keep >> i & 1) && empty_slot(b, i, err) < 0)
            return -1;
    return 0;
}

int vm_free_slot(struct build *b, unsigned keep, struct error **err)
{
    int best = -1;
    for (int i = GUEST_EXTRA; i < GUEST_SLOTS; i++)
        if (!(keep >> i & 1) && (best < 0 || b->slots[i].used < b->slots[best].used))
            best = i;
    if (best < 0)
        return error_set(err, ERR_USER, "a step can use at most %d other disks",
                         GUEST_SLOTS - GUEST_EXTRA);
    return empty_slot(b, best, err) < 0 ? -1 : best;
}

int vm_attach(struct build *b, const struct disk_state *disk, unsigned keep, struct error **err)
{
    for (int i = GUEST_EXTRA; i < GUEST_SLOTS; i++)
        if (!strcmp(b->slots[i].id, disk->id)) {
            b->slots[i].used = ++b->tick;
            return i;
        }
    int slot = vm_free_slot(b, keep, err);
    CLEANUP(strv_clear) struct strv files = {0};
    if (slot < 0 || store_chain(b->store, disk->id, &files, err) < 0)
        return -1;
    struct builder_disk d = {(const char *const *)files.ptr, files.len, false, disk->size};
    if (builder_vm_set_disk(b->vm, slot, &d, err) < 0 ||
        guest_mount(b->vm, slot, true, disk->mounts, err) < 0)
        return -1;
    memcpy(b->slots[slot].id, disk->id, ID_SIZE);
    b->slots[slot].used = ++b->tick;
    return slot;
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

/* The number of the step because of which the parent is not the last build's: the first of the
 * stage that has another layer now, or its FROM. */
static size_t changed_step(struct build *b, size_t from)
{
    size_t i;
    json_t *e;
    json_array_foreach(b->steps, i, e)
    {
        size_t n = (size_t)json_int(e, "n", 0);
        const char *id = json_str(e, "id"), *text = json_str(e, "step");
        const char *was = text ? json_str(history_match(b->last, i, text), "id") : NULL;
        if (n > from && id && (!was || strcmp(was, id) != 0))
            return n;
    }
    return from;
}

/* Why store_find has just given no layer for the step's key, in words; owned. */
static char *explain(struct build *b, const struct stage_run *st, const struct imagefile_step *step,
                     const json_t *inputs, struct str manifest)
{
    if (store_damage(b->store))
        return xasprintf("its layer is damaged: %s", store_damage(b->store));
    AUTO_FREE char *text = step_text(step);
    const json_t *old = history_match(b->last, json_array_size(b->steps), text);
    AUTO_FREE char *files =
        explain_files(b, json_string_value(json_object_get(old, "id")), manifest);
    char *why =
        key_explain(json_object_get(old, "inputs"), inputs, files, changed_step(b, st->from));
    return why ? why : xstrdup("its layer is gone");
}

static void note_step(struct build *b, const struct imagefile_step *step, const char *key,
                      const char *id, json_t *inputs)
{
    AUTO_FREE char *text = step_text(step);
    (void)json_array_append_new(b->steps, json_pack("{s:s, s:I, s:s, s:s, s:O}", "step", text, "n",
                                                    (json_int_t)b->step, "key", key, "id", id,
                                                    "inputs", inputs));
}

static void use_layer(struct stage_run *st, const struct layer *layer)
{
    memcpy(st->disk.id, layer->id, ID_SIZE);
    st->disk.size = layer->virtual_size;
}

/* What --on-error asks for, once a step has failed in a VM that still runs. */
static void on_failure(struct build *b, struct draft *draft, const struct imagefile_step *step)
{
    if (b->o->on_error == ON_ERROR_FAIL || session_cancelled(b->s) || !b->vm)
        return;
    CLEANUP(error_freep) struct error *err = NULL;
    if (b->o->on_error == ON_ERROR_SHELL) {
        CLEANUP(guest_exec_clear) struct guest_exec e = GUEST_EXEC_INIT;
        session_notice(b->s,
                       "the step failed; this is a shell in its state, leave it to end the build");
        run_put_shell(&e);
        run_put_environment(b, &b->stages[step->stage].config, &b->stages[step->stage].args, &e);
        int status;
        if (guest_terminal(b->vm, &e, &status, &err) < 0)
            session_notice(b->s, "%s", err->message);
        return;
    }
    AUTO_FREE char *sealed = vm_seal(b, draft_id(draft), b->stages[step->stage].disk.size, &err);
    AUTO_FREE char *text = step_text(step);
    json_auto_t *fields = json_pack("{s:s}", "step", text);
    if (!sealed || link(sealed, draft_disk(draft)) < 0 ||
        store_keep_failed(draft, b->name, fields, &err) < 0) {
        session_notice(b->s, "%s",
                       err ? err->message : "the failed step's state could not be kept");
        return;
    }
    session_notice(b->s, "the failed step's state is kept: kiln shell %s@failed", b->name);
}

/* In a VM on the right disk; *ret_start: when the step began, which the VM's start is not part of.
 */
static int try_work(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                    struct draft *draft, step_fn *work, void *arg, long long *ret_start,
                    struct error **err)
{
    if (vm_ready(b, &st->disk, err) < 0)
        return -1;
    *ret_start = now_us();
    b->step_deadline = b->o->step_timeout_s ? now_ms() + b->o->step_timeout_s * 1000 : 0;
    CLEANUP(error_freep) struct error *no_log = NULL;
    if (step_log_open(&b->log, draft_log(draft), &no_log) < 0)
        session_debug(b->s, 1, "%s", no_log->message);
    b->dirty = true;
    start_ahead(b);
    CLEANUP(error_freep) struct error *why = NULL;
    int rc = work(b, st, step, arg, &why);
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
                        struct draft *draft, step_fn *work, void *arg, long long *ret_start,
                        struct error **err)
{
    if (try_work(b, st, step, draft, work, arg, ret_start, err) < 0)
        return NULL;
    return vm_seal(b, draft_id(draft), st->disk.size, err);
}

/* Once more in another VM if this one's template was damaged: what it did then says nothing of the
 * step. */
static char *do_work(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                     struct draft *draft, step_fn *work, void *arg, long long *ret_start,
                     struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    char *sealed = run_sealed(b, st, step, draft, work, arg, ret_start, &why);
    if (sealed)
        return sealed;
    if (why->kind != ERR_GUEST || !b->vm || !builder_vm_template_failed(b->vm)) {
        error_propagate(err, STEAL(why));
        return NULL;
    }
    session_notice(b->s,
                   "the builder VM failed, and its template is damaged: trying the step once more "
                   "(%.*s)",
                   (int)strcspn(why->message, "\n"), why->message);
    vm_drop(b);
    return run_sealed(b, st, step, draft, work, arg, ret_start, err);
}

/* The step is run and its overlay becomes the draft's layer. */
static int make_layer(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                      struct draft *draft, json_t *inputs, struct str manifest, step_fn *work,
                      void *arg, struct layer **ret, struct error **err)
{
    long long start = 0;
    AUTO_FREE char *sealed = do_work(b, st, step, draft, work, arg, &start, err);
    if (!sealed) {
        if (!start) // no VM, or not on the right disk: there is no state to keep
            return -1;
        build_failed(b, st, step, draft_log(draft), err);
        on_failure(b, draft, step);
        vm_drop(b);
        return -1;
    }
    b->dirty = false;
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
    build_timing(b, "commit", commit);
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
    int found = option ? 0 : store_find(b->store, key, ret, err);
    if (found)
        return found;
    AUTO_FREE char *why = option ? xstrdup(option) : explain(b, st, step, inputs, manifest);
    if (b->o->require_cached) {
        error_set(err, ERR_USER, "step %zu is not cached: %s", b->step, why);
        return error_hint(err, "--require-cached asks for a build that does nothing");
    }
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
               struct key *key, struct str manifest, step_fn *work, void *arg, struct error **err)
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
        b->cached++;
        step_shown(b, step, STEP_CACHED, NULL);
    } else if (rc == 0) {
        rc = make_layer(b, st, step, draft, inputs, manifest, work, arg, &layer, err);
    }
    if (rc >= 0) {
        note_step(b, step, hex, layer->id, inputs);
        use_layer(st, layer);
    }
    layer_free(layer);
    return rc < 0 ? -1 : 0;
}
