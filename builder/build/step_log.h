/* SPDX-License-Identifier: MIT
 *
 * The output of a step as it is kept with its layer: all of it, or, of more than STEP_LOG_MAX
 * bytes, the first and the last half with a line between them that says how much is missing. A RUN
 * that prints without end thus takes no more than that of the host's disk, and none of its memory.
 *
 *     struct step_log log = STEP_LOG_INIT;
 *     step_log_open(&log, path, &err);
 *     step_log_add(&log, bytes, n, &err);            // as often as need be
 *     step_log_close(&log, &err);                    // only now the file is in order
 *     char *tail = step_log_tail(path, 20);
 */
#ifndef BUILDER_BUILD_STEP_LOG_H
#define BUILDER_BUILD_STEP_LOG_H

#include "base/buf.h"
#include "base/error.h"

#include <stdint.h>

#define STEP_LOG_MAX (16 << 20) /* bytes */

struct step_log {
    int fd;         /* -1 = none, or it can't be written any more */
    uint64_t bytes; /* so far */
};
#define STEP_LOG_INIT \
    { \
        .fd = -1 \
    }

/* Creates or empties the file. 0, or -1 with *err, and what is added then goes nowhere. */
int step_log_open(struct step_log *l, const char *path, struct error **err);
/* -1 with *err once, when the file can't be written; the log is closed then. */
int step_log_add(struct step_log *l, const char *bytes, size_t n, struct error **err);
/* Puts the two halves in order; idempotent. -1 with *err: the file can't be written. */
int step_log_close(struct step_log *l, struct error **err);

/* The last `lines` lines of the file, at most 4 KiB, without control characters; owned, "" if there
 * is none. */
char *step_log_tail(const char *path, unsigned lines);

#endif
