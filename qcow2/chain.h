/* SPDX-License-Identifier: MIT
 *
 * A chain of qcow2 files as one disk that can be read and written without QEMU: what is written
 * goes to the top file. For files that kiln or QEMU made for it; what they say is checked all the
 * same, so that no file makes this module leave its bounds.
 *
 *     // given const int *fds; size_t n;            // from the base to the top, which is writable
 *     CLEANUP(qcow2_chain_freep) struct qcow2_chain *c = qcow2_chain_open(fds, n, &err);
 *     qcow2_chain_write(c, "bytes", 5, 4096, &err);
 *     qcow2_chain_finish(c, &err);                  // tables and counts: the file is complete now
 *
 * Not for: compressed clusters, extended L2 entries, encryption, external data files (ERR_USER says
 * which). Until qcow2_chain_finish the top file is not valid. Memory: 8 bytes for each cluster near
 * what was touched.
 *
 * Spec: QEMU docs/interop/qcow2.rst, "L1/L2 tables and clusters", "Host cluster management".
 */
#ifndef QCOW2_CHAIN_H
#define QCOW2_CHAIN_H

#include "base/cleanup.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct qcow2_chain;

/* The descriptors are borrowed until it is freed. Backing names in headers mean nothing: below the
 * first file there are zeros. Errors: ERR_USER, ERR_SYSTEM. */
struct qcow2_chain *qcow2_chain_open(const int *fds, size_t n, struct error **err);
void qcow2_chain_free(struct qcow2_chain *c); /* NULL is fine */
DEFINE_CLEANUP(struct qcow2_chain, qcow2_chain_free);

uint64_t qcow2_chain_size(const struct qcow2_chain *c); /* of the disk, bytes */
/* n bytes of the disk from `at` on. Beyond its end: ERR_USER. */
int qcow2_chain_read(struct qcow2_chain *c, void *bytes, size_t n, uint64_t at, struct error **err);
/* Clusters that become zero take no room. */
int qcow2_chain_write(struct qcow2_chain *c, const void *bytes, size_t n, uint64_t at,
                      struct error **err);
/* Not synced to disk. */
int qcow2_chain_finish(struct qcow2_chain *c, struct error **err);

#endif
