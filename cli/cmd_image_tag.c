// SPDX-License-Identifier: MIT
#include "base/session.h"
#include "cache/store.h"
#include "cli/command.h"
#include "cli/image_use.h"
#include "image/backend.h"

static const struct option_spec done_options[] = {JSON_OPTION, {0}};

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(store_freep) struct store *st = NULL;
    if (image_lease(s, a->pos[0], &st, err) < 0)
        return -1;
    (void)json_object_set_new(a->result, "name", json_string(a->pos[1]));
    return backend_tag(s->backend, a->pos[0], a->pos[1], err);
}

const struct command cmd_image_tag = {
    .name = "image tag",
    .summary = "Give an image a second name",
    .usage = "NAME NEW-NAME",
    .detail = "Copies nothing. NEW-NAME is replaced if it exists.\n",
    .min_args = 2,
    .max_args = 2,
    .options = done_options,
    .flags = CMD_RESULT | CMD_IMAGES,
    .run = run,
};
