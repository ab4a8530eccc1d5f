"""lvm.py FILE-SYSTEM: writes a physical volume of LVM to stdout, with the volume group vg and in it the logical volume
root, whose content is the file; room for some extents more stays free. The layout is lvm2's lib/format_text
(layout.h): a label in sector 1, the metadata as text behind a header at 4096."""
import struct
import sys
import zlib

EXTENT, START, MDA = 1 << 20, 1 << 20, 4096


def crc(data):
    return zlib.crc32(data, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def uuid(letter):
    n = letter * 32
    return "-".join([n[:6], n[6:10], n[10:14], n[14:18], n[18:22], n[22:26], n[26:]])


content = open(sys.argv[1], "rb").read()
extents = -(-len(content) // EXTENT)
total = extents + 2
size = START + total * EXTENT
text = f"""vg {{ id = "{uuid('v')}" seqno = 1 format = "lvm2" status = ["RESIZEABLE", "READ", "WRITE"] flags = []
extent_size = {EXTENT // 512} max_lv = 0 max_pv = 0 metadata_copies = 0
physical_volumes {{ pv0 {{ id = "{uuid('p')}" device = "/dev/vda1" status = ["ALLOCATABLE"] flags = []
dev_size = {size // 512} pe_start = {START // 512} pe_count = {total} }} }}
logical_volumes {{ root {{ id = "{uuid('r')}" status = ["READ", "WRITE", "VISIBLE"] flags = [] segment_count = 1
segment1 {{ start_extent = 0 extent_count = {extents} type = "striped" stripe_count = 1 stripes = ["pv0", 0] }} }} }} }}
contents = "Text Format Volume Group"
version = 1
description = ""
creation_host = "x"
creation_time = 1
""".encode() + b"\0"
pv = b"p" * 32 + struct.pack("<Q", size) + struct.pack("<4Q", START, 0, 0, 0) + struct.pack("<4Q", MDA, START - MDA, 0, 0)
rest = struct.pack("<I8s", 32, b"LVM2 001") + pv + struct.pack("<IIQQ", 2, 1, 0, 0)
rest = rest.ljust(512 - 20, b"\0")
label = b"LABELONE" + struct.pack("<QI", 1, crc(rest)) + rest
head = b" LVM2 x[5A%r0N*>" + struct.pack("<IQQ", 1, MDA, START - MDA) + struct.pack("<QQII", 512, len(text), crc(text), 0)
head = head.ljust(512 - 4, b"\0")
disk = bytearray(size)
disk[512:1024] = label
disk[MDA:MDA + 512] = struct.pack("<I", crc(head)) + head
disk[MDA + 512:MDA + 512 + len(text)] = text
disk[START:START + len(content)] = content
sys.stdout.buffer.write(disk)
