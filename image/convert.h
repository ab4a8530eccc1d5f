/* SPDX-License-Identifier: MIT
 *
 * qemu-img at work, always with explicit formats and files: what comes in becomes a qcow2 that is
 * sound, what goes out becomes one file.
 */
#ifndef IMAGE_CONVERT_H
#define IMAGE_CONVERT_H

#include "base/error.h"
#include "base/session.h"
#include "image/format.h"
#include "image/pull.h"

#include <stdbool.h>

/*
 * Makes `file` (of that format, in a folder of ours) a qcow2 at the same path: qcow2 is judged by
 * qcow2/qcow2.h and `qemu-img check` (a dirty one is repaired), raw is one already, of our own
 * writing (image/sink.h), the others are judged by image/format.h and converted beside the file,
 * which is then replaced. max_size: most bytes the result may take on disk; 0 = by ratio
 * (sink_data_limit). A disk under 64 KiB is refused: nothing can be on it.
 */
int convert_in(const struct session *s, const char *file, enum format f, uint64_t max_size,
               struct error **err);

/*
 * A stranger's qcow2 whose header must name the backing file `backing` is judged as by convert_in, and
 * then names `below` in its place. ERR_USER: another name, or not sound.
 */
int convert_overlay(const struct session *s, const char *file, const char *backing,
                    const char *below, struct error **err);

/* Gives a qcow2 that has no metadata this one (image/backend.h). That it cannot be kept is a notice, no
 * error. */
int convert_describe(const struct session *s, const char *file, const char *metadata,
                     struct error **err);

struct image_export {
    enum format format; /* not FORMAT_UNKNOWN */
    const char
        *compress;  /* "zstd" or "zlib" (qcow2), "zlib" (vmdk, as streamOptimized); NULL = no */
    bool exclusive; /* a file of that name is ERR_EXISTS; ours is for its owner alone (0600) */
};
/* What is exported. Borrowed. */
struct image_content {
    const struct strv *chain; /* qcow2 files, the base first */
    uint64_t size;            /* of the disk, bytes */
    const char *metadata;     /* as image/backend.h has it; NULL = none */
};
/* The same as image_export for a chain that no name has. */
int image_export_chain(const struct session *s, const struct image_content *c, const char *file,
                       const struct image_export *o, struct error **err);
/* Writes the whole chain of an image as one file: appears whole, replaces what is there. The folder
 * of `file` must exist. A qcow2 keeps the image's metadata (env, labels, history). */
int image_export(const struct session *s, const char *name, const char *file,
                 const struct image_export *o, struct error **err);
/* The same to a descriptor, such as a pipe, by way of a file in the cache folder. */
int image_export_to(const struct session *s, const char *name, int fd, const struct image_export *o,
                    struct error **err);
/* Makes a thin image standalone (its metadata is kept); nothing to do for others. */
int image_flatten(const struct session *s, const char *name, struct error **err);

#endif
