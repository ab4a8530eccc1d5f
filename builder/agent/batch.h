/* SPDX-License-Identifier: MIT
 *
 * Small files are finished by a second thread: the caller makes them (in order, so nothing depends
 * on when the rest happens), hands over the open file with its content and attributes, and goes on.
 * Work is handed over by the batch, as waking the other processor costs as much as a file.
 */
#ifndef BUILDER_AGENT_BATCH_H
#define BUILDER_AGENT_BATCH_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

struct batch;

struct batch_file {
    int fd;            /* taken: closed when it is done */
    const char *path;  /* for messages; copied */
    const void *bytes; /* its whole content; copied */
    size_t n;
    uid_t uid;
    gid_t gid;
    mode_t mode;
    struct timespec mtime;
};

struct batch *batch_new(void);
void batch_free(struct batch *b); /* waits for what was handed over; NULL is fine */
DEFINE_CLEANUP(struct batch, batch_free);

/* -1 and an error when an earlier file failed. */
int batch_add(struct batch *b, const struct batch_file *f, struct error **err);
/* Waits until all files are done; ret_no_owner: a file system refused owners or modes. */
int batch_finish(struct batch *b, bool *ret_no_owner, struct error **err);

#endif
