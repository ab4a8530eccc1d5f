/* SPDX-License-Identifier: MIT
 *
 * What the files of cache/ share about a store; not for anybody else.
 */
#ifndef CACHE_INTERNAL_H
#define CACHE_INTERNAL_H

#include "base/lock.h"
#include "base/working.h"
#include "cache/record.h"
#include "cache/store.h"

DEFINE_VECTOR(known_layers, struct layer *);

struct store {
    const struct session *session; /* borrowed; may be NULL */
    char *dir, *layers, *keys, *working, *failed, *builds;
    char *lock;                /* file of the store lock */
    char *cwd;                 /* see store_cwd */
    struct working work;       /* our folder; its lock file is our lease */
    bool read_only;            /* we may not write to the backend; work is in the session cache */
    unsigned drafts;           /* numbers the draft folders */
    struct known_layers known; /* checked and covered by our lease, so good until store_free */
    struct strv told;          /* ids whose damage was said */
    char *damage;              /* of what the last store_find met; NULL = none */
};

struct draft {
    struct store *store;
    char id[DIGEST_HEX + 1], key[DIGEST_HEX + 1], parent[DIGEST_HEX + 1];
    char *step, *folder, *disk, *log, *backing;
    char *key_path;   /* lock file of the key */
    int key_fd;       /* its lock, -1 = none */
    bool lasts_later; /* its folder's new name is synced when it is needed */
};

/* Takes the key's lock as store_build_begin does. */
int draft_lock_key(struct draft *d, struct error **err);
/* Makes the folder of a draft whose id and parent are set. */
int draft_make_folder(struct draft *d, struct error **err);
/* Everything up to the rename: the folder is then a complete layer in the wrong place. The digest is
 * computed if known_digest is NULL. */
int draft_finish(struct draft *d, json_t *record, const char *known_digest, struct error **err);
/* The rename. replace: a layer of that id that is damaged is replaced. */
int draft_publish(struct draft *d, bool replace, struct layer **ret, struct error **err);

/* Waits for the store lock (interruptible); closing the descriptor ends it. */
int store_lock(struct store *st, enum lock_mode mode, struct error **err);
/* An error if the backend was opened for reading only. */
int store_writable(const struct store *st, struct error **err);
void store_say(struct store *st, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Writes the word into the lease. The store lock is held. */
int store_lease(struct store *st, const char *word, struct error **err);
/*
 * Loads the layer and checks it and what is below it; the store lock is held. A layer of its own,
 * or NULL: ERR_NOT_FOUND, there is no such layer; ERR_USER, it or one below is damaged, with the
 * reason. Leases and notes the use.
 */
struct layer *store_use(struct store *st, const char *id, struct error **err);
/* Says once that the layer is damaged. step may be NULL. */
void store_tell_damage(struct store *st, const char *id, const char *why);
/* The id `.keys/<key>` holds. 1; 0: no pointer. */
int store_pointer(struct store *st, const char *key, char id[DIGEST_HEX + 1]);
/* name as a file name: all but letters, digits, '_' and inner '.' written %XX; suffix appended. */
char *store_encode(const char *name, const char *suffix);
/* First line of a step, at most about 60 bytes, for messages; owned. */
char *short_step(const char *step);
/* Adds the blocks (bytes) and the number (inodes may be NULL) of the files in folder and of itself.
 * Files that have another name too are left out unless shared_too. */
void folder_blocks(const char *folder, bool shared_too, uint64_t *bytes, uint64_t *inodes);
/* Seconds since 1970 of the file's mtime; 0 if it can't be told. */
int64_t mtime_of(const char *path);

#endif
