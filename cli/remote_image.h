/* SPDX-License-Identifier: MIT
 *
 * What a registry tells of its images, without a layer being fetched: for `image ls --remote` and
 * `image inspect oci://…`.
 */
#ifndef CLI_REMOTE_IMAGE_H
#define CLI_REMOTE_IMAGE_H

#include "cli/command.h"

#include <jansson.h>

/* The options of cli/registry_options.h that a has are used. */
/* [{"name": "oci://HOST/REPO:TAG", "tag"}, …] without the layers of build caches; new reference, NULL
 * on errors. */
json_t *remote_image_list(const struct session *s, const struct args *a, const char *repo,
                          struct error **err);
/* {"name", "digest", "type", "blobs", "size", "virtual_size", "manifest", "config"}: what there is of
 * it; new reference, NULL on errors. */
json_t *remote_image_describe(const struct session *s, const struct args *a, const char *ref,
                              struct error **err);

#endif
