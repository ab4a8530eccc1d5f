/* SPDX-License-Identifier: MIT
 *
 * Disk image formats of strangers, told by content, and whether a file is safe to be given to
 * qemu-img with its format named.
 *
 * vmdk: "VMware Virtual Disk Format 1.1" (sparse extent header, embedded descriptor) and what
 * QEMU's block/vmdk.c makes of it. vdi: header of VirtualBox' VDICore.h, type 1 and 2. vhdx:
 * MS-VHDX.
 */
#ifndef IMAGE_FORMAT_H
#define IMAGE_FORMAT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum format { FORMAT_UNKNOWN, FORMAT_QCOW2, FORMAT_RAW, FORMAT_VMDK, FORMAT_VHDX, FORMAT_VDI };

/* The first 68 KiB of a file (or all of it) are enough to tell. Raw: a partition table or a boot sector is
 * there, or the whole is a file system, swap, or a part of LVM, RAID or LUKS. */
#define FORMAT_HEAD (68 * 1024)
enum format format_of(const void *head, size_t n);
const char *format_name(enum format f); /* as qemu-img calls it; "unknown" */
/* The other way round; FORMAT_UNKNOWN = none has this name. */
enum format format_by_name(const char *name);
/* What the end of a file's name says (".raw" and ".img" are raw), upper case or lower; FORMAT_QCOW2 where it
 * says nothing, FORMAT_UNKNOWN for what kiln does not write, such as ".vhd" and ".tar.gz". */
enum format format_by_ending(const char *path);
/* Refuses what kiln never takes, with the reason: texts, archives, other formats (ERR_USER). To be
 * called when format_of gave FORMAT_UNKNOWN; always returns -1. */
int format_refuse(const void *head, size_t n, struct error **err);

/*
 * Judges a vmdk, vhdx or vdi file by its own bytes (ERR_USER): vmdk must be a single self-contained
 * sparse extent (monolithicSparse, streamOptimized; no parent, no other files); vdi dynamic or
 * static without parent; vhdx must have its signature (QEMU refuses those with a parent). The disk
 * must not be larger than QCOW2_SIZE_MAX where the header tells.
 */
int format_check(enum format f, int fd, struct error **err);

#endif
