/* SPDX-License-Identifier: MIT
 *
 * What users of docker, podman and limactl type: other names of kiln's commands, and a sentence
 * where there is no such command or option here, or the nearest of those that there are.
 */
#ifndef CLI_WORDS_H
#define CLI_WORDS_H

#include "base/buf.h"
#include "cli/command.h"

struct word_alias {
    const char *words;   /* "rmi", "image list" */
    const char *command; /* "image rm" */
    const char *option;  /* given to it first, such as "--kill"; NULL = none */
    bool quiet;          /* not named in the help */
};
/* Ends with words NULL. A command of main.c comes before an alias of the same words; one whose
 * command is not there does not count. */
extern const struct word_alias word_aliases[];

/* How many of the argc words of argv make `name`, as "image ls" is made by two; 0 = another. */
int words_match(const char *name, char **argv, int argc);
/* Appends " (also: build, x)" to the summary of a command, as its help shows it. */
void words_add_aliases(struct buf *out, const struct command *c);
/* ERR_USAGE with what to type: for argv[0], or argv[0] and argv[1] when that is a group. */
int words_no_command(char **argv, int argc, bool group, struct error **err);
/* The same for an option such as "--platform=x" or "-it". */
int words_no_option(const struct command *c, const char *word, struct error **err);
/* ERR_USAGE for a long option after one dash, as packer and QEMU have them ("-force", "-smp"), which
 * would else be read as a cluster of letters. */
int words_one_dash(const struct command *c, const char *word, struct error **err);

#endif
