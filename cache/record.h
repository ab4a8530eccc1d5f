/* SPDX-License-Identifier: MIT
 *
 * The record of a layer (layer.json) and the little that the store wants to know of a qcow2 file.
 *
 * A record is a JSON object with sorted keys:
 *
 *   version         1
 *   type            "layer", or "base": an imported standalone image
 *   id, key         64 hex letters
 *   parent          id, or null
 *   parent_digest   "digest" of the parent's record, or null
 *   depth           files in the chain, 1 = no parent
 *   digest          SHA-256 of disk.qcow2
 *   header          SHA-256 of its first RECORD_HEADER bytes (or of all of it, if it is shorter)
 *   size            its length in bytes
 *   virtual_size    bytes of the disk in it
 *   created         seconds since 1970
 *   step            text
 *   …               what the caller of store_commit added: "seconds", "inputs", …
 *   check           SHA-256 of the compact text (json_text) of all the other fields
 */
#ifndef CACHE_RECORD_H
#define CACHE_RECORD_H

#include "cache/store.h"
#include "qcow2/head.h"

#define RECORD_VERSION 1
#define RECORD_HEADER 4096
/*
 * Layers in a chain. One more costs little: `kiln shell` has its VM after 0.22, 0.25, 0.33, 0.52
 * and 0.72 s on 2, 32, 64, 128 and 190 layers (TCG, 2 cores; qcow2_nodes in qcow2/nodes.h says what
 * makes it so), and reading 100 MB takes no longer on 64 than on 3 (docs/BENCHMARKS.md). So nothing
 * is merged. But qemu-img, and QEMU for `kiln run`, take 2 to 3 s for 199 files, and with the third
 * power: hence a limit. image/ follows at most 256 files.
 */
#define RECORD_MAX_DEPTH 200

bool is_id(const char *s); /* 64 lower-case hex letters */

/* Parses and checks the text of a record. The layer's folder and disk are NULL. ERR_USER: why it is
 * not a record, in a few words. Takes any bytes. */
struct layer *record_parse(const char *bytes, size_t n, struct error **err);
/* Sets "check" and writes the file, which the caller syncs. The fields must make a good record: a bug if
 * not. */
int record_write(const char *path, json_t *record, struct error **err);
/* Reads <layers>/<id>/layer.json; the record must be of that id. ERR_NOT_FOUND: no such folder;
 * any other error: the layer is damaged, and why. */
struct layer *record_load(const char *layers, const char *id, struct error **err);
struct layer *layer_copy(const struct layer *l);
/* Compares the disk file's size and header with the record. An error says what is wrong. */
int record_check_disk(const struct layer *l, struct error **err);
/* Looks for the mark of store_verify. An error says what it says. */
int record_check_mark(const struct layer *l, struct error **err);
/* That child was made on the bytes parent has. An error says what is wrong with child. */
int record_check_parent(const struct layer *child, const struct layer *parent, struct error **err);

struct disk_head {
    uint64_t size;               /* of the file, bytes */
    char header[DIGEST_HEX + 1]; /* digest of the first RECORD_HEADER bytes */
    struct qcow2_head qcow2;
};
/* Errors: qcow2_head_parse's. */
int disk_head_read(int fd, struct disk_head *ret, struct error **err);

#endif
