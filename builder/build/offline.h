/* SPDX-License-Identifier: MIT
 *
 * The disk of a VM that does not run, in the builder VM: files go in and out, a login is prepared,
 * without booting it.
 *
 *     // given struct offline_options options; struct runner_wait wait;
 *     CLEANUP(offline_freep) struct offline *off = offline_open(session, &options, &err);
 *     offline_copy_in(off, "site", "/srv/www", false, -1, &err);
 *     offline_finish(off, &err);       // what was written is in the top file, durably
 */
#ifndef BUILDER_BUILD_OFFLINE_H
#define BUILDER_BUILD_OFFLINE_H

#include "base/error.h"
#include "builder/runner/runner.h"

#include <jansson.h>
#include <stdint.h>

struct session;
struct offline;

struct offline_options {
    const char *const *files; /* qcow2 chain from base to top, which is written to */
    size_t n_files;
    uint64_t size;        /* of the disk, bytes */
    const json_t *mounts; /* of the image's metadata; NULL = the agent finds them */
    const char *scratch;  /* folder for a file that is gone afterwards */
    const char *accel;    /* NULL = as for any builder VM */
};

/* All are borrowed. NULL: the errors of a runner's start and runner_mount. */
struct offline *offline_open(const struct session *s, const struct offline_options *o,
                             struct error **err);
/* Without offline_finish the top file is not to be used any more. NULL is fine. */
void offline_free(struct offline *off);
DEFINE_CLEANUP(struct offline, offline_free);

/* The disk's last partition takes the room behind it, and so does what lies on it: ext2 to ext4, xfs, btrfs,
 * root's logical volume. Before anything else. ERR_USER: it can't grow; offline_finish is not to be
 * called then. */
int offline_grow(struct offline *off, struct error **err);

/* Whoever gets in, and what the guest is called. */
struct offline_login {
    const char *user;       /* made if the guest has none of that name; NULL = no login */
    const char *public_key; /* a line for authorized_keys */
    const char *hostname;   /* NULL = as it is */
};
/* ERR_USER: such a name cannot be; ERR_GUEST with what the guest's programs said. */
int offline_inject(struct offline *off, const struct offline_login *login, struct error **err);

/* Copies a file or folder of the host as root's: into `to` (absolute) if that is a folder, else it
 * gets that name; missing parents are made. Modes and times stay; a link in a folder stays a link,
 * and with `link` also one that is `from`. timeout_ms: -1 = none. ERR_USER, ERR_SYSTEM: the host's side, ERR_GUEST. */
int offline_copy_in(struct offline *off, const char *from, const char *to, bool link,
                    int timeout_ms, struct error **err);
/* Runs a command line with the guest's /bin/sh as root; *ret_status: its exit status, 128 + n after
 * signal n. */
int offline_shell(struct offline *off, const char *const *argv, struct runner_wait w,
                  int *ret_status, struct error **err);
/* Everything is in the top file, on the disk. The VM has ended. */
int offline_finish(struct offline *off, struct error **err);

#endif
