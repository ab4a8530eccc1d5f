/* SPDX-License-Identifier: MIT
 *
 * A folder with the OCI image layout (image-spec, image-layout.md) in the place of a registry; for
 * client.c only, whose functions of the same names say what each does.
 *
 *   oci-layout            {"imageLayoutVersion":"1.0.0"}
 *   index.json            an image index: a descriptor for each tag
 *   blobs/sha256/<hex>
 *   .working/             what pushes are writing (base/working.h); gone when they are over
 *
 * Blobs and index.json appear whole. Pushes change the index one after another, under a lock, so any
 * number of kilns may push into one layout.
 */
#ifndef REGISTRY_LAYOUT_H
#define REGISTRY_LAYOUT_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/vector.h"

#include <stdbool.h>
#include <stdint.h>

struct layout;
struct session;

/* With push, the folder is made a layout if it is empty or missing. ERR_NOT_FOUND, ERR_USER: it is
 * not one. */
int layout_open(const struct session *s, const char *dir, bool push, struct layout **ret,
                struct error **err);
void layout_free(struct layout *l); /* NULL is fine */

/* The tag "latest" also stands for the only image of a layout, if it has no tag. ERR_NOT_FOUND says
 * which tags there are. */
int layout_manifest(struct layout *l, const char *version, size_t limit, struct buf *ret,
                    struct error **err);
int layout_has_manifest(struct layout *l, const char *version, struct error **err);
int layout_put_manifest(struct layout *l, const char *tag, const char *type, const struct buf *text,
                        struct error **err);
int layout_tags(struct layout *l, struct strv *ret, struct error **err);

/* A file of another size is none, and a small one (1 MiB) of other content. */
int layout_has_blob(struct layout *l, const char *hex, uint64_t size, struct error **err);
int layout_blob(struct layout *l, const char *hex, size_t limit, struct buf *ret,
                struct error **err);
int layout_blob_to(struct layout *l, const char *hex, uint64_t size, int fd,
                   _Atomic uint64_t *moved, struct error **err);
int layout_put_blob(struct layout *l, const char *hex, uint64_t size, int fd,
                    _Atomic uint64_t *moved, struct error **err);

#endif
