/* SPDX-License-Identifier: MIT
 *
 * Unpacks a stream (stream.h) from the stream disk into a tree.
 */
#ifndef BUILDER_AGENT_RECEIVE_H
#define BUILDER_AGENT_RECEIVE_H

#include "builder/agent/agent.h"

struct receive {
    int root;         /* the tree */
    uint64_t offset;  /* of the stream */
    const char *path; /* the destination, absolute */
    bool dest_dir;
    bool has_owner;
    uid_t uid;
    gid_t gid;
    const char *chmod;    /* as in struct place; borrowed */
    uint64_t count, size; /* out: entries, bytes of content */
};

int receive(struct agent *a, struct receive *r, struct error **err);

#endif
