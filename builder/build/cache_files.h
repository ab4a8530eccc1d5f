/* SPDX-License-Identifier: MIT
 *
 * The plain files that kiln keeps to save time, and that nothing needs: each may be removed at any
 * time, also while a build uses it (who reads one has it open, who writes one replaces it whole).
 *
 *   <cache>/remote/            what ADD fetched from URLs (builder/context/remote.h)
 *   <cache>/context/           digests of build directories' files (builder/context/index.h)
 *   <cache>/inspect, digests   what `image inspect` found in an image; digests of images
 *   <backend>/.builds/         what the last build of a name did, if there is no image of it
 *
 *     // given struct store *store; struct prune_options options; struct prune_result result;
 *     CLEANUP(cache_files_freep) struct cache_files *f = cache_files_new(session, store);
 *     options.extra = cache_files_extra(f);
 *     store_prune(store, &options, &result, &err);    // takes them with layers, by last use
 *
 * A file's mtime is its last use; a download's is that of the record of its URL. The disks of cache
 * mounts, which do have users, are builder/worker/cache_disk.h's.
 */
#ifndef BUILDER_BUILD_CACHE_FILES_H
#define BUILDER_BUILD_CACHE_FILES_H

#include "base/cleanup.h"
#include "cache/prune.h"

struct session;
struct store;
struct cache_files;

/* What is there now. store is the one of the session's backend. Never NULL: what can't be read is
 * passed over. */
struct cache_files *cache_files_new(const struct session *s, struct store *st);
void cache_files_free(struct cache_files *f); /* NULL is fine */
DEFINE_CLEANUP(struct cache_files, cache_files_free);

enum cache_file_kind { CACHE_FILE_DOWNLOAD, CACHE_FILE_NOTE, CACHE_FILE_HISTORY };
/* How many there are (a download counts once) and what they take on disk, in bytes. */
uint64_t cache_files_usage(const struct cache_files *f, enum cache_file_kind kind,
                           size_t *ret_count);
/* For prune_options.extra; borrows f. */
struct prune_extra cache_files_extra(struct cache_files *f);

/* Bytes of the builder VM's kernels, initramfs and templates in <cache>: no prune takes them, but
 * they keep themselves to the few used last. */
uint64_t cache_appliance_usage(const struct session *s);

#endif
