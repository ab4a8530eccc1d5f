/* SPDX-License-Identifier: MIT
 *
 * The disks behind RUN --mount=type=cache: one qcow2 an id in <cache>/mounts, never part of a
 * layer.
 *
 *     <cache>/mounts/<SHA-256 of the id>.qcow2     the disk; ext4 is made on it by the guest
 *     <cache>/mounts/<SHA-256 of the id>.lock      held while a builder VM has it; its text is the
 * id <cache>/mounts/<SHA-256 of the id>.busy      there while a VM has it: a disk whose VM was
 * killed is thrown away, never repaired
 *
 * Two builds that want one id take turns. The disks are virtual CACHE_DISK_SIZE and take what is
 * used; the folder may be deleted at any time.
 */
#ifndef BUILDER_CACHE_DISK_H
#define BUILDER_CACHE_DISK_H

#include "base/error.h"

#include <stdint.h>

#define CACHE_DISK_SIZE (UINT64_C(10) << 30) /* bytes, when no other size is asked for */

struct session;
struct cache_disk;

/* Waits for whoever has it, with a line to notice. size 0 = CACHE_DISK_SIZE; a disk of another size
 * is made anew. ERR_CANCELLED. */
int cache_disk_open(const struct session *s, const char *id, uint64_t size,
                    void (*notice)(void *arg, const char *line), void *arg, struct cache_disk **ret,
                    struct error **err);
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
