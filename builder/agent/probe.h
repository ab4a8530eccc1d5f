/* SPDX-License-Identifier: MIT
 *
 * What lies on a disk, told from its first bytes. Pure: bytes in, facts out; foreign bytes are
 * trusted in nothing. Layouts: UEFI specification 2.10 chapter 5 (GPT, MBR); the kernel's
 * fs/ext4/ext4.h, fs/xfs/libxfs/xfs_format.h, include/uapi/linux/btrfs_tree.h and swap.h;
 * Microsoft's FAT specification; lvm2's lib/format_text/layout.h.
 */
#ifndef BUILDER_AGENT_PROBE_H
#define BUILDER_AGENT_PROBE_H

#include "base/vector.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Type GUIDs, as the texts in struct table_entry. */
#define GUID_ROOT_X86_64 "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
#define GUID_ESP "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
#define GUID_BIOS_BOOT "21686148-6449-6e6f-744e-656564454649"
#define GUID_SWAP "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"
#define GUID_LINUX "0fc63daf-8483-4772-8e79-3d69d8477de4"

/* Bytes of a device that probe_fs wants to see: btrfs keeps its super block at 64 KiB. */
#define PROBE_FS_BYTES (68 * 1024)
/* Bytes of a disk that probe_table wants to see. */
#define PROBE_TABLE_BYTES (6 * 4096)

struct probed {
    const char *type; /* "ext4", "xfs", "btrfs", "vfat", "swap", "LVM2_member", "crypto_LUKS"…;
                       * NULL: nothing known */
    char uuid[40];    /* as blkid prints it; "" = none */
    char label[260];  /* without blanks at its end; "" = none */
};

/* True when something was recognised. */
bool probe_fs(const unsigned char *bytes, size_t n, struct probed *ret);

struct table_entry {
    int number;           /* 1-based */
    uint64_t start, size; /* in sectors of 512 bytes */
    char type[40];        /* GUID in lower case, or "0x83" */
    char uuid[40];        /* PARTUUID */
    char name[112];       /* GPT: in UTF-8 */
    bool active;          /* MBR: the boot flag; GPT: legacy BIOS bootable */
};
DEFINE_VECTOR(table_entries, struct table_entry);

/* Bytes of a sector as the GPT on the disk counts them: 4096 where it was made so, else 512. */
unsigned probe_sector(const unsigned char *bytes, size_t n);
/* "gpt", "mbr" or NULL (neither). Entries are added to ret. MBR: primary partitions only. */
const char *probe_table(const unsigned char *bytes, size_t n, struct table_entries *ret);

#endif
