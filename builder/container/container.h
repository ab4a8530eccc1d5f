/* SPDX-License-Identifier: MIT
 *
 * Container images as a source of ADD: their layers as the files that a container would see.
 *
 *   oci://HOST/REPOSITORY[:TAG][@sha256:HEX]   of a registry (registry/reference.h)
 *   oci-layout:DIR[:TAG][@sha256:HEX]          an OCI image layout in the build directory
 *   docker-archive:FILE[:NAME[:TAG]]           what `docker save`, `podman save` write; compressed or not
 *   oci-archive:FILE[:TAG]                     a layout as a tar archive (podman save --format oci-archive)
 *
 * A registry is asked for the manifest of a tag each time; with a digest nobody is asked once it is
 * here. Manifests and blobs of registries are kept (blobs.h), and compared with their digests whenever
 * they are read. Layers are tar archives, plain or compressed, of the OCI or docker media types; a
 * compression is told by content. What is in them is read twice: once to know what is left of them
 * (rootfs.h), and once to send it.
 *
 *     // given struct container_options *o;
 *     CLEANUP(container_freep) struct container *c = NULL;
 *     container_open(session, o, &c, &err);              // the manifest
 *     struct digest key = container_digest(c);
 *     container_fetch(c, &err);                          // the layers
 *     container_prepare(c, &err);
 *     const struct item_source *items = container_items(c);     // for a selection
 */
#ifndef BUILDER_CONTAINER_CONTAINER_H
#define BUILDER_CONTAINER_CONTAINER_H

#include "base/digest.h"
#include "base/error.h"
#include "builder/context/archive.h"

#include <stdbool.h>
#include <stdint.h>

struct container;
struct context_place;
struct session;
struct transfer_options;

enum container_kind { CONTAINER_REGISTRY, CONTAINER_LAYOUT, CONTAINER_ARCHIVE };

/* The parts of a source, owned; base/url.h says what is one. */
struct container_name {
    enum container_kind kind;
    char *path; /* in the build directory; NULL = a registry */
    char *rest; /* ":TAG", "@sha256:…" of a layout; of an archive the name without ':'; "" = none */
};
void container_split(const char *text, struct container_name *ret);
void container_name_clear(struct container_name *n);
/* ERR_USER: a reference, tag or digest that can't be one. Nothing is opened. */
int container_check(const char *text, struct error **err);

struct container_options {
    const char *text;                  /* the source */
    const struct context_place *place; /* of a layout or archive: what its path is */
    const char *platform;              /* as of index_manifest; NULL = linux/amd64 */
    const char *
        checksum; /* "sha256:<64 hex>": of the manifest, or index; of an archive, the file; NULL = none */
    const struct transfer_options *transfer;
};
/* All are borrowed during the call, but for transfer. ERR_NOT_FOUND, ERR_USER: it is not a container
 * image. */
int container_open(const struct session *s, const struct container_options *o,
                   struct container **ret, struct error **err);
void container_free(struct container *c); /* NULL is fine */
DEFINE_CLEANUP(struct container, container_free);

/* What stands for all of its content: the manifest's digest; of an archive, of the
 * file's digest, the platform and the name in it. */
struct digest container_digest(const struct container *c);
uint64_t container_bytes(
    const struct container *c); /* of its layers, as they are stored; of an archive, the file */

/* Brings what is not here, several blobs at once, with progress. A second call does nothing. */
int container_fetch(struct container *c, struct error **err);
/* Reads all layers. ERR_USER: one is damaged, not what its digest says, or writes to where it must not.
 * A further call makes the items begin anew. */
int container_prepare(struct container *c, struct error **err);
/* What is left of them, once for each container_prepare; lives as long as the container. */
const struct item_source *container_items(struct container *c);

#endif
