/* SPDX-License-Identifier: MIT
 *
 * Inodes of a volume: made with all they have, and removed. Names are folder.h's business.
 */
#ifndef BUILDER_EXT4_INODE_H
#define BUILDER_EXT4_INODE_H

#include "base/buf.h"
#include "base/vector.h"
#include "builder/ext4/volume.h"

#include <sys/types.h>

struct run {
    blk64_t logical, block, n;
};
DEFINE_VECTOR(runs, struct run);

struct inode {
    ext2_ino_t ino;
    struct ext2_inode_large raw;
    struct runs runs; /* of its content */
};
void inode_clear(struct inode *i);

/* A new inode near those of the folder `parent`; `mode` with its type. Written by inode_write. */
int inode_new(struct volume *v, ext2_ino_t parent, mode_t mode, uid_t uid, gid_t gid,
              struct inode *ret, struct error **err);
/* With its content's runs and size, changed now. */
int inode_write(struct volume *v, struct inode *i, uint64_t size, struct timespec mtime,
                struct error **err);
/* One that is there. */
int inode_read(struct volume *v, ext2_ino_t ino, struct ext2_inode_large *ret, struct error **err);
int inode_store(struct volume *v, ext2_ino_t ino, struct ext2_inode_large *raw, struct error **err);
void inode_changed(const struct volume *v, struct ext2_inode_large *raw); /* its ctime is now */
/* Its mtime as well. */
void inode_times(const struct volume *v, struct ext2_inode_large *raw, struct timespec mtime);
void inode_owner(struct ext2_inode_large *raw, uid_t uid, gid_t gid);
/* Of a written inode: each as stream.h has them; an access ACL sets its mode. Errors: what the kernel
 * might take otherwise. */
int inode_xattrs(struct volume *v, ext2_ino_t ino, mode_t mode, struct str xattrs,
                 struct error **err);
/* Whether it has an access ACL, which a change of its mode would change, and a default one, which what
 * is made in it gets. */
int inode_acls(struct volume *v, ext2_ino_t ino, bool *ret_access, bool *ret_default,
               struct error **err);
/* One name more. Declines, as inode_unlink does, what chattr protects. */
int inode_link(struct volume *v, ext2_ino_t ino, struct error **err);
/* One name less; the last one frees it. Not for folders. */
int inode_unlink(struct volume *v, ext2_ino_t ino, struct error **err);
/* Target of a symbolic link, owned. */
char *inode_target(struct volume *v, ext2_ino_t ino, struct error **err);
/* A file's bytes, at most limit. */
int inode_content(struct volume *v, ext2_ino_t ino, size_t limit, struct buf *ret,
                  struct error **err);

#endif
