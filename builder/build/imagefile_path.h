/* SPDX-License-Identifier: MIT
 *
 * Which file of a build directory is its Imagefile.
 */
#ifndef BUILDER_BUILD_IMAGEFILE_PATH_H
#define BUILDER_BUILD_IMAGEFILE_PATH_H

#include "base/error.h"

/* `file` if it is not NULL ("-": standard input), else Imagefile in the folder or, where only that
 * is there, Dockerfile. Owned. */
char *imagefile_path(const char *dir, const char *file);
/* Hints at what to do when the file that imagefile_path found can't be read. Returns -1. */
int imagefile_hint(const char *file, struct error **err);
/* ERR_NOT_FOUND, ERR_USER: the build directory is not there, or is a file. */
int imagefile_check_dir(const char *dir, struct error **err);

#endif
