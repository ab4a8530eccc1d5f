/* SPDX-License-Identifier: MIT
 *
 * What the files of builder/container share: container.c finds the image and brings it, saved.c reads
 * archives of images, manifest.c manifests, items.c what the layers hold.
 */
#ifndef BUILDER_CONTAINER_PRIVATE_H
#define BUILDER_CONTAINER_PRIVATE_H

#include "base/buf.h"
#include "base/vector.h"
#include "base/working.h"
#include "builder/container/container.h"
#include "builder/container/rootfs.h"
#include "builder/transfer/transfer.h"

struct container_layer {
    char hex[DIGEST_HEX + 1]; /* SHA-256 of the file; "" = nobody says */
    uint64_t size;            /* of the file */
    int fd;                   /* open for reading; -1 = not here yet */
};
DEFINE_VECTOR(container_layers, struct container_layer);

/* The place in the stream of items. */
struct container_reader {
    size_t plain;             /* the next of rootfs.plain */
    size_t layer, entry;      /* the next */
    struct tar *tar;          /* of the layer; NULL = not begun */
    struct rootfs_node *link; /* the next further name of the file before */
    struct buf path, target;
    _Atomic uint64_t before; /* bytes of the layers before */
    struct item_source source;
};

struct container {
    const struct session *session;
    enum container_kind kind;
    char *text, *platform; /* platform NULL = linux/amd64 */
    const struct transfer_options *transfer;
    struct registry *registry; /* NULL = an archive */
    struct digest digest;
    uint64_t bytes;
    char config[DIGEST_HEX + 1];
    uint64_t config_size;
    struct container_layers layers; /* base first */
    bool fetched;

    int archive;        /* its file; -1 = none */
    struct digest file; /* what it was when the key was made */
    char *wanted;       /* the name in it; "" = the only one */
    struct working work;

    struct rootfs *rootfs;
    struct container_reader reader;
};

/* A manifest's layers and config into c, whose own are replaced. Takes any text. ERR_USER. */
int container_take_manifest(struct container *c, struct str text, struct error **err);
/* Whether the config is of the platform; ERR_USER. */
int container_check_config(const struct container *c, struct str text, struct error **err);
/* The manifest of a tag or digest ("sha256:…") of c->registry: layers, config, digest. */
int container_resolve(struct container *c, const char *version, struct error **err);
/* The name of an image in an archive that holds a layout: ERR_USER unless it is "", a tag or a digest
 * that a path can be made of. */
int container_check_tag(const char *name, struct error **err);
/* Unpacks the archive and opens its layers. */
int container_open_saved(struct container *c, struct error **err);
/* A layer's file, read from its start by another description. */
int container_reopen(const struct container_layer *l, struct error **err);

#endif
