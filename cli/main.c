// SPDX-License-Identifier: MIT
#include "cli/command.h"

const struct command *const commands[] = {
    NULL,
};

int main(int argc, char **argv)
{
    return command_main(argc, argv);
}
