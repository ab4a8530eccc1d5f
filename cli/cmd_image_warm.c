// SPDX-License-Identifier: MIT
//
// kiln image warm: what the first `kiln run --warm` would do, ahead of time.
#include "base/alloc.h"
#include "base/json.h"
#include "builder/build/image_chain.h"
#include "cli/build_ui.h"
#include "cli/registry_options.h"
#include "cli/vm_disks.h"
#include "cli/vm_image.h"
#include "cli/vm_options.h"
#include "cli/vm_warm.h"

static const struct option_spec options[] = {
    PULL_OPTION, REGISTRY_FETCH_OPTIONS, DISK_SIZE_OPTION, EXTRA_IMAGE_OPTION,
    WARM_OPTION, READY_OPTION,           VM_OPTIONS,       JSON_OPTION,
    {0},
};

static int open_all(struct session *s, const struct args *a, struct image_chain *chain,
                    struct vm_disks *extra, struct error **err)
{
    CLEANUP(build_shown_clear) struct build_shown shown = {0};
    struct image_request request = {.ref = a->pos[0]};
    if (args_pull(a, &request.pull, err) < 0 ||
        registry_options_take(a, &request.transfer, err) < 0 ||
        build_shown_init(&shown, s, NULL, err) < 0)
        return -1;
    return image_chain_open(s, &request, chain, err) < 0 ||
                   vm_options_disk_size(a, &chain->size, err) < 0
               ? -1
               : vm_disks_fetch(s, a, &request, extra, err);
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(vm_spec_clear) struct vm_spec spec;
    CLEANUP(image_chain_clear) struct image_chain chain = {0};
    CLEANUP(vm_disks_free) struct vm_disks extra = {0};
    CLEANUP(vm_warm_request_clear) struct vm_warm_request warm = {0};
    bool wanted;
    vm_spec_init(&spec);
    if (vm_warm_wanted(s, a, &wanted, err) < 0 || vm_options_take(a, &spec, err) < 0 ||
        open_all(s, a, &chain, &extra, err) < 0 || vm_warm_take(s, a, a->pos[0], &warm, err) < 0 ||
        vm_image_take_labels(chain.metadata, &spec, err) < 0)
        return -1;
    if (vm_spec_has_user_network(&spec)) {
        spec.session = VM_SSH_COMMAND;
        vm_spec_set(&spec.command, "true");
    }
    warm.wish.only = true;
    struct vm_run_options o = {.image = warm.image, .hold = -1, .wish = &warm.wish};
    struct vm_run_disk first = {(const char *const *)chain.files.ptr, chain.files.len, chain.size};
    AUTO_FREE struct vm_run_disk *disks = vm_disks_all(first, &extra, &o.n_disks);
    o.disks = disks;
    (void)json_object_set_new(a->result, "image", json_string(warm.image));
    return vm_options_boot(s, &spec, &o, NULL, NULL, false, err);
}

const struct command cmd_image_warm = {
    .name = "image warm",
    .summary = "Boot an image once and save that, for VMs that start from it",
    .usage = "[options] IMAGE",
    .detail =
        "'kiln run --warm' of the same image, with the same options for memory, CPUs, disks and\n"
        "network, then starts from it. Nothing is done if it is there already.\n",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .flags = CMD_RESULT,
    .run = run,
};
