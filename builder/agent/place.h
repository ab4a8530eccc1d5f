/* SPDX-License-Identifier: MIT
 *
 * Puts files into a tree, below its root whatever symbolic links it holds (openat2 with
 * RESOLVE_IN_ROOT), with the attributes and in the order that stream.h says. RECEIVE and COPY
 * differ only in where entries and contents come from.
 *
 *     // given int root; struct entry entry;
 *     CLEANUP(place_clear) struct place p;
 *     place_init(&p, root, "/opt/app", true);     // entries go below it
 *     fd = place_file(&p, &entry, &err);
 *     ...                                         // write the content
 *     place_file_done(&p, &entry, fd, &err);
 *     place_other(&p, &entry, &err);              // everything but files
 *     place_finish(&p, &err);                     // times of folders
 */
#ifndef BUILDER_AGENT_PLACE_H
#define BUILDER_AGENT_PLACE_H

#include "base/buf.h"
#include "base/vector.h"
#include "builder/agent/entry.h"
#include "builder/agent/resolve.h"

#include <stdbool.h>
#include <sys/types.h>

struct placed_dir {
    char *path;
    struct timespec mtime;
};
DEFINE_VECTOR(placed_dirs, struct placed_dir);

struct place {
    int root;      /* borrowed */
    char *dest;    /* in the tree, without '/' at its end; "" = the root */
    bool dest_dir; /* entries go below dest, whatever it is */
    bool has_owner;
    uid_t uid;
    gid_t gid;
    char *chmod;   /* a mode, base/mode.h, applied to the entry's; owned, NULL = it stays */
    bool no_owner; /* met a file system that has none (vfat): the caller tells the user */

    int parent; /* the folder the last entry went to, or -1 */
    struct buf parent_path;
    struct buf path; /* of the current entry, in the tree */
    struct placed_dirs dirs;
    struct made_links made; /* links that came from archives */
    struct buf within;      /* dest without links, as it was before the first of them */
    uint64_t count;
};

void place_init(struct place *p, int root, const char *dest, bool dest_dir);
void place_clear(struct place *p);

/* A new empty file, open for writing; what was there is gone. -1 and an error. */
int place_file(struct place *p, const struct entry *e, struct error **err);
/* Owner, mode, xattrs, time; closes fd. */
int place_file_done(struct place *p, const struct entry *e, int fd, struct error **err);
/* The attributes place_file_done would set. */
void place_attrs(const struct place *p, const struct entry *e, uid_t *ret_uid, gid_t *ret_gid,
                 mode_t *ret_mode);
/* Folder, symbolic link, hard link, device, FIFO. */
int place_other(struct place *p, const struct entry *e, struct error **err);
int place_finish(struct place *p, struct error **err);

/* What a folder that is missing is made with. */
struct place_as {
    uid_t uid;
    gid_t gid;
    mode_t mode;
};
/* Makes a folder with its parents where they are missing, all of them so; links that lead nowhere
 * get their target. An O_PATH descriptor, or -1 and an error. */
int place_folder(int root, const char *path, const struct place_as *as, struct error **err);
/* "cannot write '/x': …" with a hint when the disk is full. Returns -1. */
int place_error(const struct place *p, const char *what, struct error **err);

#endif
