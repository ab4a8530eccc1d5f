/* SPDX-License-Identifier: MIT
 *
 * The backend: a directory of finished images.
 *
 *   <encoded name>              a read-only qcow2 (image/name.h). Either
 *                                 thin: an empty overlay whose backing name is
 *                                 ".layers/<id>/disk.qcow2" (what kiln builds), or
 *                                 standalone: no backing file (pulled, imported, transient's)
 *   .layers/<id>/disk.qcow2     a layer (the cache's); backing name "../<id>/disk.qcow2" or none.
 *                                 <id> is letters, digits, '.', '_' and '-', not first '.'
 *   .sources/<encoded name>.json  where a fetched image came from (image/source.h)
 *   .working/                   unfinished things (base/working.h), and "pull-<encoded name>/":
 *                               what the next pull of that name can resume (image/pull.h)
 *
 * All backing names are relative, so a backend that is moved or copied works. They are read by our
 * own header reader (qcow2/qcow2.h) and followed only to a layer or an image of the same backend;
 * QEMU gets the files of a chain by name, never a header to follow. Images are replaced by rename:
 * a VM that runs on the old file keeps it. `dir` is always the backend's directory
 * (session.backend); it is made when something is first put there.
 *
 * Building on a standalone image: FROM needs it to stay when the name goes or changes, so it is
 * linked into .layers first (store_import_base of cache/store.h, keyed by backend_digest).
 */
#ifndef IMAGE_BACKEND_H
#define IMAGE_BACKEND_H

#include "base/digest.h"
#include "base/error.h"
#include "base/vector.h"

#include <stdbool.h>
#include <stdint.h>

struct session;

struct backend_image {
    char *name;
    char *path;            /* dir joined with the encoded name */
    bool thin;             /* false: standalone */
    char *layer;           /* id of the layer a thin image stands for; NULL = standalone */
    char *metadata;        /* JSON text as registered; NULL = none */
    uint64_t virtual_size; /* bytes of the disk */
    uint64_t real_size;    /* bytes on this disk: file and, when thin, every layer below */
    int64_t mtime;         /* seconds since 1970 */
    char *broken;          /* in lists: why it can't be used; only name, path, mtime and, if its own
                            * file could be read, layer are then set. NULL = fine */
};
void backend_image_clear(struct backend_image *image);
DEFINE_VECTOR(backend_images, struct backend_image);
void backend_images_free(struct backend_images *images); /* the elements too */

/* All images, sorted by name; a directory that does not exist has none. */
int backend_list(const char *dir, struct backend_images *ret, struct error **err);
/* The image that a name which no image has may mean: "debian" for "debain", "debian:latest" or
 * "docker.io/library/debian". Owned; NULL = none is like it. */
char *backend_nearest(const char *dir, const char *name);
/* ERR_NOT_FOUND: "unable to find image '…' in backend '…'"; ERR_USER: bad name, broken file or
 * chain. */
int backend_find(const char *dir, const char *name, struct backend_image *ret, struct error **err);
/* Whether a file stands under the name, usable or not. */
bool backend_has(const char *dir, const char *name);

struct backend_thin {
    const char *layer;     /* id; .layers/<id>/disk.qcow2 must exist */
    uint64_t virtual_size; /* bytes; 0 = as the layer has it */
    const char *metadata;  /* JSON text, at most QCOW2_METADATA_MAX bytes; NULL = none */
};
/* Makes name a thin image of that layer, replacing what had the name. Whole or not at all, durable
 * when it returns, as are the names of all layers by then; copies nothing. */
int backend_register_thin(const char *dir, const char *name, const struct backend_thin *thin,
                          struct error **err);
/* Makes the finished qcow2 `file` (below dir, so on its filesystem; moved) the image `name`: judged
 * by the header reader (no backing file), made read-only, synced, renamed. */
int backend_register_file(const char *dir, const char *name, const char *file, struct error **err);
/* Drops the name; layers stay for the cache's pruning. The caller has checked that nobody uses it.
 * ERR_NOT_FOUND. */
int backend_remove(const char *dir, const char *name, struct error **err);
/* A second name for the same content; replaces `to`. Copies no data. */
int backend_tag(const char *dir, const char *from, const char *to, struct error **err);

/*
 * Files of a chain from base to top, below dir. Each header is read by qcow2/qcow2.h (so this costs
 * a read a file), at most 256 files; a backing name that is anything but a layer or an image of
 * this backend is ERR_USER, so are links.
 */
int backend_image_chain(const char *dir, const char *name, struct strv *ret, struct error **err);

/* Ids of the layers that names stand for (each once, sorted): what pruning must keep, with all
 * below them. An image that can't be used but has a backing file is an error here:
 * pruning must then not go on. */
int backend_roots(const char *dir, struct strv *ret, struct error **err);

/*
 * SHA-256 of a standalone image's file, for the key of what is built on it. Remembered in cache_dir
 * under device, inode, size, mtime and ctime, unless the file was touched in the two seconds before
 * it was read.
 */
int backend_digest(const struct session *s, const char *path, struct digest *ret,
                   struct error **err);

#endif
