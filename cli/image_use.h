/* SPDX-License-Identifier: MIT
 *
 * Who uses an image.
 */
#ifndef CLI_IMAGE_USE_H
#define CLI_IMAGE_USE_H

#include "base/error.h"

struct session;

/*
 * 0 if nobody uses the image whose file is `path`; -1 with ERR_BUSY naming who does: a QEMU that
 * has the file open (it holds kernel locks on it), or a VM of the vmstore whose disk stands on it.
 */
int image_unused(const struct session *s, const char *name, const char *path, struct error **err);

#endif
