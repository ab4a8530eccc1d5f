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

/* The words of create as a command line of start. */
static int take_kept(const struct named_vm *vm, struct strv *words, struct args *kept,
                     struct vm_options *o, struct error **err)
{
    strv_add(words, vm->name);
    add_texts(words, json_object_get(vm->config, "options"));
    strv_add(words, "--");
    add_texts(words, json_object_get(vm->config, "qemu_args"));
    if (args_parse(&cmd_start, (int)words->len, words->ptr, kept, err) < 0 ||
        vm_options_take(kept, o, err) < 0)
        return error_wrap(err, "what VM '%s' was created with", vm->name);
    return 0;
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
    CLEANUP(vm_options_clear) struct vm_options o;
    CLEANUP(strv_clear) struct strv words = {0}, files = {0};
    CLEANUP(args_clear) struct args kept = {0};
    CLEANUP(store_freep) struct store *st = NULL;
    vm_options_init(&o);
    if (named_vm_open(s->vmstore, a->pos[0], &vm, err) < 0 ||
        take_kept(&vm, &words, &kept, &o, err) < 0 || vm_options_take(a, &o, err) < 0 ||
        named_vm_lock(&vm, err) < 0 || open_chain(s, &vm, &st, &files, &o.run, err) < 0)
        return -1;
    o.run.keep = true;
    o.run.hold = vm.lock;
    return vm_options_boot(s, &o, err);
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
