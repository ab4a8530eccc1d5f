// SPDX-License-Identifier: MIT
#include "base/cleanup.h"
#include "cli/command.h"
#include "vm/ssh.h"

#include <stdio.h>

static const struct option_spec done_options[] = {JSON_OPTION, {0}};

static int run(struct session *s, const struct args *a, struct error **err)
{
    AUTO_FREE char *line = vm_ssh_own_key(s, err);
    if (!line)
        return -1;
    (void)json_object_set_new(a->result, "public_key", json_string(line));
    if (!a->result)
        puts(line);
    return 0;
}

const struct command cmd_ssh_key = {
    .name = "ssh-key",
    .summary = "Print kiln's public SSH key, for an image's authorized_keys",
    .usage = "",
    .detail =
        "The key pair is made on first use. Let kiln run into an image:\n\n"
        "  kiln ssh-key >build-dir/kiln.pub\n"
        "  COPY kiln.pub /home/vagrant/.ssh/authorized_keys      (in its Imagefile)\n",
    .max_args = 0,
    .options = done_options,
    .flags = CMD_RESULT,
    .run = run,
};
