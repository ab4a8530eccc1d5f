/* SPDX-License-Identifier: MIT
 *
 * A file's bytes after decompression (image/decode.h), made by threads of their own while the
 * caller works on what came before, together with the digest of the file as it is stored.
 *
 *     // given struct session *session; struct digest digest; const void *block; ssize_t got;
 *     struct unpacked *u = unpacked_open(session, fd);
 *     while ((got = unpacked_next(u, &block, &err)) > 0) ...
 *     unpacked_digest(u, &digest, &err);
 */
#ifndef BUILDER_CONTEXT_UNPACKED_H
#define BUILDER_CONTEXT_UNPACKED_H

#include "base/digest.h"
#include "base/error.h"

#include <stdint.h>
#include <sys/types.h>

struct session;
struct unpacked;

/* Takes over fd, which is read from its start. s (may be NULL): who may interrupt it. */
struct unpacked *unpacked_open(const struct session *s, int fd);
void unpacked_free(struct unpacked *u); /* stops the threads; NULL is fine */
DEFINE_CLEANUP(struct unpacked, unpacked_free);
/* The next bytes, valid until the next call; 0 at the end; -1: the file can't be read (ERR_SYSTEM)
 * or the compressed data is damaged or ends early (ERR_USER), ERR_CANCELLED. */
ssize_t unpacked_next(struct unpacked *u, const void **ret_bytes, struct error **err);
/* Reads to the end, as unpacked_next does, and gives the SHA-256 of the stored bytes. */
int unpacked_digest(struct unpacked *u, struct digest *ret, struct error **err);
uint64_t unpacked_consumed(const struct unpacked *u); /* stored bytes read so far; any thread */

#endif
