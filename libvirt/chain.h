/* SPDX-License-Identifier: MIT
 *
 * The files that the disk of a domain consists of, in whatever folders they lie: the one of the
 * domain and those below it, found by their headers (qcow2/qcow2.h). Nothing is opened by a QEMU tool.
 *
 *     // given struct virsh *virsh; struct domain_disk *disk; const char *folder;
 *     CLEANUP(chain_clear) struct chain chain = {0};
 *     chain_open(virsh, disk, folder, &chain, &err);
 *
 * As long as a chain is open no QEMU can write to its files: its locks (QEMU's block/file-posix.c,
 * "RAW_LOCK_PERM_BASE") are taken as a reader takes them.
 */
#ifndef LIBVIRT_CHAIN_H
#define LIBVIRT_CHAIN_H

#include "libvirt/domain.h"
#include "libvirt/virsh.h"

struct chain_file {
    char *path;     /* as the domain or the header above has it, absolute */
    char *local;    /* where it can be read: itself, or a copy in the folder */
    char *format;   /* as the domain or the header above says; NULL = neither does */
    char *backing;  /* as its header says; NULL = none */
    char *metadata; /* of kiln, in its header; NULL = none */
    int fd;         /* holds the lock; -1 = a copy */
};
DEFINE_VECTOR(chain_files, struct chain_file);

struct chain {
    struct chain_files files; /* from the top to the base */
};
/*
 * A file that we may not read, or that is on the hypervisor's machine, is copied into `folder` by libvirt, if it
 * is in a storage pool. ERR_USER: not of files, a backing "file" that is none, more than 256 files;
 * ERR_BUSY: a VM writes to one; ERR_NOT_FOUND, ERR_SYSTEM.
 */
int chain_open(const struct virsh *v, const struct domain_disk *d, const char *folder,
               struct chain *ret, struct error **err);
void chain_clear(struct chain *c);

#endif
