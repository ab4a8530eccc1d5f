/* SPDX-License-Identifier: MIT
 *
 * The lexer: cuts a text into instructions, each with its continuation lines joined, its comments
 * gone and its here-documents read, and an instruction's text into words. Time is linear in the
 * text.
 *
 *     // given struct source source; struct arena *arena; struct diags diags; struct logical l;
 *     struct lexer lx = {.source = &source, .arena = arena, .diags = &diags};
 *     while (lex_next(&lx, &l)) ...
 *
 * Views point into the source, or into the arena where lines had to be joined.
 */
#ifndef IMAGEFILE_LEX_H
#define IMAGEFILE_LEX_H

#include "base/arena.h"
#include "imagefile/imagefile.h"
#include "imagefile/instruction.h"

struct lexer {
    const struct source *source;
    struct arena *arena;
    struct diags *diags;
    size_t at;      /* the next byte to read */
    size_t guessed; /* lines searched on behalf of words that are no instruction; bounded */
};

/* Where a part of a joined text comes from. */
struct piece {
    size_t in_text, in_source;
};

/* One instruction. */
struct logical {
    struct str keyword; /* as written */
    size_t keyword_at;
    const struct instruction *instruction; /* NULL: there is none of this name */
    struct str text;                       /* what follows, without blanks around it */
    struct piece *pieces;                  /* one for each line that gave text; at least one */
    size_t n_pieces;
    size_t end; /* offset after the text's last byte */
    struct heredoc *heredocs;
    size_t n_heredocs;
    bool too_long; /* already reported; text is empty */
};

/* Skips blank and comment lines, then reads an instruction; false at the end. Reports
 * here-documents without an end and instructions longer than IMAGEFILE_LINE_MAX. */
bool lex_next(struct lexer *lx, struct logical *ret);

/* The place of part of l->text in the source. */
struct span lex_span(const struct logical *l, struct str part);
/* Cuts the next word off *rest, false at its end. With `quotes`, blanks between quotes and after a
 * backslash do not end a word. */
bool lex_word(struct str *rest, bool quotes, struct str *ret);
struct str str_trim(struct str s); /* without blanks (space, tab) at both ends */
/* A view that fits into a message: at most 60 bytes. */
struct str str_clip(struct str s);
/* If the word at the start of `text` (a word's first byte) begins a here-document ("<<EOF",
 * "<<-'EOF'", "<< EOF"), its length, else 0. ret (its delimiter, quoted, strip_tabs) may be NULL.
 * `shell`: the delimiter also ends at what ends a word in a shell. */
size_t lex_heredoc_word(struct str text, bool shell, struct heredoc *ret);
/* The same for a word that lex_word has just cut off *rest. A delimiter that stands after blanks,
 * or has some in quotes, is made part of the word. */
size_t lex_heredoc(struct str *rest, struct str *word, bool shell, struct heredoc *ret);

#endif
