/* SPDX-License-Identifier: MIT
 *
 * Which file of a build directory is its Imagefile.
 */
#ifndef BUILDER_BUILD_IMAGEFILE_PATH_H
#define BUILDER_BUILD_IMAGEFILE_PATH_H

/* `file` if it is not NULL ("-": standard input), else Imagefile in the folder or, where only that
 * is there, Dockerfile. Owned. */
char *imagefile_path(const char *dir, const char *file);

#endif
