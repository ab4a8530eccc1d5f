// SPDX-License-Identifier: MIT
#include "cli/command.h"

extern const struct command cmd_run, cmd_ssh_key;

const struct command *const commands[] = {
    &cmd_run,
    &cmd_ssh_key,
    NULL,
};

int main(int argc, char **argv)
{
    return command_main(argc, argv);
}
