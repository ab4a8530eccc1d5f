// SPDX-License-Identifier: MIT
//
// `kiln help`: the language from its table of instructions, and what --help of a command prints.
#include "cli/command.h"

#include "imagefile/instruction.h"

static int run(struct session *s, const struct args *a, struct error **err)
{
    (void)s;
    if (a->n_pos != 1 || strcmp(a->pos[0], "imagefile") != 0)
        return command_help(a->pos, a->n_pos, err);
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    imagefile_help(&out);
    fwrite(out.data, 1, out.len, stdout);
    return 0;
}

const struct command cmd_help = {
    .name = "help",
    .summary = "Show the Imagefile language, or how to use a command",
    .usage = "[imagefile | COMMAND]",
    .max_args = 3,
    .flags = CMD_NO_HOME,
    .run = run,
};
