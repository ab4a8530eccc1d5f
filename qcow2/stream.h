/* SPDX-License-Identifier: MIT
 *
 * A raw disk that comes as a stream, written as a qcow2 (version 3, 64 KiB clusters) as it comes:
 * clusters that are zero take no space, nothing is written twice, memory does not grow with the
 * disk.
 *
 *     struct qcow2_stream *q = qcow2_stream_new(fd);         // an empty file
 *     while (qcow2_stream_add(q, bytes, n, &err) == 0) ...   // in order
 *     qcow2_stream_finish(q, &err);                          // frees q; the file is complete
 */
#ifndef QCOW2_STREAM_H
#define QCOW2_STREAM_H

#include "base/cleanup.h"
#include "base/error.h"

#include <stdint.h>

struct qcow2_stream;

struct qcow2_stream *qcow2_stream_new(int fd); /* fd is borrowed until it is freed */
/* n more bytes of the disk; bytes NULL: n zeros. Errors: ERR_SYSTEM (errnum set), ERR_USER (beyond
 * QCOW2_SIZE_MAX). */
int qcow2_stream_add(struct qcow2_stream *q, const void *bytes, uint64_t n, struct error **err);
uint64_t qcow2_stream_written(const struct qcow2_stream *q); /* bytes of the file so far */
/* Writes tables and header; the disk's size is what was added, rounded up to 512. Frees q. */
int qcow2_stream_finish(struct qcow2_stream *q, struct error **err);
void qcow2_stream_free(struct qcow2_stream *q); /* abandons; NULL is fine */
DEFINE_CLEANUP(struct qcow2_stream, qcow2_stream_free);

#endif
