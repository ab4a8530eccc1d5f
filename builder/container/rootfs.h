/* SPDX-License-Identifier: MIT
 *
 * What the layers of a container image are together: a tree of names in memory, without content. Layers
 * are added base first, entry by entry; what is left at the end is what a container would see
 * (image-spec, layer.md: "Applying Changesets", "Whiteouts").
 *
 *     // given struct tar *tar; struct tar_item item;
 *     CLEANUP(rootfs_freep) struct rootfs *r = rootfs_new();
 *     rootfs_begin_layer(r);
 *     while (tar_next(tar, &item, &err) > 0)
 *         rootfs_add(r, &item, &err);
 *     rootfs_finish(r);
 *     struct rootfs_node *first = r->plain.ptr[0];
 *
 * A whiteout (".wh.x") hides what lower layers have by that name, an opaque folder (".wh..wh..opq")
 * all that they have in it; the layer's own entries stay, wherever in it the marker is. A folder keeps
 * its content when a later layer has it again, anything else is replaced. Names that lead through a
 * symbolic link of the image lead where it would in a container, whose root is the image's. Other names
 * that begin with ".wh..wh." are AUFS's own and are left out.
 */
#ifndef BUILDER_CONTAINER_ROOTFS_H
#define BUILDER_CONTAINER_ROOTFS_H

#include "base/buf.h"
#include "base/error.h"
#include "base/vector.h"
#include "builder/context/archive.h"

#include <stdbool.h>
#include <stdint.h>

struct rootfs_node;

/* A file of any type; several names may be the same file. */
struct rootfs_file {
    struct stream_entry head;  /* as of struct tar_item */
    char *link;                /* of a symbolic link; NULL = none */
    struct buf xattrs;         /* not of STREAM_FILE */
    struct rootfs_node *names; /* the first of them; NULL: it is hidden */
};

struct rootfs_node {
    struct rootfs_node *parent, *children, *sibling;
    struct rootfs_node *next_name; /* of the same file */
    struct rootfs_node **name_at;  /* what leads to this one among its file's names */
    struct rootfs_node *chain;     /* of the table of names */
    struct rootfs_file
        *file;      /* NULL: nothing is there, or a folder that only its content mentions */
    unsigned layer; /* that said it last */
    bool implied;   /* such a folder */
    char name[];
};

DEFINE_VECTOR(rootfs_nodes, struct rootfs_node *);
DEFINE_VECTOR(rootfs_files, struct rootfs_file *);

struct rootfs_layer {
    struct rootfs_files entries; /* the regular files by the number of their entry; else NULL */
};
DEFINE_VECTOR(rootfs_layers, struct rootfs_layer);

struct rootfs {
    struct rootfs_layers layers;
    struct rootfs_nodes
        plain; /* by rootfs_finish: folders, each before what is in it, then all names of
                                * what has no content, the first of a file's names first */
    /* its own */
    struct rootfs_node *root, **table;
    size_t table_size, n_nodes, n_entries, xattr_bytes, text_bytes, work;
    struct rootfs_files files;
};

struct rootfs *rootfs_new(void);
void rootfs_free(struct rootfs *r); /* NULL is fine */
DEFINE_CLEANUP(struct rootfs, rootfs_free);

void rootfs_begin_layer(struct rootfs *r);
/* The next entry of the layer. ERR_USER: it is below something that is not a folder, a hard link to
 * nothing or to a folder, links in a circle, too long a path, too many entries or names, or too much
 * work. */
int rootfs_add(struct rootfs *r, const struct tar_item *item, struct error **err);
void rootfs_finish(struct rootfs *r);
/* The path from the root into *ret (emptied first). */
void rootfs_path(const struct rootfs_node *n, struct buf *ret);

#endif
