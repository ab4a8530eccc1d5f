/* SPDX-License-Identifier: MIT
 *
 * A command or a shell in an image, in a builder VM of its own; what it changes is thrown away.
 */
#ifndef BUILDER_BUILD_SHELL_H
#define BUILDER_BUILD_SHELL_H

#include "builder/build/build.h"

struct shell_options {
    const char *ref;          /* NAME, NAME@STEP, NAME@failed, or an image spec */
    const char *const *argv;  /* NULL-terminated; not used with `terminal` */
    const char *user;         /* NULL = the image's USER */
    unsigned memory_mb, cpus; /* 0 = chosen */
    const char *accel;
    enum pull_policy pull;
    struct transfer_options transfer;
    bool terminal; /* /bin/sh on the caller's terminal; else stdin is empty */
};

/* *ret_status: a wait status. */
int shell_run(const struct session *s, const struct shell_options *o, int *ret_status,
              struct error **err);

/* What is on an image's disk, as JSON: partitions, file systems, operating system. New reference.
 */
json_t *shell_inspect(const struct session *s, const char *ref, const char *accel,
                      struct error **err);
/* What libguestfs's inspection knows of it: "inspect" of builder/guestfs/job.h. New reference.
 * ERR_NOT_FOUND: libguestfs is not installed. */
json_t *shell_inspect_deep(const struct session *s, const char *ref, const char *accel,
                           struct error **err);

#endif
