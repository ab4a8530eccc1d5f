/* SPDX-License-Identifier: MIT
 *
 * A store of machines as they were at one moment: the memory, the state of the devices and further
 * files, below <cache>/<folder>/<key>/. The builder VM's template and saved boots (vm/warm.h) are
 * kept in two of them.
 *
 *   ram         the guest's memory, sparse; mapped copy-on-write when it is used
 *   state       QEMU's migration stream of the devices
 *   <record>    what all of them have to be; without it there is nothing
 *
 *     #include "base/session.h"
 *     // given struct session *session; const char *text;
 *     static const char *const files[] = {"disk.qcow2", NULL};
 *     static const struct saved_kind kind = {.folder = "warm", .record = "warm.json", .keep = 4};
 *     CLEANUP(saved_clear) struct saved t = SAVED_INIT;
 *     if (saved_open(session, &kind, files, text, &t, &err) < 0) ...
 *     if (!t.ready) {                  // ours to make: others wait for us meanwhile
 *         ...                          // write t.ram, t.state, files in t.dir
 *         saved_commit(session, &t, &err);    // now ready
 *     }
 *     ...                              // start QEMU on t.ram and t.state
 *     saved_clear(&t);                 // as soon as QEMU has them open
 *
 * All is for its owner alone: folders 0700, files 0600.
 */
#ifndef VM_SAVED_H
#define VM_SAVED_H

#include "base/error.h"
#include "base/vector.h"
#include "base/working.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct session;

struct saved_kind {
    const char *folder;  /* of the session's cache */
    const char *record;  /* file name */
    unsigned keep;       /* how many there may be; the last used ones stay */
    uint64_t max_bytes;  /* what all of them may take on the disk; 0 = any */
    const char *waiting; /* notice while another process makes the wanted one; NULL = none */
};

struct saved {
    bool ready;
    bool damaged;            /* there was one, and it was not what its record says */
    char *dir, *ram, *state; /* paths: in a working folder until the commit */
    json_t *note;            /* an object that is kept with it, to be filled before the commit */
    /* the rest is private */
    const struct saved_kind *kind;
    struct strv files; /* names beside ram and state */
    char *key_text, *store, *place;
    struct working work;
    int lock;
};
#define SAVED_INIT \
    { \
        .work = WORKING_INIT, .lock = -1 \
    }

/*
 * key_text: all that it depends on, in lines; its digest names it. files: NULL-terminated names. With
 * a good one s->ready is true and a shared lock on it is held until the clear; otherwise an exclusive
 * one, and the paths name files that do not exist yet. All data is compared with the record's digests
 * unless that was done since the host booted and the files have not been written to since. Errors:
 * ERR_SYSTEM, ERR_CANCELLED while waiting.
 */
int saved_open(const struct session *s, const struct saved_kind *kind, const char *const *files,
               const char *key_text, struct saved *ret, struct error **err);
/* Records what was written and puts it in place; removes the least recently used ones that are too
 * many. */
int saved_commit(const struct session *s, struct saved *t, struct error **err);
/* Compares all data again: true if the one of that key is not what its record says; then the next
 * opening makes it again. For when a VM that was restored from it has died. */
bool saved_damaged(const struct session *s, const struct saved_kind *kind, const char *const *files,
                   const char *key_text);
/* Marks a ready one as no good (it did not restore): the next opening makes it again. */
void saved_reject(struct saved *t);
void saved_clear(struct saved *t);
uint64_t saved_bytes(const struct saved *t); /* what a ready one takes on the disk */

/* Which to remove: note is that of the record, NULL if there is no good one; age in seconds since the
 * last use. */
typedef bool saved_choose_fn(void *arg, const json_t *note, int64_t age);
struct saved_sum {
    size_t n;
    uint64_t bytes; /* on the disk */
};
/* Those that choose picks (NULL: all) and that nobody uses; with dry_run they stay. */
struct saved_sum saved_remove(const struct session *s, const struct saved_kind *kind,
                              saved_choose_fn *choose, void *arg, bool dry_run);
struct saved_sum saved_usage(const struct session *s, const struct saved_kind *kind);

#endif
