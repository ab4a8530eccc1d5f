/* SPDX-License-Identifier: MIT
 *
 * A stranger's manifest and config, read into the layers and pieces that a pull fetches. Everything in
 * them is checked here that can be checked without a layer's bytes: types, digests, sizes, counts.
 *
 *     // given const struct buf *manifest; struct registry *registry;
 *     CLEANUP(plan_clear) struct plan plan = {0};
 *     plan_read(registry, manifest, &plan, &err);
 */
#ifndef BUILDER_TRANSFER_PLAN_H
#define BUILDER_TRANSFER_PLAN_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/vector.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct registry;

/* One blob of a layer's file. */
struct plan_piece {
    char hex[DIGEST_HEX + 1];
    uint64_t size;    /* of the blob */
    uint64_t at, raw; /* of the layer's file */
    size_t layer;     /* of plan.layers */
};
DEFINE_VECTOR(plan_pieces, struct plan_piece);

struct plan_layer {
    const json_t *record;    /* as it came; borrowed from the plan's config */
    size_t first, n;         /* of plan.pieces */
    char id[DIGEST_HEX + 1]; /* of the record */
};
DEFINE_VECTOR(plan_layers, struct plan_layer);

struct plan {
    json_t *config;
    struct plan_layers layers; /* base first */
    struct plan_pieces pieces;
    uint64_t virtual_size; /* of the image's disk, bytes */
    char *metadata;        /* JSON text; NULL = none */
};
/* Fetches the config. ERR_USER: not an image of kiln's, or something in it is wrong. */
int plan_read(struct registry *r, const struct buf *manifest, struct plan *ret, struct error **err);
/* The same when the config is here: takes any text of either. */
int plan_parse(struct str manifest, struct str config, struct plan *ret, struct error **err);
void plan_clear(struct plan *p);

#endif
