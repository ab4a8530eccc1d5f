/* SPDX-License-Identifier: MIT
 *
 * What a build did, step by step, beside what the last build of the name did: so that the next build
 * can say what changed, `kiln shell NAME@STEP` finds every state, and the image's metadata has its
 * history.
 *
 *     // given struct store *store; const char *key, *id; json_t *inputs;
 *     CLEANUP(record_clear) struct record r = RECORD_INIT;
 *     record_open(&r, store, "web");
 *     record_step(&r, 3, "RUN make", key, id, inputs);
 *     record_keep(&r, session, store, "web", 3);
 */
#ifndef BUILDER_BUILD_RECORD_H
#define BUILDER_BUILD_RECORD_H

#include "cache/store.h"

#include <jansson.h>
#include <stddef.h>

struct session;

struct record {
    json_t *steps; /* that have a layer, as cache/history.h has them */
    json_t *last;  /* the same of the last build of the name; NULL = none */
    json_t *shown; /* for the image's metadata: [{"n", "step", "layer"}, …], every step */
};
#define RECORD_INIT \
    { \
        NULL, NULL, NULL \
    }
void record_clear(struct record *r);

void record_open(struct record *r, struct store *st, const char *name);
/* Step n (as shown to users, from 1) has this layer. inputs: of key_finish; borrowed. */
void record_step(struct record *r, size_t n, const char *text, const char *key, const char *id,
                 json_t *inputs);
/* Step n is done and leaves the disk with this layer on top. */
void record_shown(struct record *r, size_t n, const char *text, const char *id);
/* The step of the last build that the next one of this build corresponds to; borrowed, NULL = none. */
const json_t *record_match(const struct record *r, const char *text);
/* The number of the step because of which the parent is not the last build's: the first of the
 * stage that has another layer now, or its FROM, whose number is `from`. */
size_t record_changed_step(const struct record *r, size_t from);
/* The number of the last step that has a layer; 0 = none. */
size_t record_last(const struct record *r);
/* Writes it as the name's last build, also after a failure; of the steps behind number n, which it did
 * not come to, what was known stays. A failure to write is logged only. */
void record_keep(struct record *r, const struct session *s, struct store *st, const char *name,
                 size_t n);

#endif
