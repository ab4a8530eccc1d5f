/* SPDX-License-Identifier: MIT
 *
 * Image specs: what FROM, `run`, `create` and `image pull` take.
 *
 *   name                       an image of the backend, else an error
 *   box:version                the same, else the Vagrant box user/name in that version
 *   name,http=URL              the same, else fetched from an http or https URL
 *   name,file=PATH             the same, else copied from a file (relative to the current folder)
 *   name,vagrant=box:version   the same, else that Vagrant box
 *
 * (transient's "Image Specification".) The name before the comma is what it is called in the
 * backend.
 */
#ifndef IMAGE_SPEC_H
#define IMAGE_SPEC_H

#include "base/buf.h"
#include "base/error.h"

enum image_spec_kind {
    SPEC_NAME,
    SPEC_HTTP,
    SPEC_FILE,
    SPEC_VAGRANT,
    SPEC_OCI, /* of image/source.h only: builder/transfer has it */
};

struct image_spec {
    enum image_spec_kind kind;
    char *name;    /* in the backend; a valid image name */
    char *source;  /* SPEC_HTTP: URL. SPEC_FILE: path as given. Else NULL */
    char *box;     /* SPEC_VAGRANT: "user/name". Else NULL */
    char *version; /* SPEC_VAGRANT. Else NULL */
};

/* Parses text (any bytes); ERR_USER says what is wrong with it. *ret is set only on success; free
 * it with image_spec_clear. "box:version" is SPEC_VAGRANT if box has one '/', else SPEC_NAME. */
int image_spec_parse(struct str text, struct image_spec *ret, struct error **err);
void image_spec_clear(struct image_spec *spec);

#endif
