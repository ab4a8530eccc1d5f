/* SPDX-License-Identifier: MIT
 *
 * The one table of instructions: the lexer and the parser ask it what an instruction is, `kiln help
 * imagefile` prints it, and a test holds docs/man/imagefile.5.scd against it.
 */
#ifndef IMAGEFILE_INSTRUCTION_H
#define IMAGEFILE_INSTRUCTION_H

#include "imagefile/imagefile.h"

enum instruction_traits {
    TRAIT_COMMAND = 1, /* the text belongs to a shell: '#' and backslashes are left alone */
    TRAIT_HEREDOC = 2, /* takes here-documents */
    TRAIT_QUOTES = 4,  /* quotes keep blanks and '#' together */
    TRAIT_JSON = 8,    /* has a JSON list form */
};

enum flag_traits {
    FLAG_REPEATS = 1, /* may be given several times */
    FLAG_BARE = 2,    /* without a value it is true */
};

struct flag {
    const char *name; /* without the dashes; NULL ends the table */
    const char *form; /* "--from=<stage or image>" */
    const char *help;
    unsigned traits; /* of enum flag_traits */
};

struct instruction {
    const char *name;
    enum imagefile_op op;
    unsigned traits;
    size_t min_words, max_words; /* without flags; of the form that is not JSON */
    const struct flag *flags;    /* NULL = none */
    const char *form;            /* what follows the name, for help and errors; "" = nothing */
    const char *help;            /* sentences */
};

/* OP_COUNT entries, in the order of the manual; instructions[op].op == op. */
extern const struct instruction instructions[];

/* By name, letters of either case; NULL = there is none. */
const struct instruction *instruction_find(struct str name);
/* Does a line start with the name of an instruction in capitals? */
bool instruction_starts(struct str line);
const struct flag *instruction_flag(const struct instruction *in, struct str name);
/* Why a word that is not an instruction is none and what to write: for Dockerfile's instructions a text
 * of its own, else the nearest name, else a list. Owned. */
char *instruction_advice(struct str name);
/* The text of `kiln help imagefile`. */
void imagefile_help(struct buf *out);

#endif
