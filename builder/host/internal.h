/* SPDX-License-Identifier: MIT
 *
 * A new disk of the host runner: its partition table and its file systems, each made by the host's
 * own programs (sfdisk, mke2fs, with the arguments that the agent gives them) in a sparse file beside
 * the overlay. kiln-ext4 then puts them together.
 *
 *     // given struct message message; const struct runner_partition *parts; size_t n;
 *     CLEANUP(new_disk_clear) struct new_disk d = {.s = session, .size = 1 << 30, .beside = path};
 *     if (new_disk_make(&d, "gpt", parts, n, &message, &err) < 0) ...    // a JOB_BUILD
 */
#ifndef BUILDER_HOST_INTERNAL_H
#define BUILDER_HOST_INTERNAL_H

#include "builder/agent/message.h"
#include "builder/runner/runner.h"

struct session;

struct new_disk {
    const struct session *s;
    uint64_t size;      /* bytes */
    const char *beside; /* names of its files begin with this; borrowed */
    int *fds;           /* of its files */
    struct strv paths;
    size_t n_fds;
};
void new_disk_clear(struct new_disk *d); /* removes the files */

/* Declines (ERR_USER, ERR_NOT_FOUND): other file systems than ext2 to ext4, more than one that is
 * mounted, OPTIONS that could name files of the host, a program that is missing. */
int new_disk_make(struct new_disk *d, const char *table, const struct runner_partition *parts,
                  size_t n, struct message *ret, struct error **err);

#endif
