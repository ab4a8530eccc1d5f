// SPDX-License-Identifier: MIT
//
// kiln start: the options of `create` first, then those given now.
#include "base/alloc.h"
#include "base/json.h"
#include "cache/store.h"
#include "cli/vm_options.h"
#include "vm/named.h"

#include <string.h>

extern const struct command cmd_start;
static const struct option_spec options[] = {VM_OPTIONS, {0}};

static void add_texts(struct strv *to, const json_t *list)
{
    size_t i;
    json_t *text;
    json_array_foreach((json_t *)list, i, text) if (json_is_string(text))
        strv_add(to, json_string_value(text));
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

static int take_kept(const struct named_vm *vm, struct vm_spec *spec, struct error **err)
{
    const json_t *kept = json_object_get(vm->config, "spec");
    int rc = kept ? vm_spec_from_json(kept, spec, err) : take_words(vm, spec, err);
    return rc < 0 ? error_wrap(err, "definition of VM '%s'", vm->name) : 0;
}

/* The layers below and the VM's disk. */
static int open_chain(const struct session *s, const struct named_vm *vm, struct store **st,
                      struct strv *files, struct vm_run_options *o, struct error **err)
{
    const char *layer = json_str(vm->config, "layer");
    if (!layer)
        return error_set(err, ERR_USER, "vm.json of VM '%s' names no layer", vm->name);
    if (store_open(s, s->backend, st, err) < 0 || store_chain(*st, layer, files, err) < 0)
        return error_wrap(err, "VM '%s'", vm->name);
    strv_add(files, vm->disk);
    o->files = (const char *const *)files->ptr;
    o->n_files = files->len;
    return vm_disk_size(vm->disk, &o->size, err);
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    CLEANUP(vm_spec_clear) struct vm_spec spec;
    CLEANUP(strv_clear) struct strv files = {0};
    struct vm_run_options o = {.keep = true};
    CLEANUP(store_freep) struct store *st = NULL;
    vm_spec_init(&spec);
    if (named_vm_open(s->vmstore, a->pos[0], &vm, err) < 0 || take_kept(&vm, &spec, err) < 0 ||
        vm_options_take(a, &spec, err) < 0 || named_vm_lock(&vm, err) < 0 ||
        open_chain(s, &vm, &st, &files, &o, err) < 0)
        return -1;
    o.hold = vm.lock;
    return vm_options_boot(s, &spec, &o, err);
}

const struct command cmd_start = {
    .name = "start",
    .summary = "Boot a VM that 'kiln create' made",
    .usage = "NAME [options] [-- QEMU-ARGUMENT...]",
    .detail =
        "As 'kiln run', with the options the VM was created with and those given now. When you\n"
        "leave, the guest powers off; its disk stays.\n",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .flags = CMD_REST,
    .run = run,
};
