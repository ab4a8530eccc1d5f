/* SPDX-License-Identifier: MIT
 *
 * What a build will fetch, all at once, before its first step: images of FROM, COPY --from and mounts, files
 * and container images of ADD, of all stages that are needed, as far as their names are known then. With
 * fewer than two of them nothing is done: the step itself fetches as well.
 *
 *     // given struct build *b; const char *url, *checksum;
 *     prefetch(b, &err);
 *     const struct remote_file *file = prefetched(b, url, checksum);
 *
 * Notices come in the order of the steps, whichever comes first; each has a bar of its own. The first
 * error in that order ends all of it, with the step's place.
 */
#ifndef BUILDER_BUILD_PREFETCH_H
#define BUILDER_BUILD_PREFETCH_H

#include "base/error.h"

struct build;
struct prefetched;
struct remote_file;

/* ERR_CANCELLED, and what a step would say of its own download. */
int prefetch(struct build *b, struct error **err);
/* The file of an ADD that was fetched; borrowed from the build. NULL = it was not. checksum may be NULL. */
const struct remote_file *prefetched(const struct build *b, const char *url, const char *checksum);
void prefetched_free(struct prefetched *p); /* NULL is fine */

#endif
