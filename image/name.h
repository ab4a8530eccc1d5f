/* SPDX-License-Identifier: MIT
 *
 * Image names and the file names they have in a backend.
 *
 * A name is what users type: "debian", "centos/7:2004.01". Its file name is percent-encoded as
 * transient does, so that the two can share a backend: ASCII letters, digits, '.' and '_' stay,
 * every other byte becomes %XX with upper-case hex digits ("my-img" is "my%2Dimg", '/' is "%2F").
 * File names that begin with '.' are not images: kiln keeps its own things there (.layers,
 * .working).
 */
#ifndef IMAGE_NAME_H
#define IMAGE_NAME_H

#include "base/error.h"

#include <stdbool.h>

/* A name can be this many bytes, if its encoded form then fits into a file name (255 bytes). */
#define IMAGE_NAME_MAX 200

/*
 * 0, or -1 with ERR_USER that says what is wrong: empty, too long, begins with '.', ends with
 * ".tmp", is "scratch", holds a control character, a blank, a ',' or an '=' (they belong to image
 * specs) or is not UTF-8.
 */
int image_name_check(const char *name, struct error **err);
/* Whether it is the path of a regular file, and its user meant that. */
bool image_name_is_file(const char *name);
char *image_name_encode(const char *name); /* owned; does not check */
/* The name a file of a backend has, owned; NULL if the file name is none that encode makes of a
 * valid name. */
char *image_name_decode(const char *file);

/* What to write for an image elsewhere that is not written as kiln has it: "ghcr.io/team/app", a
 * transport of skopeo, a reference of kiln's behind a name. Owned; NULL: it is none of these. */
char *image_name_elsewhere(const char *text);

#endif
