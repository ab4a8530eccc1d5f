/* SPDX-License-Identifier: MIT
 *
 * Image indexes (image-spec, image-index.md; docker's manifest lists): the manifest for a platform.
 *
 *     // given struct registry *registry; struct buf text; char digest[DIGEST_HEX + 1];
 *     index_manifest(registry, "1.0", "linux/amd64", &text, digest, &err);
 */
#ifndef BUILDER_TRANSFER_INDEX_H
#define BUILDER_TRANSFER_INDEX_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/error.h"

struct registry;

/*
 * As registry_manifest; of an index, that of its image for the platform: OS/ARCH[/VARIANT], the
 * words of `docker --platform`; NULL = linux/amd64. An entry without a platform is taken if it is the only
 * one; of several that fit, the one for QEMU (podman's "disktype"), or else the first. ERR_NOT_FOUND
 * lists the platforms that there are.
 */
int index_manifest(struct registry *r, const char *version, const char *platform, struct buf *ret,
                   char digest[DIGEST_HEX + 1], struct error **err);
/* What to ask for in place of an index: its digest, as "sha256:…". 1, 0: it is not an index, -1. Takes any
 * text. */
int index_choose(struct str text, const char *platform, char ret[sizeof "sha256:" + DIGEST_HEX],
                 struct error **err);
/* ERR_USAGE unless it may be a platform. */
int index_check_platform(const char *platform, struct error **err);

#endif
