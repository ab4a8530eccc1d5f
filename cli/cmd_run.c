// SPDX-License-Identifier: MIT
//
// kiln run: an image or NAME@STEP to a chain of files; the rest is cli/vm_options and vm/run. With
// a name, or detached, it is a VM of the store.
#include "base/alloc.h"
#include "base/json.h"
#include "builder/build/build.h"
#include "builder/build/image_chain.h"
#include "cli/build_ui.h"
#include "cli/registry_options.h"
#include "cli/vm_copy.h"
#include "cli/vm_disks.h"
#include "cli/vm_find.h"
#include "cli/vm_image.h"
#include "cli/vm_options.h"
#include "cli/vm_prepare.h"
#include "cli/vm_seed.h"
#include "cli/vm_store.h"
#include "cli/vm_warm.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct option_spec options[] = {
    {"name", 0, "NAME", "Name of the VM, which stays when it has ended", NULL},
    DETACH_OPTION,
    {"rm", 0, NULL, "Remove a VM with a name when it has ended", NULL},
    {"interactive", 'i', NULL, "For docker's users: standard input always reaches the guest", NULL},
    {"tty", 't', NULL, "Give COMMAND a terminal; without COMMAND as --ssh", NULL},
    PULL_OPTION,
    REGISTRY_FETCH_OPTIONS,
    DISK_SIZE_OPTION,
    EXTRA_IMAGE_OPTION,
    PUBLISH_ALL_OPTION,
    PREPARE_OPTIONS,
    SEED_OPTIONS,
    COPY_OPTIONS,
    WARM_OPTIONS,
    VM_OPTIONS,
    JSON_OPTION,
    {0},
};

static void report(const struct args *a, const char *name)
{
    (void)json_object_set_new(a->result, "name", json_string(name));
    if (!a->result)
        puts(name);
}

static void remove_vm(const struct session *s, const char *name)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    if (named_vm_open(s->vmstore, name, &vm, NULL) == 0)
        (void)named_vm_remove(s->vmstore, &vm, NULL);
}

/* request: what the image's name stood for before the VM was made; the VM's disk is on the layer of then,
 * so it has to stand for the same now. */
static int boot_named(struct session *s, const struct args *a, struct named_vm *vm,
                      struct vm_spec *spec, const struct vm_copies *copies,
                      const struct vm_warm_request *request, struct error **err)
{
    CLEANUP(vm_warm_request_clear) struct vm_warm_request now = {0};
    if (request->wanted && vm_warm_take(s, a, a->pos[0], &now, err) < 0)
        return -1;
    bool warm = now.wanted && !strcmp(now.id, request->id);
    return vm_store_boot(s, vm, spec, args_has(a, "detach"), copies, warm ? &now.wish : NULL, err);
}

/* Of a start that failed or was interrupted: no guest ran, or in the background it ended with that. vm:
 * not locked by us. */
static bool is_unused(const struct named_vm *vm, bool detach)
{
    json_auto_t *record = named_vm_noted(vm);
    return detach ? !named_vm_runs(vm) : !json_object_get(record, "ssh_port"); // QEMU has answered
}

/* request: for a saved boot to start from, or not wanted. */
static int run_named(struct session *s, const struct args *a, struct vm_spec *spec,
                     const struct vm_copies *copies, const struct vm_warm_request *request,
                     struct error **err)
{
    bool detach = args_has(a, "detach"), given = args_has(a, "name");
    AUTO_FREE char *name = given ? xstrdup(args_get(a, "name")) : vm_store_invent_name(a->pos[0]);
    vm_store_sweep(s);
    bool temporary = !given || args_has(a, "rm");
    // one whose files are to be copied out is not swept away before that
    bool swept = temporary && (detach || !copies->out.len);
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    if (vm_store_create(s, a, spec, name, copies, swept, NULL, &vm, err) < 0)
        return -1;
    int status = boot_named(s, a, &vm, spec, copies, request, err);
    if (status == 0 && detach)
        report(a, name);
    if (status >= 0 && detach)
        return status;
    auto_closep(&vm.lock); // whoever copies or removes takes it
    vm.lock = -1;
    temporary |= status < 0 && is_unused(&vm, detach);
    CLEANUP(error_freep) struct error *why = NULL;
    bool copied = status < 0 || vm_copy_out_status(s, name, copies, status, &why) >= 0;
    // what the guest has not is not to be had by keeping the VM
    bool keep = !copied && (why->kind != ERR_NOT_FOUND || why->errnum != ENOENT);
    AUTO_FREE char *word = shell_word(name);
    if (temporary && keep)
        session_notice(
            s, "VM '%s' is kept, with the files that were to be copied; 'kiln rm %s' removes it",
            name, word);
    else if (temporary)
        remove_vm(s, name);
    return copied ? status : error_propagate(err, STEAL(why));
}

/* Whether the VM that has the name can be run in the image's place, with the options given now. */
static int check_again(const struct args *a, const char *name, const struct named_vm *vm,
                       struct error **err)
{
    static const char *const at_first[] = {
        "rm",      "disk-size",  "extra-image",    "inject",     "hostname",   "grow",
        "no-grow", "cloud-init", "network-config", "public-key", "publish-all"};
    const char *image = json_str(vm->config, "image");
    AUTO_FREE char *wanted = xstrndup(a->pos[0], strcspn(a->pos[0], ","));
    if (!image || strcmp(image, wanted) != 0) {
        error_set(err, ERR_EXISTS, "VM '%s' exists, of the image '%s'", name, image ? image : "?");
        return error_hint(err, "give another --name, or 'kiln rm %s' first", vm->word);
    }
    for (size_t i = 0; i < sizeof at_first / sizeof *at_first; i++)
        if (args_has(a, at_first[i])) {
            error_set(err, ERR_EXISTS, "VM '%s' exists: --%s is for a new one", name, at_first[i]);
            return error_hint(err, "leave it out, or 'kiln rm %s' first", vm->word);
        }
    return 0;
}

/* As `kiln start`: what `run --name` made is run again, on its own disk. */
static int run_again(struct session *s, const struct args *a, struct named_vm *vm,
                     const struct vm_copies *copies, struct error **err)
{
    const char *name = args_get(a, "name");
    bool detach = args_has(a, "detach");
    CLEANUP(vm_spec_clear) struct vm_spec spec;
    vm_spec_init(&spec);
    if (check_again(a, name, vm, err) < 0 || vm_copy_in(s, name, copies, err) < 0 ||
        vm_store_spec(vm, &spec, err) < 0)
        return -1;
    spec.tty = args_has(a, "tty") && !detach;
    CLEANUP(vm_warm_request_clear) struct vm_warm_request warm = {0};
    if (vm_options_take(a, &spec, err) < 0 || vm_warm_take_vm(s, a, vm, &warm, err) < 0 ||
        named_vm_lock(vm, err) < 0)
        return -1;
    const struct vm_warm_wish *wish = warm.wanted ? &warm.wish : NULL;
    int status = vm_store_boot(s, vm, &spec, detach, copies, wish, err);
    if (status == 0 && detach)
        report(a, name);
    named_vm_clear(vm); // whoever copies takes the lock
    return status < 0 || detach ? status : vm_copy_out_status(s, name, copies, status, err);
}

static int run_nameless(struct session *s, const struct args *a, struct vm_spec *spec,
                        const struct vm_copies *copies, struct error **err)
{
    CLEANUP(image_chain_clear) struct image_chain chain = {0};
    CLEANUP(build_shown_clear) struct build_shown shown = {0};
    CLEANUP(vm_disks_free) struct vm_disks extra = {0};
    CLEANUP(vm_warm_request_clear) struct vm_warm_request warm = {0};
    struct image_request request = {.ref = a->pos[0]};
    if (args_pull(a, &request.pull, err) < 0 ||
        registry_options_take(a, &request.transfer, err) < 0 ||
        build_shown_init(&shown, s, NULL, err) < 0)
        return -1;
    progress_init(&shown.bar, stderr, PROGRESS_AUTO); // stdout is the guest's
    if (image_chain_open(s, &request, &chain, err) < 0)
        return -1;
    if (vm_options_disk_size(a, &chain.size, err) < 0 ||
        vm_image_take(a, chain.metadata, spec, err) < 0 ||
        vm_disks_fetch(s, a, &request, &extra, err) < 0 ||
        vm_warm_take(s, a, a->pos[0], &warm, err) < 0)
        return -1;
    struct vm_run_options o = {.image = a->pos[0], .hold = -1, .stop_when_full = true};
    o.wish = warm.wanted ? &warm.wish : NULL;
    struct vm_run_disk first = {(const char *const *)chain.files.ptr, chain.files.len, chain.size};
    AUTO_FREE struct vm_run_disk *disks = vm_disks_all(first, &extra, &o.n_disks);
    o.disks = disks;
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    CLEANUP(error_freep) struct error *why = NULL;
    AUTO_FREE char *image = xstrndup(a->pos[0], strcspn(a->pos[0], ","));
    AUTO_FREE char *name = vm_store_invent_name(image);
    vm_store_sweep(s);
    struct vm_store_place place = {.image = image, .size = chain.size, .extra = &extra};
    bool listed = vm_store_appear(s, spec, &place, name, &vm, &why) == 0;
    session_debug(s, 1, listed ? "ps, exec and stop call this VM '%s'" : "not listed: %s",
                  listed ? name : why->message);
    int status = vm_options_boot(s, spec, &o, listed ? &vm : NULL, copies, false, err);
    if (listed)
        (void)named_vm_remove(s->vmstore, &vm, NULL);
    return status;
}

static int run_new(struct session *s, const struct args *a, struct vm_spec *spec,
                   const struct vm_copies *copies, bool warm, struct error **err)
{
    bool copied = (copies->in.len || copies->out.len) && !(warm && copies->direct);
    // what is written to before or read afterwards needs a disk with a name
    bool changed = args_has(a, "cloud-init") || args_has(a, "public-key") ||
                   args_has(a, "network-config") || vm_prepare_wanted(a, copies) || copied;
    if (!changed && !args_has(a, "name") && !args_has(a, "detach"))
        return run_nameless(s, a, spec, copies, err);
    CLEANUP(vm_warm_request_clear) struct vm_warm_request request = {0};
    if (warm && vm_warm_take(s, a, a->pos[0], &request, err) < 0)
        return -1;
    return run_named(s, a, spec, copies, &request, err);
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(vm_spec_clear) struct vm_spec spec;
    CLEANUP(vm_copies_clear) struct vm_copies copies = {0};
    vm_spec_init(&spec);
    spec.tty = args_has(a, "tty") && !args_has(a, "detach");
    if (vm_options_check_command(a, err) < 0 || vm_options_take(a, &spec, err) < 0 ||
        vm_options_check_detach(a, err) < 0 || vm_prepare_check(a, err) < 0 ||
        vm_copies_take(a, true, &copies, err) < 0)
        return -1;
    CLEANUP(named_vm_clear) struct named_vm there = NAMED_VM_INIT;
    if (args_has(a, "name") && named_vm_open(s->vmstore, args_get(a, "name"), &there, NULL) == 0)
        return run_again(s, a, &there, &copies, err);
    bool warm = false;
    if (vm_warm_wanted(s, a, &warm, err) < 0)
        return -1;
    if (warm && (spec.session != VM_SERIAL || args_has(a, "detach")))
        copies.direct = true; // the disk of a saved boot is in use already
    int status = run_new(s, a, &spec, &copies, warm, err);
    return status < 0 ? vm_find_instead(s, a->pos[0], "'kiln start %s' boots it", err) : status;
}

const struct command cmd_run = {
    .name = "run",
    .summary = "Boot an image; what the guest changes is thrown away",
    .usage = "[options] IMAGE [options] [COMMAND [ARGUMENT...] | -- QEMU-ARGUMENT...]",
    .detail =
        "COMMAND is run in the guest over SSH with these arguments as they are, and its exit "
        "status\n"
        "becomes kiln's. Without it and without an SSH option the guest's serial console is yours; "
        "Ctrl-A x ends the VM.\n"
        "The VM ends when you leave, and leaves nothing behind. With -d it runs on in the\n"
        "background, and its name is printed: see ps, ssh, logs, console and stop. With --name it "
        "is\n"
        "kept, as if 'kiln create' had made it.\n",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .flags = CMD_REST | CMD_COMMAND | CMD_RESULT,
    .run = run,
};
