// SPDX-License-Identifier: MIT
#include "base/session.h"
#include "cli/command.h"
#include "cli/image_use.h"
#include "image/backend.h"

#include <stdint.h>

static const struct option_spec options[] = {
    {"force", 'f', NULL, "Remove it even if a VM uses it", NULL},
    {0},
};

static int remove_one(struct session *s, const char *name, bool force, struct error **err)
{
    if (!force && image_unused(s, name, err) < 0)
        return error_hint(err, "use --force to remove it anyway");
    return backend_remove(s->backend, name, err);
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    // what can be removed is removed; the last problem is the result
    CLEANUP(error_freep) struct error *why = NULL;
    for (size_t i = 0; i < a->n_pos; i++) {
        struct error *one = NULL;
        if (remove_one(s, a->pos[i], args_has(a, "force"), &one) == 0)
            continue;
        if (why)
            print_error(why);
        error_free(why);
        why = one;
    }
    return why ? error_propagate(err, STEAL(why)) : 0;
}

const struct command cmd_image_rm = {
    .name = "image rm",
    .summary = "Remove images from the backend",
    .usage = "[--force] NAME…",
    .detail =
        "Layers that nothing needs any more stay cached until 'kiln prune' or a limit takes "
        "them.\n",
    .options = options,
    .min_args = 1,
    .max_args = SIZE_MAX,
    .run = run,
};
