/* SPDX-License-Identifier: MIT
 *
 * Where a path leads below a root, also when parts of it are missing: every symbolic link is
 * followed as whoever lives in that root would see it. And for archives: the links that one has
 * made itself may be used inside of its destination only, so that what it holds can't be written
 * elsewhere; those that were in the image before lead anywhere in it.
 */
#ifndef BUILDER_AGENT_RESOLVE_H
#define BUILDER_AGENT_RESOLVE_H

#include "base/buf.h"
#include "base/vector.h"

#include <stdbool.h>
#include <sys/types.h>

struct made_link {
    dev_t dev;
    ino_t ino;
};
DEFINE_VECTOR(made_links, struct made_link);

/* What is at the end of a path whose folders are no links. */
struct resolve_seen {
    dev_t dev;
    ino_t ino;
    bool is_link;
    char target[4096]; /* of a link */
};
/* 1: there it is; 0: nothing; -1 with errno. */
typedef int resolve_look_fn(void *arg, const char *path, struct resolve_seen *ret);

struct resolve {
    int root;              /* a folder, borrowed; or else: */
    resolve_look_fn *look; /* of another kind of tree; NULL = `root` */
    void *arg;
    const char *within;            /* where `made` may lead, as resolve_path gives it */
    const struct made_links *made; /* NULL = none */
};

/* *ret is the path without links, "." and ".." parts: "" for the root, else "/a/b"; what follows a
 * missing part is taken as it is. An absolute target of a link in `made` starts at `within`. -1
 * with errno: ELOOP, more than 40 links; EXDEV, a link in `made` leads out of `within`; as of
 * openat2(2). */
int resolve_path(const struct resolve *r, const char *path, struct buf *ret);

#endif
