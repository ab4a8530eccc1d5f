/* SPDX-License-Identifier: MIT
 *
 * What differs between two manifests (builder/agent/manifest.h), entry by entry or in words.
 */
#ifndef BUILDER_CONTEXT_MANIFEST_H
#define BUILDER_CONTEXT_MANIFEST_H

#include "base/vector.h"
#include "builder/agent/manifest.h"

/* Walks two manifests of a single source each, folders before what is in them. At each path fn gets the
 * entries that differ, NULL where one manifest has none, and `place`: how many entries of `newer` come
 * before. False: one of them is damaged. */
typedef void manifest_change_fn(void *arg, const struct manifest_entry *was,
                                const struct manifest_entry *is, size_t place);
bool manifest_changes(struct str older, struct str newer, manifest_change_fn *fn, void *arg);

/*
 * What changed, one phrase each, at most `max` and then "and N more": "conf/app.ini changed",
 * "added x", "removed y", "mode of z changed (0644 to 0755)", "link a changed". Control characters
 * in paths are shown as \ooo. A damaged manifest gives one phrase that says so.
 */
void manifest_diff(struct str older, struct str newer, size_t max, struct strv *ret);

#endif
