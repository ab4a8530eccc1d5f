/* SPDX-License-Identifier: MIT
 *
 * What the last build of a name did: the index by which `--explain` finds the earlier inputs of a
 * step whose key is new. `name` is the image's name, or any other string that stays the same
 * between builds of one Imagefile.
 */
#ifndef CACHE_HISTORY_H
#define CACHE_HISTORY_H

#include "base/error.h"

#include <jansson.h>

struct store;

/*
 * steps: an array of {"step": text, "key": hex, "id": hex, "inputs": array of key_finish}, in the
 * order of the Imagefile. Written whole; not at all when it is what is there already.
 */
int history_write(struct store *st, const char *name, const json_t *steps, struct error **err);
/* A new reference to the array of the last build; NULL when there is none or it can't be read. */
json_t *history_read(struct store *st, const char *name);
/*
 * The output of the step that the last build of the name failed at: the content of the file `log`,
 * until the next build. A file that is not there or empty drops what was kept.
 */
int history_keep_failed(struct store *st, const char *name, size_t step, const char *log,
                        struct error **err);
void history_drop_failed(struct store *st, const char *name);
/* A descriptor of it, at its start, and the step's number; -1 with ERR_NOT_FOUND: there is none. */
int history_failed(struct store *st, const char *name, size_t *ret_step, struct error **err);
/*
 * The entry of `last` (may be NULL) that is the earlier self of the step at `index` (from 0) with
 * this text: the same text nearest to that index, else the same index if its text starts with the
 * same word; borrowed, or NULL: this is its first build.
 */
const json_t *history_match(const json_t *last, size_t index, const char *step);
/* Calls fn for every history there is: the path of the image the name has, if there is one, and of
 * the history's file, whose mtime is when it was last written or found unchanged. */
typedef void history_list_fn(void *arg, const char *image, const char *path);
void history_list(struct store *st, history_list_fn *fn, void *arg);

#endif
