/* SPDX-License-Identifier: MIT
 *
 * Folders of a volume: names looked up, added and removed. Each folder is read once, then its names
 * are known.
 *
 *     // given struct volume *v; uint32_t ino;
 *     CLEANUP(folders_freep) struct folders *all = folders_new(v);
 *     struct folder *root = folder_open(all, EXT2_ROOT_INO, &err);
 *     int got = folder_find(root, "etc", &ino);           // 1: it is there
 *     folder_add(root, "new", ino, EXT2_FT_REG_FILE, &err);
 *     folders_finish(all, &err);                          // times; nothing is held back now
 *
 * A folder with an index keeps it (libext2fs adds to it); others get none, as the kernel reads both.
 * One without that would become longer than FOLDER_MAX is refused: the kernel would have made
 * an index. Spec: kernel Documentation/filesystems/ext4/directory.rst.
 */
#ifndef BUILDER_EXT4_FOLDER_H
#define BUILDER_EXT4_FOLDER_H

#include "builder/ext4/volume.h"

#include <sys/types.h>

enum { FOLDER_MAX = 256 * 1024 }; /* bytes */

struct folders;
struct folder;

struct folders *folders_new(struct volume *v);
void folders_free(struct folders *all); /* NULL is fine */
DEFINE_CLEANUP(struct folders, folders_free);

/* Borrowed until folders_free. Errors: it is no folder; flags that what is made in it would get. */
struct folder *folder_open(struct folders *all, ext2_ino_t ino, struct error **err);
/* A new and empty one with its block, nlink and names "." and ".."; not yet in its parent. */
struct folder *folder_new(struct folder *parent, mode_t mode, uid_t uid, gid_t gid,
                          struct error **err);

ext2_ino_t folder_ino(const struct folder *f);
bool folder_setgid(const struct folder *f,
                   gid_t *ret); /* whether it gives its group to all in it */
void folder_set_group(struct folder *f, bool setgid, gid_t gid); /* after a change of its own */
/* Its mode and ACLs can be set as those of a new one. */
bool folder_is_plain(const struct folder *f);
/* After a change of its attributes: reads its ACLs anew. */
int folder_read_acls(struct folder *f, struct error **err);
/* 1, or 0: there is no such name. */
int folder_find(const struct folder *f, const char *name, ext2_ino_t *ret);
/* The name is not there yet. type: EXT2_FT_…; the parent's count of links is minded. Errors: the
 * folder has ACLs for what is made in it. */
int folder_add(struct folder *f, const char *name, ext2_ino_t ino, int type, struct error **err);
/* The name is there. Leaves the inode alone. */
int folder_remove(struct folder *f, const char *name, struct error **err);
/* Writes what is held back, and the times of all folders that have changed. */
int folders_finish(struct folders *all, struct error **err);

#endif
