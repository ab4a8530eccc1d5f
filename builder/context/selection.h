/* SPDX-License-Identifier: MIT
 *
 * What a selection (context.h) is made of: shared by select.c, which makes it, source.c, which
 * finds what the sources name, and the sender.
 */
#ifndef BUILDER_CONTEXT_SELECTION_H
#define BUILDER_CONTEXT_SELECTION_H

#include "base/buf.h"
#include "base/vector.h"
#include "builder/context/context.h"
#include "builder/context/ignore_file.h"
#include "builder/context/remote.h"
#include "builder/context/tree.h"

#include <stdbool.h>
#include <stdint.h>

struct index;
struct item_source;

struct context {
    const struct session *session;
    struct context_options options; /* dir, imagefile and hidden are not kept here */
    char *dir;
    char *shown;        /* what messages call it */
    struct strv hidden; /* of the options */
    struct ignore_file ignore;
    bool told_of_sockets;
    struct index *index;
    struct tree *tree;
    uint64_t hashed_files, hashed_bytes;
};

/* One source after expansion of patterns. */
struct part {
    enum context_source_kind kind;
    char *shown;       /* as written, for messages and the manifest; "" = the whole context */
    char *dest;        /* where its root goes, below <dest>; "" = <dest> itself */
    char *own_name;    /* of a single file */
    struct node *node; /* SOURCE_PATH; a link is resolved */
    struct str bytes;  /* SOURCE_INLINE */
    struct remote_file remote;       /* SOURCE_URL; of SOURCE_ITEMS only digest and size */
    const struct item_source *items; /* SOURCE_ITEMS */
    bool unpack;                     /* if it is an archive */
    bool bare; /* --parents: a folder without what is in it, above the part that follows */
};
DEFINE_VECTOR(parts, struct part);

/* One entry to send. */
struct picked {
    struct node *node; /* NULL: the part is inline or remote */
    uint32_t part;
    uint32_t first; /* hard link: index + 1 of the entry that has the content; 0 = none */
};
DEFINE_VECTOR(picks, struct picked);

struct selection {
    struct context *ctx;
    struct parts parts;
    bool needs_folder;
    struct picks picks;
    uint64_t sockets; /* left out */
    char *socket;     /* the first of them */
    struct buf manifest;
    struct digest digest;
    uint64_t bytes;
};

/* Whether "**" stands for any number of folders, or is no more than "*". */
enum source_stars { SOURCE_PLAIN, SOURCE_STARS };
/* Finds what a source names and adds a part for each match; sets node, shown, own_name. A pattern
 * may have none. */
int source_expand(struct context *ctx, const char *instruction, const char *source,
                  enum source_stars stars, struct parts *ret, struct error **err);
/* The same for --parents: with "**", sets dest too, and adds a bare part for each folder on the way. */
int source_expand_parents(struct context *ctx, const char *instruction, const char *source,
                          struct parts *ret, struct error **err);
/* What a clean path names, links followed: 1; 0: nothing; -1: error. */
int source_node(struct context *ctx, const char *path, struct node **ret, struct error **err);
void part_clear(struct part *p);
void parts_free(struct parts *parts);

/* Adds the path of the entry as the manifest has it, or as it goes into the stream. */
void picked_add_shown(struct buf *b, const struct part *p, const struct node *n);
void picked_add_dest(struct buf *b, const struct part *p, const struct node *n);
bool picked_is_file(const struct picked *p); /* of the build directory */
/* Sets manifest, digest and bytes from the picks, whose files have been hashed. */
void selection_write_manifest(struct selection *sel);

#endif
