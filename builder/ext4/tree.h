/* SPDX-License-Identifier: MIT
 *
 * Paths of a volume, as whoever lives in it sees them: symbolic links lead below its root.
 *
 *     // given struct tree tree; struct buf real; ext2_ino_t ino;
 *     tree_resolve(&tree, "/etc/mtab", NULL, &real, &err);     // "/proc/self/mounts"
 *     int got = tree_find(&tree, buf_str(&real).ptr, &ino, &err);   // 1: it is there
 */
#ifndef BUILDER_EXT4_TREE_H
#define BUILDER_EXT4_TREE_H

#include "base/buf.h"
#include "builder/agent/resolve.h"
#include "builder/ext4/folder.h"

struct tree {
    struct volume *v;
    struct folders *folders;
    struct strv mounts; /* folders, without links, where other file systems are mounted */
    struct error *why;  /* behind an errno of resolve_path; owned */
};
void tree_clear(struct tree *t); /* not the volume */

/* *ret is the path without links (resolve.h); `made`: links that archives made lead inside of
 * `within` only. -1 for a path on another file system, too. */
struct made_links;
int tree_resolve(struct tree *t, const char *path, const struct resolve *made, struct buf *ret,
                 struct error **err);
/* A path without links: 1 with its inode; 0: it is not there, or what is above it is no folder. */
int tree_find(struct tree *t, const char *real, ext2_ino_t *ret, struct error **err);
/* The type of an inode: S_IF…; 0 and an error. */
mode_t tree_type(struct tree *t, ext2_ino_t ino, struct error **err);
/* A file that is no longer than limit; *ret is empty if it is not there or something else. */
int tree_read(struct tree *t, const char *path, size_t limit, struct buf *ret, struct error **err);

/* What a folder that is missing is made with. */
struct tree_as {
    uid_t uid;
    gid_t gid;
    mode_t mode;
};
/* The folder at a path without links, made with its parents where they are missing. */
struct folder *tree_folder(struct tree *t, const char *real, const struct tree_as *as,
                           struct error **err);

#endif
