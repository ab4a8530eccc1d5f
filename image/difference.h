/* SPDX-License-Identifier: MIT
 *
 * What a disk has that a chain of layers has not, as an overlay on that chain.
 *
 *     // given struct strv *chain; const char *file, *overlay;
 *     image_difference(session, &(struct image_difference){chain, file, "../1a2b/disk.qcow2"}, overlay, &err);
 */
#ifndef IMAGE_DIFFERENCE_H
#define IMAGE_DIFFERENCE_H

#include "base/error.h"
#include "base/vector.h"

struct session;

struct image_difference {
    const struct strv *chain; /* qcow2 files, the base first */
    const char *file;         /* a sound qcow2 that stands alone (image/convert.h), absolute */
    const char *backing;      /* what the overlay's header is to name */
};
/* Makes the qcow2 `path`: on the chain it has the content and the size of the file. Reads both disks. On error
 * the file may be left. ERR_SYSTEM, ERR_CANCELLED. */
int image_difference(const struct session *s, const struct image_difference *d, const char *path,
                     struct error **err);

#endif
