/* SPDX-License-Identifier: MIT
 *
 * The bytes of a stream (agent/stream.h) as they come from a socket, and its entries.
 *
 *     // given int fd; struct entry entry;
 *     CLEANUP(tap_clear) struct tap t = {.fd = fd};
 *     tap_entry(&t, &entry, &err);                     // views into the tap, until the next call
 *     tap_align(&t, &err);                             // for contents of entry_is_big
 *     tap_read(&t, bytes, n, &err);
 */
#ifndef BUILDER_EXT4_TAP_H
#define BUILDER_EXT4_TAP_H

#include "base/buf.h"
#include "base/error.h"
#include "builder/agent/entry.h"

struct tap {
    int fd;
    char *bytes; /* what was read and not yet taken: [start, end) */
    size_t start, end;
    uint64_t taken; /* bytes of the stream */
    struct buf entry;
};
void tap_clear(struct tap *t); /* the descriptor stays open */

int tap_read(struct tap *t, void *to, size_t n, struct error **err);
int tap_align(struct tap *t, struct error **err);
int tap_entry(struct tap *t, struct entry *ret, struct error **err);

#endif
