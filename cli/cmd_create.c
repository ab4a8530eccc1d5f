// SPDX-License-Identifier: MIT
//
// kiln create
#include "base/alloc.h"
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

static const struct option_spec options[] = {
    {"name", 0, "NAME", "Name of the VM [default: the image's, with a number if a VM has that]",
     NULL},
    PULL_OPTION,
    REGISTRY_FETCH_OPTIONS,
    DISK_SIZE_OPTION,
    EXTRA_IMAGE_OPTION,
    PUBLISH_ALL_OPTION,
    PREPARE_OPTIONS,
    SEED_OPTIONS,
    COPY_IN_OPTIONS,
    WARM_OPTIONS,
    VM_OPTIONS,
    JSON_OPTION,
    {0},
};

/* The image's, unless a VM has it. */
static char *free_name(const struct session *s, const struct args *a)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    CLEANUP(error_freep) struct error *why = NULL;
    AUTO_FREE char *image = xstrndup(a->pos[0], strcspn(a->pos[0], ","));
    char *name = named_vm_name(image);
    if (named_vm_open(s->vmstore, name, &vm, &why) < 0 && why->kind == ERR_NOT_FOUND)
        return name;
    free(name);
    return vm_store_invent_name(a->pos[0]);
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(vm_spec_clear) struct vm_spec spec;
    AUTO_FREE char *name = args_has(a, "name") ? xstrdup(args_get(a, "name")) : free_name(s, a);
    CLEANUP(vm_copies_clear) struct vm_copies copies = {0};
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    vm_spec_init(&spec);
    if (vm_options_take(a, &spec, err) < 0 || vm_prepare_check(a, err) < 0 ||
        vm_copies_take(a, false, &copies, err) < 0 ||
        vm_store_create(s, a, &spec, name, &copies, false, NULL, &vm, err) < 0)
        return vm_find_instead(s, a->pos[0], "'kiln start %s' boots it", err);
    (void)json_object_set_new(a->result, "name", json_string(name));
    if (!a->result)
        printf("Created VM '%s'\n", name);
    return 0;
}

const struct command cmd_create = {
    .name = "create",
    .summary = "Make a VM that keeps its disk, from an image",
    .usage = "[--name NAME] IMAGE [options] [-- QEMU-ARGUMENT...]",
    .detail =
        "The options are kept and are those of 'kiln start', which boots the VM. Its disk takes\n"
        "only what the guest writes; the layers it stands on are kept as long as the VM.\n",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .flags = CMD_REST | CMD_RESULT,
    .run = run,
};
