/* SPDX-License-Identifier: MIT
 *
 * A chain of qcow2 files as QEMU's programs are to open it.
 *
 *     // given struct qcow2_disk disk;
 *     json_auto_t *nodes = qcow2_nodes(&disk, &err);       // each for a -blockdev or blockdev-add
 */
#ifndef QCOW2_NODES_H
#define QCOW2_NODES_H

#include "base/error.h"
#include "base/vector.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * A qcow2 chain as QEMU is to open it: every file is named, every format explicit, the lowest file
 * has no backing file whatever its header says, and nothing is probed.
 */
struct qcow2_disk {
    const char *node; /* node name of the top, at most 31 bytes; lower ones are <node>-1 … */
    const char *const *files; /* from the base to the top; borrowed during the call */
    size_t n_files;
    bool writable; /* the top file; all below are read-only */
    bool unsafe;   /* the top is thrown away after a crash anyway: the guest's flushes do nothing */
    /* QEMU's working directory (absolute) if it lies beside the folders of layers, else NULL: these
     * are then named "../<id>/disk.qcow2", as the headers name them. See qcow2_nodes. */
    const char *cwd;
    int top_fdset; /* > 0: on top of the files lies an empty overlay in fdset <n> (-add-fd), qcow2
                    */
};

/*
 * The nodes as an array of objects, each for one blockdev-add, from the base to the top, whose name
 * is d->node: new reference. discard=unmap and detect-zeroes=unmap for writable ones. The L2 cache
 * of files with small clusters is sized to cover the whole disk, at most 32 MiB a file, used up
 * only as needed. Errors: ERR_SYSTEM (cannot read a file), ERR_USER (not qcow2, or a name that is
 * not UTF-8: QEMU's JSON cannot say it).
 *
 * A node of its own for each file, and the very name that the header above has: otherwise QEMU
 * makes a name for each node that describes all below it, again for each node that is added
 * (bdrv_refresh_ filename in QEMU's block.c). Processor time of QEMU 7.2 for chains of 33, 65, 129
 * and 199 files: one nested object 30, 150, 950 and 3300 ms; as it is here without cwd 20, 85, 540
 * and 2000; with it 14, 26, 72 and 127.
 */
json_t *qcow2_nodes(const struct qcow2_disk *d, struct error **err);
/* The chain as a JSON blockdev description for `qemu-img` ("json:{…}"): every node explicit,
 * backing null at the base, nothing probed, read-only. Owned. */
char *qcow2_chain_json(const struct strv *chain);

#endif
