/* SPDX-License-Identifier: MIT
 *
 * The disks behind RUN --mount=type=cache: one qcow2 an id in <cache>/mounts, never part of a
 * layer.
 *
 * In <cache>/mounts, named by the SHA-256 of the id:
 *
 *   <name>.qcow2  the disk; ext4 is made on it by the guest
 *   <name>.lock   held while a builder VM has it; its text is the id
 *   <name>.busy   there while a VM has it: a disk whose VM was killed is thrown away,
 *                 never repaired
 *
 * A file system has one writer. So two builds that want one id take turns, or, with `own`, the
 * second one gets another disk: <name>-1, <name>-2…, which stay and are found again in that order.
 *
 * The disks are virtual CACHE_DISK_SIZE and take what is used; the folder may be deleted at any
 * time.
 */
#ifndef BUILDER_WORKER_CACHE_DISK_H
#define BUILDER_WORKER_CACHE_DISK_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define CACHE_DISK_SIZE (UINT64_C(10) << 30) /* bytes, when no other size is asked for */

struct session;
struct cache_disk;

struct cache_disk_request {
    const char *id;
    bool own;      /* do not wait for a disk that somebody has: take the first one that is free */
    uint64_t size; /* bytes; 0 = CACHE_DISK_SIZE; a disk of another size is made again */
};
/* Who opens several opens them in the order of their ids (strcmp), and none twice: otherwise two
 * builds, or one, would wait for ever. ERR_CANCELLED. */
int cache_disk_open(const struct session *s, const struct cache_disk_request *r,
                    struct cache_disk **ret, struct error **err);
const char *cache_disk_path(const struct cache_disk *d);
uint64_t cache_disk_size(const struct cache_disk *d); /* virtual, bytes */
/* The VM has let go of it cleanly. */
void cache_disk_clean(struct cache_disk *d);
void cache_disk_free(struct cache_disk *d); /* ends the lock; NULL is fine */
DEFINE_CLEANUP(struct cache_disk, cache_disk_free);

/* What all cache disks take on disk, bytes. */
uint64_t cache_disk_usage(const struct session *s, unsigned *ret_count);
/* Removes those nobody uses, least recently used first, until they take at most max_bytes (0: all)
 * and none is older than max_age seconds (-1: any age). Returns the bytes freed. */
uint64_t cache_disk_prune(const struct session *s, uint64_t max_bytes, long long max_age,
                          int dry_run);

#endif
