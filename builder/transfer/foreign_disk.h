/* SPDX-License-Identifier: MIT
 *
 * A stranger's disk, received (image/receive.h), on its way to an image or a layer. The base of a chain is a
 * layer by its content, each file above by a key made of its parent and its bytes, so that what comes
 * a second time is found.
 *
 *     // given struct foreign_disk *base, *above; struct store *store; struct layer *low, *top;
 *     foreign_disk_base(base, store, &low, &err);
 *     foreign_disk_overlay(above, store, "base.qcow2", low, &top, &err);
 */
#ifndef BUILDER_TRANSFER_FOREIGN_DISK_H
#define BUILDER_TRANSFER_FOREIGN_DISK_H

#include "base/error.h"
#include "image/format.h"

#include <stdint.h>

struct layer;
struct session;
struct store;

struct foreign_disk {
    const struct session *session;
    const char *path;   /* in a folder of ours, on the backend's file system; it is used up */
    enum format format; /* as received */
    uint64_t max_size;  /* as convert_in has it */
    const char *from;   /* for people */
};
/* A sound qcow2 at the same path. */
int foreign_disk_sound(const struct foreign_disk *d, struct error **err);
/* As the image of that name; metadata NULL = none but what it has. */
int foreign_disk_register(const struct foreign_disk *d, const char *name, const char *metadata,
                          struct error **err);
int foreign_disk_base(const struct foreign_disk *d, struct store *st, struct layer **ret,
                      struct error **err);
/* A qcow2 whose header must name the file `below`, as a layer on that parent. */
int foreign_disk_overlay(const struct foreign_disk *d, struct store *st, const char *below,
                         const struct layer *parent, struct layer **ret, struct error **err);

#endif
