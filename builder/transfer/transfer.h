/* SPDX-License-Identifier: MIT
 *
 * Images of the backend to a registry and back, with their layers as they are, so that a build on a
 * pulled image hits the keys of the host that pushed it.
 *
 *   manifest  application/vnd.oci.image.manifest.v1+json, artifactType TRANSFER_TYPE
 *   config    application/vnd.oci.image.config.v1+json; its "dev.kiln" is
 *             {"version":1, "virtual_size":N, "metadata":{…}, "layers":[records, base first]}
 *   layers    TRANSFER_LAYER: pieces of TRANSFER_PIECE bytes of a layer's qcow2 file, the last
 *             one shorter, each a zstd stream of its own; all pieces of a layer in order, layers base
 *             first; annotations dev.kiln.layer (id) and dev.kiln.raw-size
 *
 * What a push or a pull has moved stays moved: both go on where an interrupted one stopped. Which
 * blobs a layer became is remembered in its folder (blobs.json; may be deleted), so that a later
 * push asks the registry for them before it compresses anything.
 *
 *     // given struct session *session; struct reference *ref; char digest[DIGEST_HEX + 1];
 *     struct transfer_options o = {.jobs = 4};
 *     transfer_push(session, "debian", ref, &o, digest, &err);
 */
#ifndef BUILDER_TRANSFER_TRANSFER_H
#define BUILDER_TRANSFER_TRANSFER_H

#include "base/error.h"
#include "image/pull.h"
#include "registry/client.h"

#include <jansson.h>
#include <stdbool.h>

#define TRANSFER_TYPE "application/vnd.kiln.image.v1"
#define TRANSFER_LAYER "application/vnd.kiln.layer.v1.qcow2+zstd"
#define TRANSFER_PIECE (UINT64_C(64) << 20)
enum { TRANSFER_JOBS = 4, TRANSFER_JOBS_MAX = 8 };

enum transfer_format {
    TRANSFER_LAYERS,
    TRANSFER_FLAT,          /* an artifact with one qcow2 */
    TRANSFER_CONTAINERDISK, /* a container image with it in disk/, as KubeVirt reads it */
};
#define TRANSFER_DISK_TYPE "application/vnd.kiln.disk.v1" /* artifactType of TRANSFER_FLAT */

struct transfer_options {
    enum transfer_format format; /* push */
    unsigned jobs;               /* at once; 0 = TRANSFER_JOBS */
    bool replace;                /* pull: an image that has the name */
    bool again; /* pull: also what kiln did not push and the name stands for already */
    bool raw;   /* pull: as of image_pull_options, for images that kiln did not push */
    uint64_t max_size;
    const char *platform; /* pull: which image of an index (index.h); NULL = linux/amd64 */
    struct registry_options registry;
};

/* Sends the image and gives it the reference's tag; *digest is its manifest's. ERR_USER if ref has a
 * digest. */
int transfer_push(const struct session *s, const char *name, const struct reference *ref,
                  const struct transfer_options *o, char digest[DIGEST_HEX + 1],
                  struct error **err);
/* The same for the formats without layers. */
int transfer_push_flat(const struct session *s, const char *name, const struct reference *ref,
                       const struct transfer_options *o, char digest[DIGEST_HEX + 1],
                       struct error **err);
/* Fetches what is missing of the image's layers and gives the image the name. 1: the name stands for
 * it already; 0; -1. ERR_USER: it is not an image with a disk (says what it has; builder/transfer/foreign.h
 * has those of other programs), or something in it
 * is wrong: nothing of it is kept then but layers that were found right. ERR_EXISTS: the name is
 * another image's. */
int transfer_pull(const struct session *s, const struct reference *ref, const char *name,
                  const struct transfer_options *o, struct error **err);

/* What a FROM, `run` or `create` names, as image_ensure: a spec (image/spec.h), or a reference,
 * which is then also the image's name; `transfer` is for that, without its replace and again. */
int transfer_ensure(const struct session *s, const char *text, const struct image_pull_options *o,
                    const struct transfer_options *transfer, struct backend_image *ret,
                    struct error **err);

/*
 * A build cache in a repository: each layer's chain is an image under the tag TRANSFER_KEY_TAG and its
 * key, so that any number of builds share it without an index that they could spoil.
 *
 * take_key: brings the layers of the chain that are not here: 1; 0: there is none for the key; -1.
 * push_keys: every layer of the chain whose top is that layer, unless it is there; those that it sent
 * are added to *sent, which saves the questions for them the next time.
 */
#define TRANSFER_KEY_TAG "k-"
struct store;
int transfer_take_key(const struct session *s, struct registry *r, struct store *store,
                      const char *key, const struct transfer_options *o, struct error **err);
int transfer_push_keys(const struct session *s, struct registry *r, struct store *store,
                       const char *layer, struct strv *sent, const struct transfer_options *o,
                       struct error **err);

/*
 * The same by a thread of its own, while the build goes on. ref is a repository as --cache-to has it;
 * ERR_USER: it is not one. add: the layer and all below it are to be sent; returns at once. end: waits
 * until they are, with a notice of the session if that takes a while; -1 with the first error, after
 * which nothing more was sent. It frees c in any case.
 */
struct transfer_cache;
int transfer_cache_start(const struct session *s, const char *ref, const struct transfer_options *o,
                         struct transfer_cache **ret, struct error **err);
void transfer_cache_add(struct transfer_cache *c, const char *layer);
int transfer_cache_end(struct transfer_cache *c, struct error **err);

#endif
