/* SPDX-License-Identifier: MIT
 *
 * What the store holds, what of it may go, and whether it is whole.
 */
#ifndef CACHE_PRUNE_H
#define CACHE_PRUNE_H

#include "base/error.h"
#include "base/vector.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct store;

/* Adds the ids that image names and VMs need (tops of chains; duplicates are fine). Called while
 * the store lock is held exclusively: it must not call the store. An error ends the prune, which
 * then has removed nothing. */
typedef int store_roots_fn(void *arg, struct strv *ids, struct error **err);

/* Other things that go by the same limits: the least recently used of them and of the layers goes
 * first. */
struct prune_item {
    const char *what; /* for the list of what was removed; borrowed until take */
    uint64_t bytes, inodes;
    int64_t used; /* last use, seconds since 1970 */
};
struct prune_extra {
    void *arg;
    uint64_t bytes;  /* of all of them */
    bool on_backend; /* on the backend's file system: removing them helps keep_free */
    /* The least recently used one that is left; false: there is none. */
    bool (*oldest)(void *arg, struct prune_item *ret);
    /* Removes it; with dry_run only passes over it. */
    int (*take)(void *arg, bool dry_run, struct error **err);
};

#define PRUNE_NO_LIMIT UINT64_MAX
struct prune_options {
    store_roots_fn *roots; /* may be NULL: no image needs anything */
    void *roots_arg;
    struct prune_extra extra; /* oldest NULL: none */
    uint64_t max_size;  /* bytes all layers and extras may take afterwards; PRUNE_NO_LIMIT = any */
    uint64_t keep_free; /* bytes that are to be free on the file system; 0 = any */
    int64_t max_age;    /* seconds since the last use; -1 = any */
    bool all;           /* everything that nothing needs */
    bool dry_run;       /* say what would go, remove nothing */
};
#define PRUNE_OPTIONS_INIT \
    { \
        .max_size = PRUNE_NO_LIMIT, .max_age = -1 \
    }
struct prune_result {
    size_t layers;   /* removed (or that would be); kept failed states count too */
    size_t extras;   /* removed */
    uint64_t bytes;  /* freed: blocks of files that had no other name */
    uint64_t inodes; /* freed */
    uint64_t left;   /* bytes that all layers and extras take now */
    uint64_t needed; /* of these, bytes that images, VMs and running processes need */
    json_t *removed; /* array of {"id", "step", "bytes", "used", "why"}, for kept failed states
                        "failed" in place of "id", for extras "file" in place of both; owned */
};
void prune_result_clear(struct prune_result *r);

/*
 * Goes in this order and stops when every limit is kept: what nobody can use again (damaged layers
 * and what stands on them; layers that a rebuild of their key has replaced, and what stands on
 * these unless a root or lease needs them; always removed), kept failed states, then always the
 * least recently used layer that has no child left, or extra that is older. Never removes what a
 * root, a lease, a draft or a VM needs, nor what is below that. max_size is a cap: if what is
 * needed exceeds it, all else goes, and left > max_size tells the caller.
 */
int store_prune(struct store *st, const struct prune_options *o, struct prune_result *ret,
                struct error **err);

struct store_usage {
    size_t layers, bases, failed, damaged;
    uint64_t bytes; /* of all layers and failed states, blocks on disk; what shares its
                       blocks with an image (an imported base) counts 0 */
    uint64_t inodes;
    uint64_t needed;       /* bytes that images, VMs and running processes need */
    uint64_t unused_bytes; /* the rest: what prune --all frees */
    uint64_t working;      /* bytes of unfinished work of running processes */
};
int store_usage(struct store *st, store_roots_fn *roots, void *roots_arg, struct store_usage *ret,
                struct error **err);

struct verify_result {
    size_t layers;  /* looked at */
    size_t damaged; /* of these, with those that stand on a damaged one */
    size_t removed; /* with repair */
    uint64_t bytes; /* read */
};
/* One call a layer: why is NULL when it is whole. */
typedef void store_verify_fn(void *arg, const char *id, const char *step, const char *why);
/*
 * Reads every layer in full and compares digests. A damaged one is marked, so that no build uses it
 * again, and with repair it and what stands on it are removed, unless a root or lease needs them
 * (they stay marked). A mark is taken off again if the layer turns out whole. ERR_CANCELLED.
 */
int store_verify(struct store *st, bool repair, store_roots_fn *roots, void *roots_arg,
                 store_verify_fn *report, void *arg, struct verify_result *ret, struct error **err);

#endif
