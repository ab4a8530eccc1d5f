/* SPDX-License-Identifier: MIT
 *
 * The disk of a VM as a layer, and an image on it.
 *
 *     // given struct store *store; struct commit_request request;
 *     commit_image(session, store, &request, &err);
 */
#ifndef BUILDER_BUILD_COMMIT_H
#define BUILDER_BUILD_COMMIT_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct session;
struct store;

/* Makes the file `path`: a qcow2 with what was written on the parent, whose header names `backing`. */
typedef int commit_copy_fn(void *arg, const char *path, const char *backing, struct error **err);

struct commit_request {
    const char *image;  /* its name */
    bool replace;       /* an image that has it; else no image may have it */
    const char *step;   /* what the layer is, for `image history` */
    const char *parent; /* id of the layer below, which the store has given out */
    /* Of the image the VM was made from: what is not about its steps stays; NULL = none. Borrowed. */
    const json_t *metadata;
    commit_copy_fn *copy;
    void *arg;
};
/* A layer and an image, or neither. ERR_EXISTS: an image has that name; ERR_USER, ERR_SYSTEM, and the
 * errors of copy. */
int commit_image(const struct session *s, struct store *st, const struct commit_request *r,
                 struct error **err);
/* A commit_copy_fn of a file that nobody writes to; arg is its path. */
int commit_copy_file(void *path, const char *to, const char *backing, struct error **err);

#endif
