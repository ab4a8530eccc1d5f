#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: raid1.py CONTENT MEMBER MEMBER

Writes the two members of a RAID1 of Linux: the content, and behind it the superblock of format 1.0 (the kernel's
include/uapi/linux/raid/md_p.h), which lies at least 8 KiB from the end.
"""
import os
import struct
import sys


def superblock(sectors, where, number):
    head = struct.pack("<IIII16s32sQIIQII", 0xA92B4EFC, 1, 0, 0, b"kiln-test-raid-1", b"kiln:test", 0, 1, 0, sectors, 0, 2)
    head = head.ljust(128, b"\0")
    head += struct.pack("<QQQQII16s", 0, sectors, where, 0, number, 0, bytes([number + 1]) * 16)
    head = head.ljust(192, b"\0") + struct.pack("<QQQII", 1, 1, 2**64 - 1, 0, 2)
    block = bytearray(head.ljust(256, b"\0") + struct.pack("<HH", 0, 1))
    total = sum(struct.unpack(f"<{len(block) // 4}I", block))
    struct.pack_into("<I", block, 216, ((total & 0xFFFFFFFF) + (total >> 32)) & 0xFFFFFFFF)
    return bytes(block)


content, *members = sys.argv[1:]
size = os.path.getsize(content)
assert size % (1 << 20) == 0
sectors = size // 512
for number, path in enumerate(members):
    with open(content, "rb") as source, open(path, "wb") as f:
        while piece := source.read(1 << 20):
            if piece.strip(b"\0"):
                f.write(piece)
            else:
                f.seek(len(piece), 1)
        # a partition of content + 64 KiB: the superblock is 16 sectors from its end, rounded to 4 KiB
        end = sectors + 128
        where = (end - 16) & ~7
        f.truncate(end * 512)
        f.seek(where * 512)
        f.write(superblock(sectors, where, number))
