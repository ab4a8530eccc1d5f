// SPDX-License-Identifier: MIT
#include "base/session.h"
#include "cache/store.h"
#include "cli/command.h"
#include "cli/image_use.h"
#include "cli/progress.h"
#include "image/convert.h"

static const struct option_spec options[] = {QUIET_OPTION, JSON_OPTION, {0}};

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(store_freep) struct store *st = NULL;
    CLEANUP(progress_clear) struct progress bar;
    progress_init(&bar, stderr, PROGRESS_AUTO);
    progress_hear(&bar, s);
    if (image_lease(s, a->pos[0], &st, err) < 0)
        return -1;
    (void)json_object_set_new(a->result, "name", json_string(a->pos[0]));
    if (image_flatten(s, a->pos[0], err) < 0)
        return -1;
    args_say(a, "Flattened image '%s'", a->pos[0]);
    return 0;
}

const struct command cmd_image_flatten = {
    .name = "image flatten",
    .summary = "Make an image one file that needs no layers",
    .usage = "[--quiet] NAME",
    .detail =
        "The image then reads faster and keeps no layer from being pruned, but shares nothing\n"
        "with other images any more.\n",
    .min_args = 1,
    .max_args = 1,
    .options = options,
    .flags = CMD_RESULT | CMD_IMAGES,
    .run = run,
};
