// SPDX-License-Identifier: MIT
//
// A VM's disk is an empty overlay on a layer, and beside it lies its definition (vm/spec.h). It
// stands on the layer and not on the image's name, which may be replaced.
#include "cli/vm_store.h"
#include "qcow2/head.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "builder/build/build.h"
#include "builder/build/image_chain.h"
#include "cache/store.h"
#include "cli/build_ui.h"
#include "cli/registry_options.h"
#include "cli/vm_disks.h"
#include "cli/vm_find.h"
#include "cli/vm_image.h"
#include "cli/vm_options.h"
#include "cli/vm_prepare.h"
#include "cli/vm_seed.h"
#include "cli/vm_warm.h"
#include "qcow2/qcow2.h"
#include "vm/state.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

extern const struct command cmd_start, cmd_create;

static json_t *make_config(const struct vm_spec *spec, const char *image, const char *layer,
                           json_t *mounts, json_t *extra, bool temporary)
{
    json_t *definition = vm_spec_to_json(spec);
    return definition ? json_pack("{s:s, s:s?, s:I, s:o, s:O*, s:O*, s:b}", "image", image, "layer",
                                  layer, "created", (json_int_t)time(NULL), "spec", definition,
                                  "mounts", mounts, "extra_images", extra, "temporary", temporary)
                      : NULL;
}

/* The disk of a VM that is being made. */
static int prepare(const struct session *s, const struct args *a, const char *name,
                   struct vm_spec *spec, const struct vm_copies *copies, struct image_chain *chain,
                   const char *disk, const char *dir, struct error **err)
{
    if (vm_image_take(a, chain->metadata, spec, err) < 0 ||
        vm_seed_make(a, name, spec, dir, err) < 0)
        return -1;
    if (!vm_prepare_wanted(a, copies))
        return 0;
    strv_add(&chain->files, disk);
    struct offline_options o = {.files = (const char *const *)chain->files.ptr,
                                .n_files = chain->files.len,
                                .size = chain->size,
                                .mounts = json_object_get(chain->metadata, "mounts"),
                                .scratch = dir};
    return vm_prepare(s, a, spec, copies, &o, err);
}

static int make_disk(const struct image_chain *chain, const char *disk, struct error **err)
{
    const char *top = chain->files.ptr[chain->files.len - 1];
    AUTO_FREE char *below = realpath(top, NULL);
    if (!below)
        return error_errno(err, "cannot find '%s'", top);
    struct qcow2_overlay overlay = {.size = chain->size, .backing = below, .sync = true};
    return qcow2_create_overlay(disk, &overlay, err);
}

/* For -vv: all that the VM is made from. */
static void tell_all(const struct session *s, const struct image_chain *chain, const json_t *config)
{
    for (size_t i = 0; i < chain->files.len; i++)
        session_debug(s, 2, "below the disk: '%s'", chain->files.ptr[i]);
    AUTO_FREE char *text = json_dumps(config, JSON_SORT_KEYS | JSON_INDENT(2));
    session_debug(s, 2, "vm.json: %s", text ? text : "");
}

int vm_store_create(struct session *s, const struct args *a, struct vm_spec *spec, const char *name,
                    const struct vm_copies *copies, bool temporary, json_t *fleet,
                    struct named_vm *ret, struct error **err)
{
    AUTO_FREE char *image = xstrndup(a->pos[0], strcspn(a->pos[0], ","));
    CLEANUP(working_clear) struct working w = WORKING_INIT;
    CLEANUP(image_chain_clear) struct image_chain chain = {0};
    CLEANUP(build_shown_clear) struct build_shown shown = {0};
    CLEANUP(vm_disks_free) struct vm_disks extra = {0};
    struct image_request request = {.ref = a->pos[0]};
    if (args_pull(a, &request.pull, err) < 0 ||
        registry_options_take(a, &request.transfer, err) < 0 ||
        named_vm_begin(s->vmstore, name, &w, err) < 0 ||
        build_shown_init(&shown, s, NULL, err) < 0 ||
        image_chain_open(s, &request, &chain, err) < 0 ||
        vm_disks_fetch(s, a, &request, &extra, err) < 0)
        return -1;
    if (vm_options_disk_size(a, &chain.size, err) < 0)
        return -1;
    AUTO_FREE char *layer = image_chain_layer(s, chain.store, &chain, err);
    if (!layer)
        return -1;
    AUTO_FREE char *disk = path_join(w.dir, NAMED_VM_DISK);
    session_debug(s, 1, "image '%s': layer %.12s, %zu files below the disk, %llu bytes", image,
                  layer, chain.files.len, (unsigned long long)chain.size);
    if (make_disk(&chain, disk, err) < 0 ||
        prepare(s, a, name, spec, copies, &chain, disk, w.dir, err) < 0)
        return -1;
    AUTO_FREE char *kept = path_join(w.dir, VM_STORE_METADATA);
    json_auto_t *further = NULL;
    if ((chain.metadata && json_write_file(kept, 0644, chain.metadata, err) < 0) ||
        vm_disks_make(s, &extra, w.dir, &further, err) < 0)
        return -1;
    json_auto_t *config = make_config(spec, image, layer, json_object_get(chain.metadata, "mounts"),
                                      further, temporary);
    if (!config)
        return error_set(err, ERR_USER, "an argument is not UTF-8");
    if (fleet)
        (void)json_object_set(config, "fleet", fleet);
    if (!fleet && a->command == &cmd_create && vm_warm_note(s, a, image, config, err) < 0)
        return -1;
    tell_all(s, &chain, config);
    AUTO_FREE char *folder = named_vm_folder(s->vmstore, name);
    session_debug(s, 1, "VM '%s': %zu %s in '%s'", name, 1 + extra.len,
                  extra.len ? "disks" : "disk", folder);
    return named_vm_commit_held(s->vmstore, name, &w, config, ret, err);
}

int vm_store_appear(const struct session *s, const struct vm_spec *spec,
                    const struct vm_store_place *place, const char *name, struct named_vm *ret,
                    struct error **err)
{
    json_auto_t *further = place->extra ? vm_disks_note(place->extra) : NULL;
    json_auto_t *config = make_config(spec, place->image, place->layer, NULL, further, true);
    if (!config || (place->more && json_object_update(config, place->more) < 0) ||
        json_object_set_new(config, "virtual_size", json_integer((json_int_t)place->size)) < 0)
        return error_set(err, ERR_USER, "an argument is not UTF-8");
    return named_vm_appear(s->vmstore, name, config, ret, err);
}

static void add_texts(struct strv *to, const json_t *list)
{
    size_t i;
    json_t *text;
    json_array_foreach ((json_t *)list, i, text)
        if (json_is_string(text))
            strv_add(to, json_string_value(text));
}

char *vm_store_invent_name(const char *image)
{
    AUTO_FREE char *start = xstrndup(image, strcspn(image, ",@:"));
    AUTO_FREE char *name = named_vm_name(start);
    unsigned short number = 0;
    (void)getrandom(&number, sizeof number, 0);
    return xasprintf("%.50s-%04x", name, number);
}

/* A vm.json of kiln 0.1 holds the words of create's command line. */
static int take_words(const struct named_vm *vm, struct vm_spec *spec, struct error **err)
{
    CLEANUP(strv_clear) struct strv words = {0};
    CLEANUP(args_clear) struct args kept = {0};
    strv_add(&words, vm->name);
    add_texts(&words, json_object_get(vm->config, "options"));
    strv_add(&words, "--");
    add_texts(&words, json_object_get(vm->config, "qemu_args"));
    return args_parse(&cmd_start, (int)words.len, words.ptr, &kept, err) < 0
               ? -1
               : vm_options_take(&kept, spec, err);
}

int vm_store_spec(const struct named_vm *vm, struct vm_spec *spec, struct error **err)
{
    const json_t *kept = json_object_get(vm->config, "spec");
    int rc = kept ? vm_spec_from_json(kept, spec, err) : take_words(vm, spec, err);
    return rc < 0 ? error_wrap(err, "definition of VM '%s'", vm->name) : 0;
}

int vm_store_chain(const struct session *s, const struct named_vm *vm, struct store **st,
                   struct strv *files, uint64_t *size, struct error **err)
{
    const char *layer = json_str(vm->config, "layer");
    if (!layer)
        return error_set(err, ERR_USER, "vm.json of VM '%s' names no layer", vm->name);
    if (access(vm->disk, F_OK) < 0 && errno == ENOENT) {
        error_set(err, ERR_NOT_FOUND, "the disk of VM '%s' is missing: '%s'", vm->name, vm->disk);
        return error_hint(err, "'kiln rm %s' removes what is left of it", vm->word);
    }
    if (store_open(s, s->backend, st, err) < 0 || store_chain(*st, layer, files, err) < 0)
        return error_wrap(err, "VM '%s'", vm->name);
    strv_add(files, vm->disk);
    return qcow2_size(vm->disk, size, err);
}

/* A VM that is suspended to disk goes on with what it was started with. */
static int take_state(const struct named_vm *vm, struct vm_spec *spec, bool detach,
                      struct vm_warm *again, struct vm_run_options *o, struct error **err)
{
    json_auto_t *state = vm_state_read(vm->dir);
    o->restore = state != NULL;
    if (!state) {
        (void)vm_state_drop(vm->dir, NULL); // of a suspend that was killed
        return 0;
    }
    if (!detach)
        return vm_state_refuse(vm, err);
    if (vm_spec_from_json(json_object_get(state, "spec"), spec, err) < 0)
        return error_wrap(err, "state of VM '%s'", vm->name);
    vm_spec_set(&spec->accel, json_str(state, "accel"));
    o->warm = json_flag(state, "warm") ? again : NULL;
    return 0;
}

/* A VM of a VMFile has its ports from there, not from options. */
static int name_forward(const struct named_vm *vm, struct error **err)
{
    const char *file = json_str(json_object_get(vm->config, "fleet"), "file");
    if (!file || !err || !*err || !strstr((*err)->message, "cannot use port "))
        return -1;
    free(STEAL((*err)->hint));
    return error_hint(err, "choose another one in its 'forward' in '%s'", file);
}

int vm_store_boot(const struct session *s, struct named_vm *vm, struct vm_spec *spec, bool detach,
                  const struct vm_copies *copies, const struct vm_warm_wish *wish,
                  struct error **err)
{
    CLEANUP(strv_clear) struct strv files = {0};
    CLEANUP(vm_disks_free) struct vm_disks extra = {0};
    CLEANUP(store_freep) struct store *st = NULL;
    struct vm_run_options o = {
        .keep = true, .hold = vm->lock, .stop_when_full = true, .wish = wish};
    struct vm_warm again = VM_WARM_AGAIN;
    uint64_t size;
    if (vm_store_chain(s, vm, &st, &files, &size, err) < 0 ||
        vm_disks_open(vm, st, &extra, err) < 0 || take_state(vm, spec, detach, &again, &o, err) < 0)
        return -1;
    struct vm_run_disk first = {(const char *const *)files.ptr, files.len, size};
    AUTO_FREE struct vm_run_disk *disks = vm_disks_all(first, &extra, &o.n_disks);
    o.disks = disks;
    o.image = json_str(vm->config, "image");
    if (detach && (spec->timeout_ms || spec->console_log))
        session_notice(s,
                       "in the background, --timeout and --console of VM '%s' do nothing; 'kiln "
                       "logs' has its console",
                       vm->name);
    int rc = vm_options_boot(s, spec, &o, vm, copies, detach, err);
    return rc < 0 ? name_forward(vm, err) : rc;
}

int vm_store_start(const struct session *s, const struct args *a, const char *name, bool detach,
                   const struct vm_copies *copies, struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    CLEANUP(vm_spec_clear) struct vm_spec spec;
    CLEANUP(vm_warm_request_clear) struct vm_warm_request warm = {0};
    vm_spec_init(&spec);
    if (vm_find(s, name, &vm, err) < 0 || vm_store_spec(&vm, &spec, err) < 0 ||
        (a->command == &cmd_start && vm_options_take(a, &spec, err) < 0) ||
        vm_warm_take_vm(s, a, &vm, &warm, err) < 0 || named_vm_lock(&vm, err) < 0)
        return -1;
    const struct vm_warm_wish *wish = warm.wanted ? &warm.wish : NULL;
    return vm_store_boot(s, &vm, &spec, detach, copies, wish, err);
}

bool vm_store_is_temporary(const struct named_vm *vm)
{
    return json_flag(vm->config, "temporary");
}

int vm_store_drop_temporary(const struct session *s, const char *name, struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    CLEANUP(error_freep) struct error *why = NULL;
    if (named_vm_open(s->vmstore, name, &vm, &why) < 0 || !vm_store_is_temporary(&vm) ||
        !named_vm_was_started(&vm))
        return 0;
    json_auto_t *state = vm_state_read(vm.dir);
    if (state) // suspended to disk, not ended
        return 0;
    if (named_vm_remove(s->vmstore, &vm, &why) < 0 && why->kind != ERR_BUSY)
        return error_propagate(err, STEAL(why));
    return 0;
}

void vm_store_sweep(const struct session *s)
{
    CLEANUP(strv_clear) struct strv names = {0};
    if (named_vm_list(s->vmstore, &names, NULL) < 0)
        return;
    vec_foreach (char **, name, &names) {
        struct named_vm vm = {.dir =
                                  named_vm_folder(s->vmstore, *name)}; // opened only if it may go
        if (named_vm_was_started(&vm) && !named_vm_runs(&vm))
            (void)vm_store_drop_temporary(s, *name, NULL);
        free(vm.dir);
    }
}
