// SPDX-License-Identifier: MIT
//
// kiln run: an image or NAME@STEP to a chain of files; the rest is cli/vm_options and vm/run.
#include "builder/build/build.h"
#include "cli/build_ui.h"
#include "cli/vm_options.h"

static const struct option_spec options[] = {PULL_OPTION, VM_OPTIONS, {0}};

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(vm_spec_clear) struct vm_spec spec;
    CLEANUP(image_chain_clear) struct image_chain chain = {0};
    CLEANUP(build_shown_clear) struct build_shown shown = {0};
    enum pull_policy pull;
    vm_spec_init(&spec);
    if (args_pull(a, &pull, err) < 0 || vm_options_take(a, &spec, err) < 0 ||
        build_shown_init(&shown, NULL, err) < 0)
        return -1;
    progress_init(&shown.bar, stderr, PROGRESS_AUTO); // stdout is the guest's
    if (image_chain_open(s, a->pos[0], pull, &shown.ui, &chain, err) < 0)
        return -1;
    struct vm_run_options o = {.files = (const char *const *)chain.files.ptr,
                               .n_files = chain.files.len,
                               .size = chain.size,
                               .hold = -1};
    return vm_options_boot(s, &spec, &o, err);
}

const struct command cmd_run = {
    .name = "run",
    .summary = "Boot an image; what the guest changes is thrown away",
    .usage = "IMAGE [options] [-- QEMU-ARGUMENT...]",
    .detail =
        "Without an SSH option the guest's serial console is yours; Ctrl-A x ends the VM.\n"
        "The VM ends when you leave, and leaves nothing behind.\n",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .flags = CMD_REST,
    .run = run,
};
