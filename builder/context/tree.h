/* SPDX-License-Identifier: MIT
 *
 * The build directory as it was seen: a tree of nodes in memory, read folder by folder when asked
 * for, by several threads. Used by context.c and what belongs to it; see context.h.
 *
 * Files are not opened: a node has what readdir, fstatat and the index of digests say. Names that
 * the ignore file hides are no nodes, except folders below which a '!' pattern may show something
 * (node.hidden).
 */
#ifndef BUILDER_CONTEXT_TREE_H
#define BUILDER_CONTEXT_TREE_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/error.h"
#include "builder/context/index.h"
#include "builder/context/manifest.h"

#include <stdbool.h>
#include <stdint.h>

struct ignore;
struct session;
struct tree;

/* A socket is seen, but never copied. */
enum { NODE_SOCKET = 's' };

/* What to do about a file or folder that may not be read. */
#define UNREADABLE_HINT "give yourself the right to read it, or name it in the ignore file"

struct node {
    struct node *parent;          /* NULL for the root */
    const char *name;             /* "" for the root */
    struct node *children;        /* an array, sorted by name as bytes */
    const char *link;             /* target of a symbolic link */
    const struct digest *content; /* of a file, once known */
    const struct digest *xattrs;  /* of a file (once content is known) or folder; NULL = none */
    struct file_id id;
    int64_t mtime; /* seconds since the epoch, which id.mtime_ns can't always hold */
    uint32_t mtime_ns;
    uint32_t n_children, nlink, major, minor;
    uint16_t mode; /* permission bits */
    uint8_t type;  /* enum manifest_type: MANIFEST_FILE and so on, as seen, never _HARDLINK; or
                    * NODE_SOCKET */
    bool hidden, scanned, scanned_deep;
};

struct tree_options {
    int root_fd;                 /* a folder, O_PATH or not; taken over */
    const char *dir;             /* for messages; this and the rest are borrowed */
    const struct ignore *ignore; /* NULL = none */
    const struct strv *hidden;   /* paths below the root that are not seen; outlives the tree */
    struct index *index;
};
/* Errors: the folder can't be looked at. */
int tree_new(const struct session *s, const struct tree_options *o, struct tree **ret,
             struct error **err);
void tree_free(struct tree *t); /* and all nodes */
DEFINE_CLEANUP(struct tree, tree_free);

struct node *tree_root(struct tree *t);
const char *tree_dir(const struct tree *t);
/* Reads a folder, with all below it if deep; does nothing for what was read before. */
int tree_scan(struct tree *t, struct node *folder, bool deep, struct error **err);
/* The child of a scanned folder; NULL if there is none. */
struct node *tree_child(struct node *folder, struct str name);
/* Not hidden, or (then reading what is needed) a folder with something below it that is not. */
int tree_is_visible(struct tree *t, struct node *n, bool *ret, struct error **err);
uint64_t tree_count(const struct tree *t); /* nodes so far */

/* Opens a node's file for reading, or its folder: O_NOFOLLOW, beneath the root, through no link.
 * -1 with errno. Any thread. */
int tree_open(const struct tree *t, const struct node *n);
/* fstatat of a path below the root, through no link. Whether something is there, hidden or not. */
bool tree_exists(const struct tree *t, const char *path);
/* Whether a file of this name in the root may be executed. */
bool tree_has_program(const struct tree *t, const char *name);
/* Memory that lives as long as the tree. Not while a scan runs. */
void *tree_alloc(struct tree *t, size_t size);

/* Adds the path of n below `from` (an ancestor or n itself; NULL = the root); "" for from itself.
 */
void node_add_path(struct buf *b, const struct node *n, const struct node *from);

#endif
