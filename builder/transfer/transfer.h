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

#include "base/buf.h"
#include "base/digest.h"
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
 * key, so that any number of builds share it without an index that they could spoil. What a --from of
 * a layer reads (a manifest of files, builder/context/manifest.h) is there, too, under
 * TRANSFER_FILES_TAG and a digest of layer and question: with both, a machine that has nothing knows
 * the key of every step.
 */
#define TRANSFER_KEY_TAG "k-"
#define TRANSFER_FILES_TAG "f-"
enum { TRANSFER_FILES_MAX = 32 << 20 }; /* bytes of a list of files; a longer one is not sent */

/* A layer that a cache has, which need not be here. */
struct transfer_layer {
    char id[DIGEST_HEX + 1], key[DIGEST_HEX + 1];
    uint64_t virtual_size;       /* of the disk, bytes */
    struct buf manifest;         /* of its chain */
    char digest[DIGEST_HEX + 1]; /* of the manifest */
};
void transfer_layer_clear(struct transfer_layer *l);

/* The layer of the key, which stands on `parent` ("" = on nothing); fetches no more than its manifest:
 * 1, 0: there is none, -1: also if something else is under the key. *ret must be cleared after a 1. */
int transfer_find_key(const struct session *s, struct registry *r, const char *key,
                      const char *parent, struct transfer_layer *ret, struct error **err);
struct store;
/* Fetches the layers of its chain that are not here. */
int transfer_fetch_layer(const struct session *s, struct registry *r, struct store *store,
                         const struct transfer_layer *l, const struct transfer_options *o,
                         struct error **err);
/* Every layer of the chain whose top is that layer, unless it is there; those that it sent are added to
 * *sent, which saves the questions for them the next time. */
int transfer_push_keys(const struct session *s, struct registry *r, struct store *store,
                       const char *layer, struct strv *sent, const struct transfer_options *o,
                       struct error **err);
/* question: 64 hex letters. 1, 0, -1; *ret is the caller's to check. */
int transfer_find_files(const struct session *s, struct registry *r, const char *question,
                        struct buf *ret, struct error **err);
int transfer_push_files(struct registry *r, const char *question, struct str text,
                        struct error **err);

/*
 * What is sent by a thread of its own, while the build goes on. ref is a repository as --cache-to has
 * it; ERR_USER: it is not one. add, add_files: it is to be sent, with all layers below it; return at
 * once. end: waits until all is, with a notice of the session if that takes a while; -1 with the first
 * error, after which nothing more was sent. It frees c in any case.
 */
struct transfer_cache;
int transfer_cache_start(const struct session *s, const char *ref, const struct transfer_options *o,
                         struct transfer_cache **ret, struct error **err);
void transfer_cache_add(struct transfer_cache *c, const char *layer);
void transfer_cache_add_files(struct transfer_cache *c, const char *question, struct str text);
int transfer_cache_end(struct transfer_cache *c, struct error **err);

#endif
