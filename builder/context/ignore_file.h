/* SPDX-License-Identifier: MIT
 *
 * Which ignore file a build goes by: the first there is of
 *
 *   <Imagefile>.imageignore, <Imagefile>.dockerignore     beside the Imagefile, by its name
 *   .imageignore, .dockerignore                           in the build directory
 *
 *     #include "imagefile/ignore.h"
 *     struct ignore_file f = {0};
 *     if (ignore_file_read(dir, "dir/Imagefile", &f, &err) < 0) ...
 *     if (ignore_hides(f.ignore, "src/a.o")) ...
 *     ignore_file_clear(&f);
 */
#ifndef BUILDER_CONTEXT_IGNORE_FILE_H
#define BUILDER_CONTEXT_IGNORE_FILE_H

#include "base/error.h"

struct ignore;

struct ignore_file {
    char *path;            /* owned; NULL = there is none */
    const char *name;      /* its last part, into path */
    struct ignore *ignore; /* NULL hides nothing */
};

/* imagefile: path of the Imagefile; NULL = only the build directory is looked at. Errors: a file
 * that is there and can't be read or is larger than 1 MiB, a line that is not a pattern (ERR_USER
 * with its place). */
int ignore_file_read(const char *dir, const char *imagefile, struct ignore_file *ret,
                     struct error **err);
void ignore_file_clear(struct ignore_file *f);

#endif
