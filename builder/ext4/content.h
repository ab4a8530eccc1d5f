/* SPDX-License-Identifier: MIT
 *
 * Contents of files: from a stream into blocks of a volume.
 */
#ifndef BUILDER_EXT4_CONTENT_H
#define BUILDER_EXT4_CONTENT_H

#include "builder/ext4/inode.h"
#include "builder/ext4/tap.h"

/* The content of an entry, which follows in the tap. Holes stay holes. *piece is a buffer that is
 * kept for the next one; the caller frees it. */
int content_write(struct volume *v, struct tap *tap, const struct entry *e, char **piece,
                  struct runs *ret, struct error **err);
/* Bytes of one block at most. */
int content_bytes(struct volume *v, struct str bytes, struct runs *ret, struct error **err);

#endif
