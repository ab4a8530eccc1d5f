/* SPDX-License-Identifier: MIT
 *
 * Content digests of files that were hashed before, so that an unchanged build directory is not
 * read again. An entry counts only for a file whose device, inode, size, mtime and ctime are all
 * what they were, and is kept only if the file had not been touched for two seconds when it was
 * read ("racily clean" in git's Documentation/technical/racy-git.txt): timestamps advance in steps
 * of some milliseconds, so a later write could leave the same ones.
 *
 *     // given struct file_id id; struct digest content; int64_t before_ns;
 *     struct index *ix = index_open(path);             // empty if there is none, or none sound
 *     const struct index_entry *e = index_find(ix, &id);
 *     index_add(ix, &id, &content, NULL, before_ns);   // after hashing
 *     index_save(ix, &err);                            // rewrites it, if something was added
 *
 * The file is mapped, not read, and private to this machine: numbers are as the CPU has them. It
 * holds a header, a hash table of slots (1-based entry numbers, 0 = free; linear probing by
 * index_hash) and the entries; a checksum (XXH3) tells damage. Writers replace it whole: of two at
 * once the last wins, and what it lacks is hashed again. Its mtime is that of the last use, which
 * is what pruning goes by.
 */
#ifndef BUILDER_CONTEXT_INDEX_H
#define BUILDER_CONTEXT_INDEX_H

#include "base/digest.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct stat;

/* What a file must still have to be the one that was hashed. */
struct file_id {
    uint64_t dev, ino, size;
    int64_t mtime_ns, ctime_ns; /* since the epoch */
};

struct index_entry {
    struct file_id id;
    struct digest content;
    struct digest xattrs; /* of those that are copied; meaningless without */
    uint32_t has_xattrs;
    uint32_t age; /* rewrites since it was last found */
};

struct index;

struct index *index_open(const char *path); /* never NULL */
void index_free(struct index *ix);
DEFINE_CLEANUP(struct index, index_free);
/* As index_open for bytes in memory, which must outlive it and be 8-byte aligned. For tests. */
struct index *index_of_bytes(const void *bytes, size_t n);

/* Borrowed until index_free; NULL if not known. May be called from several threads at once, but
 * not at the same time as index_add. */
const struct index_entry *index_find(const struct index *ix, const struct file_id *id);
/* before_ns: the time (CLOCK_REALTIME) just before the file was opened to be hashed. Does nothing
 * for a file touched less than two seconds before that. */
void index_add(struct index *ix, const struct file_id *id, const struct digest *content,
               const struct digest *xattrs, int64_t before_ns);
/* Makes the folders it needs. Entries not found by INDEX_AGE_MAX rewrites are dropped. */
enum { INDEX_AGE_MAX = 16 };
int index_save(struct index *ix, struct error **err);

struct file_id file_id_of(const struct stat *st);
bool file_id_eq(const struct file_id *a, const struct file_id *b);

#endif
