/* SPDX-License-Identifier: MIT
 *
 * Decompression of .xz with several threads (libarchive's own reader uses one). Only files of more
 * than one block gain: those `xz -T` writes, by default since xz 5.6.
 */
#ifndef BUILDER_XZ_H
#define BUILDER_XZ_H

#include "base/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct xz;

/* Gives the next compressed bytes: their number and *ret_bytes (borrowed until the next call), 0 at
 * the end, -1 when it can't. */
typedef ssize_t xz_source_fn(void *arg, const void **ret_bytes);

bool xz_is(const void *bytes, size_t n); /* does a file that begins so claim to be xz? */
struct xz *xz_new(xz_source_fn *source, void *arg);
void xz_free(struct xz *x);
DEFINE_CLEANUP(struct xz, xz_free);
/* The next decompressed bytes, 0 at the end, -1: the source failed (then *ret_problem is NULL) or
 * the data is damaged (*ret_problem says how; static). */
ssize_t xz_read(struct xz *x, void *bytes, size_t n, const char **ret_problem);

#endif
