/* SPDX-License-Identifier: MIT
 *
 * The whole store as a tree in memory: for pruning, counting and verifying.
 */
#ifndef CACHE_SCAN_H
#define CACHE_SCAN_H

#include "cache/internal.h"
#include "cache/prune.h"

struct node {
    char id[DIGEST_HEX + 1];
    char *folder;        /* its folder */
    char *file;          /* the folder's name below .failed; NULL = a layer */
    struct layer *layer; /* NULL: no good record */
    char *dead;          /* why nobody can use it again; NULL = usable */
    bool damaged;        /* that is the reason */
    bool judged, needed, gone;
    struct node *parent; /* by the record, else by the disk's header; NULL: none, or not there */
    size_t children;     /* that are there and not gone */
    uint64_t bytes, inodes;
    int64_t used;
};

DEFINE_VECTOR(nodes, struct node);

struct scan {
    struct nodes layers; /* sorted by id */
    struct nodes failed;
    uint64_t bytes, inodes; /* of all of them */
};

/*
 * Reads everything, marks as needed what the roots (may be NULL) and all leases name, with all
 * below it, and decides what is dead. The store lock is held exclusively, or what is read may
 * change meanwhile.
 */
int scan_load(struct store *st, store_roots_fn *roots, void *arg, struct scan *ret,
              struct error **err);
void scan_clear(struct scan *s);
struct node *scan_find(const struct scan *s, const char *id); /* a layer; NULL = not there */

#endif
