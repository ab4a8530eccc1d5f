/* SPDX-License-Identifier: MIT
 *
 * What the files of image/backend.h share among themselves; others include backend.h.
 */
#ifndef IMAGE_CHAIN_H
#define IMAGE_CHAIN_H

#include "base/error.h"
#include "base/vector.h"

#include <stdbool.h>
#include <stdint.h>

#define LAYERS ".layers"
#define WORKING ".working"

/* Whether the n bytes can be the id of a layer. */
bool layer_id_ok(const char *id, size_t n);
/* Id in ".layers/<id>/disk.qcow2", owned; NULL if file has another shape. */
char *layer_of_file(const char *file);
/* Opens a file below dir for reading, following no link below dir. ERR_NOT_FOUND. */
int backend_open(const char *dir, const char *file, struct error **err);
int backend_not_found(const char *dir, const char *name, struct error **err); /* ERR_NOT_FOUND */
/* Walks the chain of a file below dir: its files from base to top are added to *ret (may be NULL),
 * *ret_bytes (may be NULL) gets what they take on disk. */
int chain_walk(const char *dir, const char *file, struct strv *ret, uint64_t *ret_bytes,
               struct error **err);

#endif
