/* SPDX-License-Identifier: MIT
 *
 * What every push makes: descriptors (OCI image spec 1.1), a config, and a manifest under a tag.
 *
 *     // given struct registry *registry; const json_t *config; json_t *manifest; char digest[DIGEST_HEX + 1];
 *     json_t *descriptor = manifest_put_config(registry, config, &err);
 *     json_object_set_new(manifest, "config", descriptor);
 *     manifest_put(registry, "latest", manifest, digest, &err);
 */
#ifndef BUILDER_TRANSFER_MANIFEST_H
#define BUILDER_TRANSFER_MANIFEST_H

#include "base/digest.h"
#include "base/error.h"

#include <jansson.h>
#include <stdint.h>

struct registry;

#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"
#define MANIFEST_CONFIG_TYPE "application/vnd.oci.image.config.v1+json"

/* A new reference; hex is the blob's SHA-256. */
json_t *manifest_descriptor(const char *type, const char *hex, uint64_t size);
/* Sends the config unless it is there; its descriptor as a new reference, or NULL. */
json_t *manifest_put_config(struct registry *r, const json_t *config, struct error **err);
/* *digest is the manifest's. */
int manifest_put(struct registry *r, const char *tag, const json_t *manifest,
                 char digest[DIGEST_HEX + 1], struct error **err);

#endif
