/* SPDX-License-Identifier: MIT
 *
 * One entry of a stream (stream.h), decoded and checked. Pure. Everything a stream says is foreign:
 * what this module lets through holds to the rules of stream.h.
 */
#ifndef BUILDER_AGENT_ENTRY_H
#define BUILDER_AGENT_ENTRY_H

#include "base/buf.h"
#include "base/error.h"
#include "builder/agent/stream.h"

struct entry {
    struct stream_entry head; /* in the machine's byte order */
    struct str path, link;    /* views into the bytes */
    struct str xattrs;
    const char *extents; /* head.n_extents pairs, unaligned; use entry_extent */
    uint64_t data;       /* bytes of content in the stream, without what aligns them */
};

/* How many bytes the entry takes before its content; needs the sizeof(struct stream_entry) bytes of
 * its head. 0 and an error when the head is damaged. */
size_t entry_size(const void *head, struct error **err);
/* Decodes an entry from the entry_size bytes it takes. */
int entry_decode(const void *bytes, size_t n, struct entry *ret, struct error **err);
/* The i-th extent. */
void entry_extent(const struct entry *e, uint32_t i, uint64_t *ret_offset, uint64_t *ret_length);
/* The next xattr; *at starts at 0. The name is a view without NUL. False at the end. */
bool entry_xattr(const struct entry *e, size_t *at, struct str *ret_name, struct str *ret_value);
/* Whether the content is aligned in the stream. */
bool entry_is_big(const struct entry *e);

/* A path of an entry: relative, no empty, "." or ".." part, no NUL. "" is fine. */
bool entry_path_ok(struct str path);

#endif
