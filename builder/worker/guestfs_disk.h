/* SPDX-License-Identifier: MIT
 *
 * libguestfs's appliance as a disk for the builder VM: its daemon and the programs it calls, made by
 * supermin from the packages of this host, as libguestfs itself does.
 *
 *     // given const struct kernel *kernel;
 *     uint64_t size;
 *     AUTO_FREE char *path = guestfs_disk_get(session, kernel, &size, &err);   // a qcow2 file
 *
 * Kept in <cache>/guestfs under what it was made from; another kernel or other packages make another,
 * and the old one goes.
 */
#ifndef BUILDER_WORKER_GUESTFS_DISK_H
#define BUILDER_WORKER_GUESTFS_DISK_H

#include "base/error.h"

#include <stdint.h>

struct kernel;
struct session;

/* Owned. Takes half a minute the first time. ERR_NOT_FOUND: libguestfs is not installed; ERR_SYSTEM
 * with what supermin said. Whoever comes second waits. */
char *guestfs_disk_get(const struct session *s, const struct kernel *k, uint64_t *ret_size,
                       struct error **err);
/* -1 and that ERR_NOT_FOUND, with the package's name. */
int guestfs_missing(struct error **err);

#endif
