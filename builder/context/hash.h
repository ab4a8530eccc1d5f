/* SPDX-License-Identifier: MIT
 *
 * SHA-256 of files' content, several files at a time; used by context.c.
 */
#ifndef BUILDER_CONTEXT_HASH_H
#define BUILDER_CONTEXT_HASH_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct index;
struct node;
struct session;
struct tree;

/*
 * Reads `files` (of type MANIFEST_FILE), fills in their content and xattrs, and their id by what
 * was read, and tells the index. A file that changes while it is read is read again; one that
 * keeps changing, or is not a file any more, is an error (ERR_USER). It takes long, so the
 * session is told of its progress ("hashing", bytes).
 */
int hash_files(const struct session *s, struct tree *t, struct index *index,
               struct node *const *files, size_t n_files, struct error **err);

struct sha256;
/* Adds n zero bytes: what a hole stands for. A hole may be of terabytes: false once the session is
 * cancelled. */
bool hash_zeros(const struct session *s, struct sha256 *h, uint64_t n);

#endif
