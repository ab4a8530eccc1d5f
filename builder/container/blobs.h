/* SPDX-License-Identifier: MIT
 *
 * Blobs of container images that are kept, in <cache>/remote beside what ADD fetches from URLs
 * (builder/context/remote.h): each under its SHA-256. They may be removed at any time; what is open
 * stays. The time of a file is that of its last use.
 */
#ifndef BUILDER_CONTAINER_BLOBS_H
#define BUILDER_CONTAINER_BLOBS_H

#include "base/buf.h"
#include "base/error.h"

#include <stdint.h>

struct registry;
struct session;

/* hex: its SHA-256. Open for reading, if it is here with that size; else -1. The bytes are not looked
 * at: whoever reads them compares them with the digest. */
int blob_open(const struct session *s, const char *hex, uint64_t size);
/* Sees to it that it is here: what an interrupted fetch has brought is not fetched again, and of
 * several that want it one fetches it. *moved (may be NULL) grows by its bytes. The bytes were checked. */
int blob_fetch(const struct session *s, struct registry *r, const char *hex, uint64_t size,
               _Atomic uint64_t *moved, struct error **err);
void blob_forget(const struct session *s, const char *hex);

/* Small texts: of at most `limit` bytes, with that digest. 1; 0: it is not here, or not what it was. */
int blob_read(const struct session *s, const char *hex, size_t limit, struct buf *ret);
/* Best effort. */
void blob_keep(const struct session *s, const char *hex, const struct buf *text);

#endif
