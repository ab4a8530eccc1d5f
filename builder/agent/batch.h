/* SPDX-License-Identifier: MIT
 *
 * Files are finished by a second thread: the caller makes them (in order, so nothing depends on
 * when the rest happens), hands over the open file with its content and attributes, and goes on.
 * What is handed over is run in that order. Waking the other processor costs as much as a
 * small file, so those are handed over by the batch; of large ones each piece, since writing it
 * directly is mostly waiting.
 */
#ifndef BUILDER_AGENT_BATCH_H
#define BUILDER_AGENT_BATCH_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct batch;
struct feed;

struct batch_file {
    int fd;            /* taken: closed when it is done */
    const char *path;  /* for messages; copied */
    const void *bytes; /* its whole content, or what follows the pieces; copied */
    size_t n;
    uint64_t at; /* their place in the file; not 0 = after pieces */
    uid_t uid;
    gid_t gid;
    mode_t mode;
    struct timespec mtime;
};

/* Aligned bytes of an open file that are written with O_DIRECT from where they were read. */
struct batch_piece {
    int fd;           /* borrowed until its struct batch_file follows */
    const char *path; /* for messages; copied */
    const void *bytes;
    size_t n;
    uint64_t at;
    struct feed *feed;
    uint64_t chunk; /* held; released when it is written */
};

/* size: how many are handed over at once. */
struct batch *batch_new(size_t size);
void batch_free(struct batch *b); /* waits for what was handed over; NULL is fine */
DEFINE_CLEANUP(struct batch, batch_free);

/* -1 and an error when an earlier file failed; what is added is taken all the same. */
int batch_add(struct batch *b, const struct batch_file *f, struct error **err);
int batch_add_piece(struct batch *b, const struct batch_piece *p, struct error **err);
/* Waits until all files are done; ret_no_owner: a file system refused owners or modes. */
int batch_finish(struct batch *b, bool *ret_no_owner, struct error **err);

#endif
