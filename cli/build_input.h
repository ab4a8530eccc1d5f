/* SPDX-License-Identifier: MIT
 *
 * The build directory as `kiln image build -` and `check -` get it: a tar archive, or an Imagefile
 * alone, on standard input.
 *
 *     // given struct session *s;
 *     CLEANUP(build_input_clear) struct build_input in = BUILD_INPUT_INIT;
 *     if (build_input_open(s, "-", &in, &err) < 0) ...
 *     puts(in.dir);
 */
#ifndef CLI_BUILD_INPUT_H
#define CLI_BUILD_INPUT_H

#include "base/working.h"

struct session;

struct build_input {
    const char *dir; /* of the build; borrowed from the argument, or from `unpacked` */
    const char *shown_dir,
        *shown_file; /* what a user knows them as; NULL: by their paths. Literals */
    struct working unpacked;
};
#define BUILD_INPUT_INIT \
    { \
        NULL, NULL, NULL, WORKING_INIT \
    }

/* `arg` is BUILD-DIR as given, NULL for the current folder. "-": reads standard input to its end
 * into a folder in the cache, which build_input_clear removes. The archive may be compressed by
 * gzip, bzip2, xz or zstd; nothing is written outside of the folder, and devices are left out.
 * Errors: a terminal (ERR_USAGE), what is neither an archive nor a text. */
int build_input_open(const struct session *s, const char *arg, struct build_input *ret,
                     struct error **err);
/* ERR_NOT_FOUND: the archive on standard input has no Imagefile; file: of --file, which is none of it, or NULL. */
int build_input_check(const struct build_input *in, const char *file, struct error **err);
/* What messages call the Imagefile; file: of --file, or NULL. NULL: by its path. */
const char *build_input_file(const struct build_input *in, const char *file);
void build_input_clear(struct build_input *in);

#endif
