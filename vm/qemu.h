/* SPDX-License-Identifier: MIT
 *
 * QEMU as a program: which one, which version, and the parts of its command line that need care.
 *
 *     // given struct vm_disk disk;
 *     CLEANUP(qemu_clear) struct qemu qemu = QEMU_INIT;
 *     qemu_find(session, NULL, &qemu, &err);
 *     CLEANUP(strv_clear) struct strv args = {0};
 *     vm_disk_blockdev(&args, &disk, &err);
 *     strv_add(&args, "-device"); strv_add(&args, "virtio-blk-pci,drive=disk");
 */
#ifndef VM_QEMU_H
#define VM_QEMU_H

#include "base/error.h"
#include "base/vector.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct session;

struct qemu {
    char *path;    /* absolute, or as given if that holds a slash */
    char *version; /* "7.2.22" */
    char *build;   /* the whole first line of --version, which names the package too */
    unsigned major, minor;
};
#define QEMU_INIT \
    { \
        NULL, NULL, NULL, 0, 0 \
    }
enum { QEMU_MAJOR_MIN = 6, QEMU_MINOR_MIN = 2 };

/*
 * Finds QEMU: `wish` (--qemu-bin-name), else KILN_QEMU, else qemu-system-x86_64; asks its version.
 * The answer is remembered in the session's cache by path, size and time of the file, as starting
 * the program takes 30 ms. Errors: ERR_NOT_FOUND with what to install; ERR_SYSTEM; ERR_USER when it
 * is older than 6.2.
 */
int qemu_find(const struct session *s, const char *wish, struct qemu *ret, struct error **err);
void qemu_clear(struct qemu *q);

/*
 * A qcow2 chain as QEMU is to open it: every file is named, every format explicit, the lowest file
 * has no backing file whatever its header says, and nothing is probed.
 */
struct vm_disk {
    const char *node; /* node name of the top, at most 31 bytes; lower ones are <node>-1 … */
    const char *const *files; /* from the base to the top; borrowed during the call */
    size_t n_files;
    bool writable; /* the top file; all below are read-only */
    bool unsafe;   /* the top is thrown away after a crash anyway: the guest's flushes do nothing */
    /* QEMU's working directory (absolute) if it lies beside the folders of layers, else NULL: these
     * are then named "../<id>/disk.qcow2", as the headers name them. See vm_disk_nodes. */
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
 * makes a name for each node that describes all below it, anew for each node that is added
 * (bdrv_refresh_ filename in QEMU's block.c). Processor time of QEMU 7.2 for chains of 33, 65, 129
 * and 199 files: one nested object 30, 150, 950 and 3300 ms; as it is here without cwd 20, 85, 540
 * and 2000; with it 14, 26, 72 and 127.
 */
json_t *vm_disk_nodes(const struct vm_disk *d, struct error **err);
/* The same as "-blockdev <json>" arguments on a command line. */
int vm_disk_blockdev(struct strv *args, const struct vm_disk *d, struct error **err);
/* Virtual size in bytes from the qcow2 header of `file`. */
int vm_disk_size(const char *file, uint64_t *ret, struct error **err);

/* Text as a value in QEMU's key=value options: commas doubled. Owned. */
char *qemu_escape(const char *text);

#endif
