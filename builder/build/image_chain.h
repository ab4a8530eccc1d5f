/* SPDX-License-Identifier: MIT
 *
 * What a reference to an image stands for, wherever one is written (FROM, COPY --from, run, create,
 * shell): a chain of files whose layers are leased.
 *
 *     CLEANUP(image_chain_clear) struct image_chain chain = {0};
 *     image_chain_open(session, &(struct image_request){.ref = "web@3"}, &chain, &err);
 */
#ifndef BUILDER_BUILD_IMAGE_CHAIN_H
#define BUILDER_BUILD_IMAGE_CHAIN_H

#include "base/vector.h"
#include "builder/transfer/transfer.h"
#include "image/pull.h"

#include <jansson.h>
#include <stdint.h>

struct session;
struct store;

struct image_request {
    /* NAME; an image spec (image/spec.h), which is pulled; or NAME@STEP: the state after that step
     * of the name's last build, by its number or "failed". Borrowed. */
    const char *ref;
    enum pull_policy pull;
    const char *checksum; /* image/pull.h */
    struct transfer_options transfer;
};

struct image_chain {
    char *ref;           /* as it was given; owned */
    struct strv files;   /* qcow2, the base first */
    uint64_t size;       /* of the disk, bytes */
    json_t *metadata;    /* config and mounts; NULL = none; owned */
    struct store *store; /* the lease, if it is the chain's own; owned */
};

/* The NAME of a NAME@STEP, owned; NULL: it is not one. backend: the folder. */
char *image_step_name(const char *backend, const char *ref);
/* The layers are leased by st. Errors: what was not found (ERR_NOT_FOUND) or cannot be fetched. */
int image_chain_find(const struct session *s, struct store *st, const struct image_request *r,
                     struct image_chain *ret, struct error **err);
/* The same with a store of its own, which ends with the chain. */
int image_chain_open(const struct session *s, const struct image_request *r,
                     struct image_chain *ret, struct error **err);
void image_chain_clear(struct image_chain *c);
/* The id of the layer that is the chain's top, owned, or NULL. An image's own file, which may be
 * replaced, becomes a layer of st first (hashed once, linked; then the last of c->files is the
 * layer's). */
char *image_chain_layer(const struct session *s, struct store *st, struct image_chain *c,
                        struct error **err);

#endif
