/* SPDX-License-Identifier: MIT
 *
 * Whether an image that is there is what its spec means now, and whether it is what a checksum
 * says: the part of image/pull.h that fetches nothing.
 */
#ifndef IMAGE_REFRESH_H
#define IMAGE_REFRESH_H

#include "base/error.h"
#include "base/session.h"
#include "image/pull.h"

/*
 * 1: fetch it again, 0: use it, -1. Whatever a user should know goes to the notices: that the source
 * has changed, is another, has gone or is not known. spec names a source.
 */
int refresh_needed(const struct session *s, const struct image_spec *spec,
                   const struct image_pull_options *o, enum pull_policy policy, struct error **err);
/* Holds what is there against o->checksum; nothing to do if that is NULL. ERR_USER: it is something
 * else, or that can't be told. */
int refresh_verify(const struct session *s, const struct image_spec *spec,
                   const struct image_pull_options *o, struct error **err);
#endif
