/* SPDX-License-Identifier: MIT
 *
 * A subcommand is one file cmd_<name>.c that ends in its descriptor; main.c lists them all, and
 * dispatch, --help, shell completion and the check of the command line come from the table.
 *
 *     static int run(struct session *s, const struct args *a, struct error **err) { return 0; }
 *     const struct command cmd_image_ls = {
 *         .name = "image ls", .summary = "List the images of the backend", .usage = "[options]",
 *         .options = common_options, .max_args = 0, .run = run};
 *
 * run returns the exit status, or -1 with *err (exit 1; ERR_USAGE: 2; ERR_CANCELLED: 130).
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "base/error.h"
#include "base/session.h"
#include "base/vector.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct option_spec {
    const char *name;  /* long name without the dashes; NULL ends the table */
    char letter;       /* short name, 0 = none */
    const char *value; /* what stands for its value in the help ("FILE"); NULL = a plain flag;
                        * "[=a|b]": it may have one, after '=' or, if it is a or b, as the
                        * next word (no letter then); "[=SECONDS]": if that begins with a digit */
    const char *help;  /* one sentence, no full stop */
    const char *alias; /* other names for it, "tag,t": long ones and letters; or NULL */
};

/* Whether its value may be left out: "[=a|b]". */
static inline bool option_value_optional(const struct option_spec *o)
{
    return o->value && o->value[0] == '[' && o->value[1] == '=';
}

/* --json of a command with CMD_RESULT. */
// clang-format off
#define JSON_OPTION {"json", 0, NULL, "Print what was done as JSON", NULL}
// clang-format on

/* --quiet of a command that uses args_say. */
// clang-format off
#define QUIET_OPTION {"quiet", 'q', NULL, "Don't say what was done", NULL}
// clang-format on

struct args {
    const struct command *command;
    struct given *given; /* options as given, in order */
    size_t n_given;
    char **pos; /* positional arguments, NULL-terminated */
    size_t n_pos;
    char **rest; /* what follows "--" when the command takes it (CMD_REST); NULL-terminated */
    size_t n_rest;
    json_t *result;    /* with --json: what is printed at the end, an object; else NULL, to which
                     * json_object_set_new adds nothing. Owned */
    char **words;      /* with CMD_COMMAND: a command for the guest; NULL-terminated, NULL = none */
    struct strv owned; /* values and words that are in no argv */
    char **own_rest;   /* rest, if it is not a part of argv */
};

enum command_flags {
    CMD_REST = 1,     /* "--" ends kiln's arguments; the rest goes elsewhere (QEMU) */
    CMD_WORDS = 4,    /* what follows the first argument are words of another command */
    CMD_LATE = 32,    /* with CMD_WORDS: options may stand behind the first argument, too, unless
                      * --name gives that */
    CMD_COMMAND = 8,  /* what follows the last positional argument is a command for the guest */
    CMD_RESULT = 16,  /* with --json an object is printed at the end: what was done, `result` */
    CMD_CI_JOB = 64,  /* a gitlab-runner calls it: its errors are the runner's, not the job's */
    CMD_IMAGES = 128, /* images may be replaced or removed: their saved boots go, too */
    CMD_NO_HOME = 2,  /* works without KILN_HOME and HOME: uses no backend and no cache */
};

struct command {
    const char *name; /* "image build" */
    const char *summary;
    const char *usage;  /* what follows the name: "[options] BUILD-DIR" */
    const char *detail; /* further text of the help, whole lines; NULL = none */
    const struct option_spec *options;
    size_t min_args, max_args; /* of positional arguments; max SIZE_MAX = any number */
    int flags;
    int (*run)(struct session *s, const struct args *a, struct error **err);
};

/* The option's last value (borrowed); NULL when it was not given. A name that the command does not
 * have is a bug (assert), here and below. */
const char *args_get(const struct args *a, const char *name);
bool args_has(const struct args *a, const char *name);
/* The i-th value (from 0) of an option that may stand several times; NULL after the last. */
const char *args_nth(const struct args *a, const char *name, size_t i);
/* An option of the command, or a common one, by any of its long names; NULL. */
const struct option_spec *command_option(const struct command *c, const char *name);
/* Inserts an option before the at-th one that was given, or a word into rest, as if it stood on the
 * command line. Values are copied. */
void args_insert(struct args *a, size_t at, const struct option_spec *o, const char *value);
/* Takes o out of the first n that were given; how often it was there. */
size_t args_remove(struct args *a, size_t n, const struct option_spec *o);
void args_insert_rest(struct args *a, size_t at, const char *word);
/* A whole number in [min, max] (0, *ret untouched when not given); -1 with ERR_USAGE. */
int args_num(const struct args *a, const char *name, long long min, long long max, long long *ret,
             struct error **err);
/* A size such as 512, 10K, 1.5GB, 2GiB in bytes (K, M, G, T are binary). As args_num. */
int args_size(const struct args *a, const char *name, unsigned long long *ret, struct error **err);
bool size_parse(const char *text, unsigned long long *ret); /* the same from any text */
/* --memory in MB, where a bare number means MB; from 16M to 16T. As args_num. */
int args_memory(const struct args *a, unsigned *ret_mb, struct error **err);
/* A user of the guest, borrowed, left alone when it was not given; ret may be NULL. ERR_USAGE: none can have that name. */
int args_user(const struct args *a, const char *name, const char **ret, struct error **err);
/* --accel, borrowed, NULL when it was not given; it or KILN_ACCEL is checked: ERR_USAGE. */
int args_accel(const struct args *a, const char **ret, struct error **err);
/* Each value of an option that takes NAME or NAME=VALUE has a name: ERR_USAGE. */
int args_names(const struct args *a, const char *name, struct error **err);
/* A time such as 90, 90s, 15m, 12h, 7d in seconds. As args_num. */
int args_seconds(const struct args *a, const char *name, long long *ret, struct error **err);

/* One line on stdout about what was done, unless --json or the command's --quiet was given. */
void args_say(const struct args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Calls fn for each positional argument, also after one that failed: what can be done is done. The
 * last error is the result, the ones before are printed. What was done goes to "done" of the result. Ends early when the user interrupts. */
typedef int args_each_fn(const struct session *s, const struct args *a, const char *name,
                         struct error **err);
int args_each(const struct session *s, const struct args *a, args_each_fn *fn, struct error **err);

/* Takes the words that follow a command's name; they stay borrowed. ERR_USAGE. */
int args_parse(const struct command *c, int argc, char **argv, struct args *ret,
               struct error **err);
void args_clear(struct args *a);

/* NULL-terminated; in main.c. */
extern const struct command *const commands[];
extern const struct command cmd_image_check; /* for image build --check */

/* Options every command has: -v/--verbose, -h/--help, --image-backend, --vmstore. */
extern const struct option_spec common_options[];

/*
 * Parses argv (argv[0] is the program) and runs the command; returns the exit status. Everything
 * it has to tell goes to stdout (help) and stderr (errors).
 */
int command_main(int argc, char **argv);
/* Prints the help that `kiln WORDS… --help` prints; -1 with ERR_USAGE if there is no such command.
 */
int command_help(char **words, size_t n, struct error **err);
/* Prints a line to stderr: `what`, then the text, which may quote strangers (base/printable.h). */
void print_note(const char *what, const char *text);
/* kiln's exit status for an error. */
int command_exit_status(const struct error *err);
/* Prints an error as users see it: place, "error: message", "hint: …". */
void print_error(const struct error *err);

#endif
