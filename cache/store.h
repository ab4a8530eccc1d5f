/* SPDX-License-Identifier: MIT
 *
 * The layer store of one backend directory.
 *
 *     // given const char *key, *parent_id; struct layer *layer; struct draft *draft; json_t *fields;
 *     CLEANUP(store_freep) struct store *st = NULL;
 *     store_open(session, session->backend, &st, &err);
 *     int found = store_find(st, key, &layer, &err);          // 1, 0 or -1
 *     if (!found) {
 *         struct draft_request r = {.key = key, .parent = parent_id, .step = "RUN make"};
 *         found = store_build_begin(st, &r, &layer, &draft, &err);    // 1: built by another
 *         ...      // make draft_disk(draft), whose header names draft_backing(draft); run the step
 *         store_commit(draft, fields, &layer, &err);
 *     }
 *     ...                                // register the image's name
 *     store_free(STEAL(st));             // only now its layers may be pruned
 *
 * On disk, in the backend directory (it may be moved or copied while nobody uses it):
 *
 *   .layers/<id>/disk.qcow2    0444; backing name "../<parent id>/disk.qcow2", or none
 *   .layers/<id>/layer.json    the record (cache/record.h): no good record, no layer. Its mtime
 *                              is when the layer was last used
 *   .layers/<id>/manifest.zst  the step's manifest, if it has one: bytes of the caller's
 *   .layers/<id>/log           the step's output, if it has any; 16 MiB and a line at most
 *   .layers/<id>/from-<hex>    the builder's, added later: what a --from of the layer read
 *   .layers/<id>/damaged       made by store_verify: why the layer must not be used
 *   .layers/.lock              the store lock
 *   .layers/.cwd/              empty: a working directory, "../<id>/disk.qcow2" in it is a layer
 *   .keys/<key>                the newest id of a key, where that is not the key itself
 *   .working/<random>[.lock]   what a running process has not finished (base/working.h). The
 *                              lock file lists the ids it needs: its lease
 *   .working/<key>.build       the lock of a key that is being built, and by whom
 *   .failed/<name>/            overlay and record of a failed step that was kept
 *   .builds/<name>.json        what the last build of a name did (cache/history.h)
 *   .builds/<name>.failed      what the step said that it failed at
 *
 * Ids and keys: a key says what a layer is made from, an id names the bytes that were made, on
 * whatever host. The id of a built layer is SHA-256 of its key and a nonce, and .keys/<key> names
 * it; that of a base follows from its content, and is its key too (as it was of every layer that a
 * store of kiln 0.1 has). So a child's key, which holds the parent's id, names exactly one parent.
 * Children name their parent by id *and* by the digest of its bytes, and a layer whose parent has
 * other bytes is treated as damaged: an overlay is never used on bytes other than those it was made
 * on, whatever was removed, rebuilt or copied in between.
 *
 * Locks and pruning. A layer that store_find, store_get, store_commit or store_import_base has
 * given out is leased: its id was written into the lease while the store lock was held shared and
 * the layer was seen to be there. store_prune marks and removes with the store lock held
 * exclusively, and asks for the roots (what image names and VMs need) only then. So whoever found a
 * layer keeps it until its store_free, also against a prune that was waiting; a name registered
 * before that store_free is a root for every later prune; and somebody who knows an id from
 * elsewhere (`run`, `tag`) calls store_get first and goes on only if the layer is still there. A
 * lease lasts as long as the process: the kernel ends it, nothing stale remains. The shared lock is
 * held for a few system calls only, so builders never wait for one another, except at
 * store_build_begin for one key.
 *
 * Hold at most one draft and the draft of its child at a time, so that builders can't wait for one
 * another in a circle. One store is for one thread. Ids and keys are 64 lower-case hex letters.
 */
#ifndef CACHE_STORE_H
#define CACHE_STORE_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/vector.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct session;
struct store;
struct draft;

/* All strings and the record are owned by the layer. */
struct layer {
    char id[DIGEST_HEX + 1];
    char key[DIGEST_HEX + 1];
    char parent[DIGEST_HEX + 1]; /* "" = none: the layer stands alone */
    char *folder;                /* <backend>/.layers/<id> */
    char *disk;                  /* <folder>/disk.qcow2 */
    uint64_t size;               /* of the file, bytes */
    uint64_t virtual_size;       /* of the disk in it, bytes */
    unsigned depth;              /* files in its chain; 1 = no parent */
    json_t *record;              /* read with the layer_* functions or base/json.h */
};
void layer_free(struct layer *l); /* NULL is fine */
DEFINE_CLEANUP(struct layer, layer_free);
const char *layer_step(const struct layer *l); /* "RUN make"; "FROM …" for a base; never NULL */
bool layer_is_base(const struct layer *l);
int64_t layer_created(const struct layer *l);    /* seconds since 1970 */
double layer_seconds(const struct layer *l);     /* that the step took; 0 = unknown */
const char *layer_digest(const struct layer *l); /* SHA-256 of the file, hex */
uint64_t layer_bytes(const struct layer *l);     /* that its folder takes on disk; 0 on error */
/* The step's whole output into *ret (emptied first); ERR_NOT_FOUND when it has none. */
int layer_log(const struct layer *l, struct buf *ret, struct error **err);
/* Path of the log file (owned), or NULL when the step has no output. */
char *layer_log_path(const struct layer *l);
/* The step's manifest into *ret (emptied first); ERR_NOT_FOUND when it has none. */
int layer_manifest(const struct layer *l, struct buf *ret, struct error **err);

/*
 * Makes the folders that are missing and sweeps what dead processes left. session and dir are
 * borrowed / copied. A backend that we may not write to (another user's, a read-only file system)
 * is opened for reading: what is found is then not leased, and nothing can be built. Errors:
 * ERR_SYSTEM.
 *
 * Notices of the session: a damaged layer ("layer 1a2b3c… of step 'RUN make' is damaged (…): it must
 * be rebuilt"), once an id; and for whom store_build_begin waits.
 */
int store_open(const struct session *s, const char *dir, struct store **ret, struct error **err);
/* The same for store_prune, store_usage and store_verify only: works on a full disk, too. */
int store_open_to_prune(const struct session *s, const char *dir, struct store **ret,
                        struct error **err);
/* Ends the lease and removes what was not committed. NULL is fine. Drafts must be freed before. */
void store_free(struct store *st);
DEFINE_CLEANUP(struct store, store_free);
const char *store_dir(const struct store *st); /* as given to store_open; borrowed */

/*
 * The newest usable layer of a key: 1, 0 (there is none), -1. Checks the record, the file's size
 * and header, the same for every layer below it (once a store), and that each child was made on its
 * parent's bytes. A damaged layer gives a notice and counts as missing. Notes the use, leases.
 */
int store_find(struct store *st, const char *key, struct layer **ret, struct error **err);
/* Why the last store_find took the key's layer for missing although it is there: what is damaged,
 * in words; NULL: there is no layer. Borrowed until the next store_find. */
const char *store_damage(const struct store *st);
/* The layer of an id, checked and leased as above. ERR_NOT_FOUND: it or one below it is missing or
 * damaged; the message says which and why. */
int store_get(struct store *st, const char *id, struct layer **ret, struct error **err);
/* The id or key that starts with these hex letters (at least 4) as an id. ERR_NOT_FOUND; ERR_USER
 * when several do. */
int store_resolve(struct store *st, const char *prefix, char id[DIGEST_HEX + 1],
                  struct error **err);
/* Adds the paths of the layer's disk files from the base to the top to *files; checks and leases as
 * store_get. */
int store_chain(struct store *st, const char *id, struct strv *files, struct error **err);
/* Adds the ids from the base to the top. As store_chain. */
int store_chain_ids(struct store *st, const char *id, struct strv *ids, struct error **err);

/* .layers/.cwd of the backend, absolute; NULL if it is not there (a backend that we only read). */
const char *store_cwd(const struct store *st);
/* Folder for files of the caller's own that vanish with the store, however the process ends. */
const char *store_scratch(const struct store *st);

struct draft_request {
    const char *key;    /* 64 hex letters */
    const char *parent; /* id of a layer this store has given out, or of a draft that will be
                           committed before this one; NULL = none */
    const char *step;   /* for the people who wait: "RUN make" */
    bool rebuild;       /* build although the key may have a layer (--no-cache) */
};
/*
 * Takes the key's lock, waiting while another process builds it (with a notice that says what and
 * who; ERR_CANCELLED when the session is interrupted; ERR_USER when the chain is as long as it may
 * be). Then 1 with *layer if the key has a layer by now and rebuild is not set, or 0 with *ret, a
 * draft.
 */
int store_build_begin(struct store *st, const struct draft_request *r, struct layer **layer,
                      struct draft **ret, struct error **err);
/* Borrowed from the draft. */
const char *draft_id(const struct draft *d);     /* the id the layer will have */
const char *draft_folder(const struct draft *d); /* in .working; other files in it are dropped */
const char *draft_disk(const struct draft *d);   /* where the caller makes the overlay */
const char *draft_log(const struct draft *d);    /* where the caller writes the step's output */
/* What the overlay's header must name as its backing file: right once it is committed, and not
 * before (so `qemu-img create` needs -u), or NULL if it must name none. QEMU may have the overlay
 * open while it is committed, if it was given the chain explicitly and the protocol node has
 * "auto-read-only" (qcow2_nodes sets it): then blockdev-snapshot makes QEMU's descriptor
 * read-only and it has no reason to open the file by its old name again. The old name leads to the
 * file until store_free all the same. */
const char *draft_backing(const struct draft *d);
/* Keeps the manifest with the layer. */
int draft_manifest(struct draft *d, const void *text, size_t n, struct error **err);
/*
 * Makes the draft a layer: disk file synced, digested, made read-only, checked (qcow2, header names
 * draft_backing), record written, everything synced, and then one rename of the whole folder, so
 * that a layer is there whole or not at all. `fields` (may be NULL) are added to the record: the
 * callers' are "seconds" (number), "inputs" (array of key_finish), "step" (else the request's), and
 * whatever else it likes; the store's own can't be replaced. The parent must be committed. The
 * draft is spent, whatever the result; draft_free remains to be called. ENOSPC is ERR_SYSTEM with
 * errnum.
 */
int store_commit(struct draft *d, const json_t *fields, struct layer **ret, struct error **err);
void draft_free(struct draft *d); /* abandons unless spent; ends the key's lock; NULL is fine */
DEFINE_CLEANUP(struct draft, draft_free);

/*
 * A standalone qcow2 as the lowest layer, its id SHA-256 of "kiln-base-1:" and digest. `digest` is
 * the SHA-256 of the file's bytes (hex); it is trusted here and checked by store_verify. `name` is
 * what FROM said; it is for people and not part of the id. Hard link, else reflink, else copy; the
 * file itself is left as it is but made read-only when linked. Finds it if it was imported before.
 * ERR_USER: not a qcow2, or it has a backing file.
 */
int store_import_base(struct store *st, const char *path, const char *digest, const char *name,
                      struct layer **ret, struct error **err);
void store_base_id(const char *digest, char id[DIGEST_HEX + 1]);

/*
 * A layer that another store made, with its id. `record` is the one of that store; it is checked as a
 * stranger's. The layers come from the base up: its parent must be here, with the bytes it was made
 * on. 1 with *layer: it is here already; 0 with *ret, a draft, to whose draft_disk the file's bytes
 * are to be written; then store_import_commit takes it only if it is exactly the one of the record.
 * `digest` is the file's SHA-256 (hex) if the caller computed it as the file was written, or NULL. A
 * key that has a layer here keeps it. A crash may take away the last ones, whole, until one is built
 * on them or an image is registered (backend_register_thin). ERR_USER: what is wrong.
 */
int store_import_begin(struct store *st, const json_t *record, struct layer **layer,
                       struct draft **ret, struct error **err);
int store_import_commit(struct draft *d, const json_t *record, const char *digest,
                        struct layer **ret, struct error **err);

/*
 * A failed step's overlay, kept for `shell NAME@failed` until the next failed build of that name or
 * a prune. Spends the draft. QEMU must have let go of the overlay or only read it. `fields` as in
 * store_commit.
 */
int store_keep_failed(struct draft *d, const char *name, const json_t *fields, struct error **err);
/* Its chain (the kept overlay is the last; open it read-only) and record; leases both. The record
 * is a new reference, ret_record may be NULL. ERR_NOT_FOUND. */
int store_failed(struct store *st, const char *name, struct strv *files, json_t **ret_record,
                 struct error **err);
/* Drops it, as a build of that name that succeeds does. Absent is fine. */
int store_drop_failed(struct store *st, const char *name, struct error **err);

#endif
