/* SPDX-License-Identifier: MIT
 *
 * What the files of the parser share: parse.c goes through the instructions, parse_step.c and
 * parse_run.c read one each, order.c checks them together. Used by nobody else.
 */
#ifndef IMAGEFILE_PARSER_H
#define IMAGEFILE_PARSER_H

#include "base/arena.h"
#include "base/vector.h"
#include "imagefile/imagefile.h"
#include "imagefile/instruction.h"
#include "imagefile/lex.h"

/* An instruction as it was met, mistakes included: the checks of the order must not take a step
 * that failed for one that is missing. */
struct seen {
    enum imagefile_op op; /* OP_COUNT: no known instruction */
    struct span at;       /* of the instruction word */
    size_t stage;         /* NO_STAGE before the first FROM */
    size_t step;          /* index into f->steps; NO_STEP if it had mistakes */
};
#define NO_STEP ((size_t)-1)
DEFINE_VECTOR(seens, struct seen);

struct parser {
    struct imagefile *f;
    struct seens seen;
};

/* Reports an error at a place; returns the diagnostic for its help (may be NULL). */
#define parse_error(p, at, ...) \
    diag_add(&(p)->f->diags, &(p)->f->source, DIAG_ERROR, at, __VA_ARGS__)

/* Fills s (op, json, heredocs and its arguments) from l, whose instruction is known; reports every
 * mistake in it. */
void parse_step(struct parser *p, const struct logical *l, struct imagefile_step *s);
void parse_note(struct parser *p, const struct logical *l, struct imagefile_step *s);
void parse_run(struct parser *p, const struct logical *l, struct imagefile_step *s);

/* A JSON list that is not one, as far as one can tell: a glob or a test may begin with '[' too. */
bool looks_like_list(struct str text);
/* Where an instruction is that lacks something: at its word. */
struct span keyword_span(const struct logical *l);
/* Adds the form of the instruction as help; NULL d is fine. */
void say_form(struct diag *d, const struct instruction *in);

/* Adds the mount that stands in `text` to run; reports its mistakes. */
void parse_mount(struct parser *p, const struct logical *l, struct run_args *run, struct str text);

/* Go's strconv.ParseBool, which Dockerfile uses: 1, t, true, TRUE… false: it is none. */
bool read_bool(const char *text, bool *ret);
/* Digits, and too large for a user or group: above 4294967294. */
bool id_too_large(struct str text);

/* A word of l, checked for the syntax of its quotes and variables. */
struct word parse_word(struct parser *p, const struct logical *l, struct str raw,
                       enum word_mode mode);
/* The flags at the start of *rest, each given to `take`; unknown and repeated ones are reported. */
typedef void take_flag(struct parser *p, const struct logical *l, struct imagefile_step *s,
                       const struct flag *flag, struct str value);
void parse_flags(struct parser *p, const struct logical *l, struct imagefile_step *s,
                 struct str *rest, take_flag *take);
/* `text` as a JSON list of strings: true and *ret. false: it is not JSON at all, or (*ret_bad is
 * then set, and it is reported) a list of something else. */
bool parse_list(struct parser *p, const struct logical *l, struct str text, enum word_mode mode,
                struct words *ret, bool *ret_bad);

/* Dockerfile's predefined ARGs, which programs read from the environment: http_proxy and the like.
 */
bool is_predefined_arg(struct str name);

/* The first character of a text that cannot be seen (a no-break space, a zero width space…). */
struct invisible {
    size_t at, len;            /* bytes */
    const char *name, *advice; /* "no-break space (U+00A0)", "replace it with an ordinary space" */
    bool letter;               /* some scripts are written with it: wrong only in a keyword */
};
bool find_invisible(struct str text, struct invisible *ret);

/* The rules about which instruction may follow which. */
void check_order(struct parser *p);

/* Reports what is wrong with the syntax of a word or here-document (expand.c). */
void expand_check(const struct imagefile *f, const struct word *w, struct diags *d);
void expand_check_heredoc(const struct imagefile *f, const struct heredoc *h, struct diags *d);
/* Reports what is wrong with a DISK or PARTITION step whose words hold no variables (disk.c). */
void disk_check(struct imagefile *f, const struct imagefile_step *s);
/* The same for all of them in a stage together. */
void disk_check_stage(struct imagefile *f, size_t stage);

#endif
