/* SPDX-License-Identifier: MIT
 *
 * Strikes secrets out of a command's output: every occurrence of a secret's bytes becomes "****",
 * also when it comes in pieces. Bytes that may be the start of a secret are held back until the
 * next ones tell, and no longer; all else passes at once. The two streams are apart.
 *
 * A secret's lines count as secrets too (a key file shown line by line), and its base64 in one line
 * or wrapped as base64(1) does. Lines and secrets shorter
 * than MASK_MIN bytes are not looked for: they would strike out ordinary text.
 */
#ifndef BUILDER_BUILD_MASK_H
#define BUILDER_BUILD_MASK_H

#include "base/buf.h"
#include "base/cleanup.h"

#define MASK_MIN 4

struct mask;
struct mask *mask_new(void);
void mask_free(struct mask *m); /* NULL is fine */
DEFINE_CLEANUP(struct mask, mask_free);
void mask_secret(struct mask *m, const char *bytes, size_t n); /* copies */
/* Appends to out what may be shown. stream is 1 or 2. */
void mask_add(struct mask *m, int stream, const char *bytes, size_t n, struct buf *out);
void mask_flush(struct mask *m, int stream, struct buf *out); /* at the end of the stream */

#endif
