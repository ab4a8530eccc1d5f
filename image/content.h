/* SPDX-License-Identifier: MIT
 *
 * A digest of what is in a file that costs little for holes and zeros: SHA-256 over the offset and
 * the bytes of each 64 KiB block that is not all zero, and over the size. Equal files have equal
 * digests, however sparse each is. It is compared with digests of its own kind only.
 *
 *     struct content_hash *h = content_hash_new();
 *     content_hash_add(h, bytes, n);                  // in order; NULL = n zeros
 *     struct digest d = content_hash_finish(h);       // frees h
 */
#ifndef IMAGE_CONTENT_H
#define IMAGE_CONTENT_H

#include "base/digest.h"
#include "base/error.h"

#include <stdint.h>
#include <sys/stat.h>

struct session;

struct content_hash;

struct content_hash *content_hash_new(void);
void content_hash_add(struct content_hash *h, const void *bytes, uint64_t n);
struct digest content_hash_finish(struct content_hash *h);
void content_hash_free(struct content_hash *h); /* abandons; NULL is fine */
DEFINE_CLEANUP(struct content_hash, content_hash_free);

/* Of a regular file; remembered in cache_dir as backend_digest does. ERR_NOT_FOUND, ERR_USER (no
 * regular file), ERR_SYSTEM. */
int content_digest(const struct session *s, const char *path, struct digest *ret,
                   struct error **err);
/* Remembers the digest of a file that was read anyway, if it is still as it was before. */
void content_remember(const char *cache_dir, const char *path, const struct stat *before,
                      const struct digest *d);

#endif
