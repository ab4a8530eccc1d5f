// SPDX-License-Identifier: MIT
#include "base/session.h"
#include "cli/command.h"
#include "cli/image_use.h"
#include "cli/vm_find.h"
#include "image/backend.h"

#include <stdint.h>

static const struct option_spec options[] = {
    {"force", 'f', NULL, "Remove it even if a VM uses it", NULL},
    QUIET_OPTION,
    JSON_OPTION,
    {0},
};

static int remove_one(const struct session *s, const struct args *a, const char *name,
                      struct error **err)
{
    if (!args_has(a, "force") && image_unused(s, name, err) < 0)
        return error_hint(err, "use --force to remove it anyway");
    if (backend_remove(s->backend, name, err) < 0)
        return vm_find_instead(s, name, "'kiln rm %s' removes it", err);
    args_say(a, "Removed image '%s'", name);
    return 0;
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    return args_each(s, a, remove_one, err);
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
    .flags = CMD_RESULT | CMD_IMAGES,
    .run = run,
};
