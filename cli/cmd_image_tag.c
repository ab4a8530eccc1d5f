// SPDX-License-Identifier: MIT
#include "base/session.h"
#include "cli/command.h"
#include "image/backend.h"

static int run(struct session *s, const struct args *a, struct error **err)
{
    return backend_tag(s->backend, a->pos[0], a->pos[1], err);
}

const struct command cmd_image_tag = {
    .name = "image tag",
    .summary = "Give an image a second name",
    .usage = "NAME NEW-NAME",
    .detail = "Copies nothing. NEW-NAME is replaced if it exists.\n",
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
