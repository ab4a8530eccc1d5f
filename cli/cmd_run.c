// SPDX-License-Identifier: MIT
//
// kiln run: an image or NAME@STEP to a chain of files; the rest is cli/vm_options and vm/run.
#include "builder/build.h"
#include "cli/build_ui.h"
#include "cli/vm_options.h"

static const struct option_spec options[] = {PULL_OPTION, VM_OPTIONS, {0}};

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(vm_options_clear) struct vm_options o;
    CLEANUP(image_chain_clear) struct image_chain chain = {0};
    CLEANUP(build_shown_clear) struct build_shown shown = {0};
    enum pull_policy pull;
    vm_options_init(&o);
    if (args_pull(a, &pull, err) < 0 || vm_options_take(a, &o, err) < 0 ||
        build_shown_init(&shown, NULL, err) < 0)
        return -1;
    progress_init(&shown.bar, stderr, PROGRESS_AUTO); // stdout is the guest's
    if (image_chain_open(s, a->pos[0], pull, &shown.ui, &chain, err) < 0)
        return -1;
    o.run.files = (const char *const *)chain.files.ptr;
    o.run.n_files = chain.files.len;
    o.run.size = chain.size;
    return vm_options_boot(s, &o, err);
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
