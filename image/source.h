/* SPDX-License-Identifier: MIT
 *
 * What is known of where an image came from: one file an image,
 *
 *   <backend>/.sources/<encoded name>.json
 *   {"kind": "file", "from": "/abs/path", "content": hex,       image/content.h's digest
 *    "sha256": hex, "sha512": hex,                              of the file at the source
 *    "etag": …, "modified": …,                                  of the server
 *    "image": "size mtime"}                                     of the image's own file
 *
 * Fields that are not known are left out. The record is not in the image, as layers are keyed by the
 * image's bytes: a source that was rebuilt with equal content must not change them. It counts only
 * as long as the image's file is the one it was written for; what replaced the image in another way
 * (build, tag, flatten) has none, nor has what an older kiln pulled.
 */
#ifndef IMAGE_SOURCE_H
#define IMAGE_SOURCE_H

#include "base/digest.h"
#include "base/error.h"
#include "image/spec.h"

#include <stdbool.h>

struct image_source {
    enum image_spec_kind kind; /* never SPEC_NAME */
    char *from; /* absolute path, URL without user and password, "user/name:version", "oci://…" */
    bool has_content, has_sha256, has_sha512;
    struct digest content, sha256;
    struct digest512 sha512;
    char *etag, *modified; /* NULL = none; SPEC_OCI: etag is the manifest's "sha256:…" */
};
void image_source_clear(struct image_source *x);

/* False: nothing is known. */
bool image_source_read(const char *dir, const char *name, struct image_source *ret);
/* For the image that has the name now. */
int image_source_write(const char *dir, const char *name, const struct image_source *x,
                       struct error **err);
void image_source_forget(const char *dir, const char *name); /* absent is fine */

/* `from` as a record of this spec has it; owned. A path that does not exist is made absolute by its
 * text. */
char *image_source_from(const struct image_spec *spec);
/* The spec that fetches from there again. */
void image_source_spec(const struct image_source *x, const char *name, struct image_spec *ret);

#endif
