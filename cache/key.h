/* SPDX-License-Identifier: MIT
 *
 * Layer keys: SHA-256 over a canonical text, and the reason why two keys differ.
 *
 *     // given const char *parent_id, *value; char hex[DIGEST_HEX + 1]; json_t *inputs;
 *     struct key *k = key_begin(parent_id);               // NULL: FROM scratch
 *     key_field(k, "step", text, strlen(text));
 *     key_field(k, "ARG VERSION", value, strlen(value));  // names are shown to people: see below
 *     key_field(k, "files", hex, 64);                     // digest of a manifest
 *     key_finish(k, hex, &inputs);                        // frees k; inputs go into the record
 *
 * The canonical text is a sequence of netstrings, "<length in decimal>:<bytes>,": first
 * "kiln-key-1" (KEY_VERSION), then the parent's id ("" = none), then name and value of each field
 * in the order given. Lengths come first, so no two lists of fields have the same text. The order
 * counts: the caller sorts what has no order of its own.
 *
 * Never give a secret to key_field: inputs are kept with the layer in plain text.
 */
#ifndef CACHE_KEY_H
#define CACHE_KEY_H

#include "base/buf.h"
#include "base/digest.h"

#include <jansson.h>

#define KEY_VERSION "kiln-key-1"
/* Longer values are kept in the inputs as their digest only. Bytes. */
#define KEY_INPUT_MAX 65536

struct key;

struct key *key_begin(const char *parent_id);
void key_field(struct key *k, const char *name, const void *bytes, size_t n);
/*
 * Frees k. hex gets the key. ret_inputs (may be NULL) gets a new array: {"name": "parent", "value":
 * parent id or ""}, then for each field {"name", "value"}; a value that is not UTF-8 or longer than
 * KEY_INPUT_MAX is {"name", "sha256": hex, "size": bytes} instead.
 */
void key_finish(struct key *k, char hex[DIGEST_HEX + 1], json_t **ret_inputs);
void key_free(struct key *k); /* abandons; NULL is fine */
DEFINE_CLEANUP(struct key, key_free);

/*
 * Why a step with inputs `new` was not found although it was built with inputs `old` (arrays as of
 * key_finish; old NULL: "first build"). One line without newline, owned, at most about 400 bytes:
 * "conf/app.ini changed", "ARG VERSION 1.2 → 1.3", "parent changed (step 3)", "ENV LANG added",
 * joined with ", "; NULL when nothing differs. A field's name is the word shown. The field "files"
 * is explained by `files`, the caller's phrase for what differs (NULL: "files changed"), "step" by
 * "the instruction changed", the parent by "parent changed" and, unless it is 0, parent_step, the
 * number of the step that made it another one. When the parent is not the only difference it is
 * named last.
 */
char *key_explain(const json_t *old, const json_t *new, const char *files, size_t parent_step);

#endif
