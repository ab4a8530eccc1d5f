/* SPDX-License-Identifier: MIT
 *
 * Writer of the "newc" cpio archive that Linux unpacks as its initramfs
 * (Linux Documentation/driver-api/early-userspace/buffer-format.rst). What it writes depends on
 * nothing but the calls: owner root, times 0, inode numbers in order.
 *
 *     CLEANUP(cpio_clear) struct cpio c;
 *     cpio_init(&c, fd);
 *     cpio_file(&c, "init", 0755, bytes, n, &err);    // missing parent folders are made
 *     cpio_finish(&c, &err);
 *
 * Paths have no leading '/'. Errors: ERR_SYSTEM (write), ERR_USER (a file of 4 GiB or more).
 */
#ifndef BUILDER_APPLIANCE_CPIO_H
#define BUILDER_APPLIANCE_CPIO_H

#include "base/buf.h"
#include "base/error.h"
#include "base/vector.h"

#include <stdint.h>
#include <sys/types.h>

struct cpio {
    int fd; /* borrowed */
    unsigned next_ino;
    uint64_t written;   /* bytes, those in `pending` too */
    struct buf pending; /* not yet written */
    struct strv names;  /* what is in it: a path is added once */
};

void cpio_init(struct cpio *c, int fd);
void cpio_clear(struct cpio *c);
bool cpio_has(const struct cpio *c, const char *path);
int cpio_dir(struct cpio *c, const char *path, mode_t mode, struct error **err);
int cpio_file(struct cpio *c, const char *path, mode_t mode, const void *bytes, size_t n,
              struct error **err);
/* Content of the host's file `source`, streamed. */
int cpio_copy(struct cpio *c, const char *path, mode_t mode, const char *source,
              struct error **err);
int cpio_symlink(struct cpio *c, const char *path, const char *target, struct error **err);
int cpio_device(struct cpio *c, const char *path, mode_t mode, unsigned major, unsigned minor,
                struct error **err);
int cpio_finish(struct cpio *c, struct error **err);

#endif
