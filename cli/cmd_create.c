// SPDX-License-Identifier: MIT
//
// kiln create: an empty overlay on a layer, and beside it the VM's definition (vm/spec.h). The disk
// stands on the layer and not on the image's name, which may be replaced.
#include "base/alloc.h"
#include "base/file.h"
#include "builder/build/build.h"
#include "cli/build_ui.h"
#include "cli/vm_options.h"
#include "image/qcow2.h"
#include "vm/named.h"

#include <time.h>

static const struct option_spec options[] = {
    {"name", 0, "NAME", "Name of the VM [default: the image's]", NULL},
    PULL_OPTION,
    VM_OPTIONS,
    {0},
};

static json_t *make_config(const struct vm_spec *spec, const char *image, const char *layer)
{
    json_t *definition = vm_spec_to_json(spec);
    return definition ? json_pack("{s:s, s:s, s:I, s:o}", "image", image, "layer", layer, "created",
                                  (json_int_t)time(NULL), "spec", definition)
                      : NULL;
}

static int create(struct session *s, const struct args *a, const struct vm_spec *spec,
                  const char *image, const char *name, struct error **err)
{
    CLEANUP(working_clear) struct working w = WORKING_INIT;
    CLEANUP(image_chain_clear) struct image_chain chain = {0};
    CLEANUP(build_shown_clear) struct build_shown shown = {0};
    enum pull_policy pull;
    if (args_pull(a, &pull, err) < 0 || named_vm_begin(s->vmstore, name, &w, err) < 0 ||
        build_shown_init(&shown, NULL, err) < 0 ||
        image_chain_open(s, a->pos[0], pull, &shown.ui, &chain, err) < 0)
        return -1;
    AUTO_FREE char *layer = image_chain_layer(s, &chain, err);
    if (!layer)
        return -1;
    AUTO_FREE char *disk = path_join(w.dir, NAMED_VM_DISK);
    AUTO_FREE char *below = realpath(chain.files.ptr[chain.files.len - 1], NULL);
    if (!below)
        return error_errno(err, "cannot find '%s'", chain.files.ptr[chain.files.len - 1]);
    struct qcow2_overlay overlay = {.size = chain.size, .backing = below, .sync = true};
    if (qcow2_create_overlay(disk, &overlay, err) < 0)
        return -1;
    json_auto_t *config = make_config(spec, image, layer);
    if (!config)
        return error_set(err, ERR_USER, "an argument is not UTF-8");
    return named_vm_commit(s->vmstore, name, &w, config, err);
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(vm_spec_clear) struct vm_spec spec;
    AUTO_FREE char *image = xstrndup(a->pos[0], strcspn(a->pos[0], ","));
    AUTO_FREE char *name =
        args_has(a, "name") ? xstrdup(args_get(a, "name")) : named_vm_name(image);
    vm_spec_init(&spec);
    if (vm_options_take(a, &spec, err) < 0 || create(s, a, &spec, image, name, err) < 0)
        return -1;
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
    .flags = CMD_REST,
    .run = run,
};
