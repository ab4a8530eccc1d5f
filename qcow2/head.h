/* SPDX-License-Identifier: MIT
 *
 * The few fields of a qcow2 header that are needed of a file of our own, read in microseconds. A
 * stranger's file is judged by qcow2.h instead.
 *
 * Spec: QEMU docs/interop/qcow2.rst, section "Header".
 */
#ifndef QCOW2_HEAD_H
#define QCOW2_HEAD_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qcow2_head {
    uint64_t virtual_size; /* of the disk, bytes */
    unsigned cluster_bits; /* 9..21 */
    bool extended_l2;      /* entries of the L2 tables have 16 bytes, not 8 */
    char backing[1024];    /* name of the backing file; "" = none */
};

/* From the first n bytes of a file, which must hold the backing file's name. ERR_USER: not a qcow2 of
 * version 2 or 3, or one that is encrypted, has an external data file or says that it is corrupt.
 * Takes any bytes. */
int qcow2_head_parse(const unsigned char *bytes, size_t n, struct qcow2_head *ret,
                     struct error **err);
/* Of a file; the error names it. */
int qcow2_head_read(const char *path, struct qcow2_head *ret, struct error **err);
/* Virtual size in bytes. */
int qcow2_size(const char *path, uint64_t *ret, struct error **err);
/* Whether the first n bytes claim to be those of a qcow2 with a backing file; n: 16 or more. */
bool qcow2_claims_backing(const unsigned char *bytes, size_t n);

#endif
