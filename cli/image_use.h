/* SPDX-License-Identifier: MIT
 *
 * Who uses an image.
 */
#ifndef CLI_IMAGE_USE_H
#define CLI_IMAGE_USE_H

#include "base/error.h"

struct session;
struct store;

/*
 * 0 if nobody uses the image (or there is none of that name); -1 with ERR_BUSY naming who does: a
 * QEMU that has its file or its layer open (it holds kernel locks on it), or a VM of the vmstore
 * whose disk stands on it or that was made from the name.
 */
int image_unused(const struct session *s, const char *name, struct error **err);
/* Keeps the layers of an image from being pruned until store_free(*ret); *ret is NULL for an image
 * that has none. */
int image_lease(const struct session *s, const char *name, struct store **ret, struct error **err);

#endif
