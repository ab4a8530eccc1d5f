/* SPDX-License-Identifier: MIT
 *
 * How a command line becomes a struct args (cli/command.h has what commands need of it).
 */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include "cli/command.h"

/* One option, which begins with '-'; next: the word after it, NULL = none. Returns how many further
 * words it took; -1 with ERR_USAGE. */
int args_take(struct args *a, const char *word, const char *next, struct error **err);
/* All words after the command, which is a->command; what a holds already stays. ERR_USAGE. */
int args_take_all(struct args *a, int argc, char **argv, struct error **err);

#endif
