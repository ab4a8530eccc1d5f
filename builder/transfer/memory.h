/* SPDX-License-Identifier: MIT
 *
 * Which blobs a layer became and which repositories were seen to have them, kept in the layer's
 * folder as blobs.json. It only says where to ask first, so it may be wrong, and may be deleted.
 *
 *   [{"digest": hex, "size": bytes}…]                  one a piece, in order
 *   {"blobs": […], "at": ["HOST/REPOSITORY"…]}         the same, and at most 8 repositories, newest first
 *
 *     // given struct layer *layer; struct reference *ref; json_t *blobs;
 *     json_auto_t *memory = memory_read(layer);
 *     const char *repo = memory_repo(memory, 0, ref);    // for a mount; NULL: none
 *     memory_write(layer, blobs, ref);
 */
#ifndef BUILDER_TRANSFER_MEMORY_H
#define BUILDER_TRANSFER_MEMORY_H

#include <jansson.h>
#include <stddef.h>

struct layer;
struct reference;

json_t *memory_read(const struct layer *l); /* NULL = none; a new reference */
/* The array of blobs; borrowed, NULL = none. */
const json_t *memory_blobs(const json_t *memory);
/* The i-th repository of the reference's host that is not its own; borrowed, NULL = no more. */
const char *memory_repo(const json_t *memory, size_t i, const struct reference *ref);
/* seen_at: a layout is not kept. Best effort: a backend that we may only read has no memory. */
void memory_write(const struct layer *l, const json_t *blobs, const struct reference *seen_at);

#endif
