#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""apple_lz4.py FROM TO: compresses as Apple's framework does, each block with those before it as its dictionary."""
import ctypes
import ctypes.util
import struct
import sys

BLOCK = 64 << 10


def main():
    lz4 = ctypes.CDLL("liblz4.so.1")
    lz4.LZ4_createStream.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(lz4.LZ4_createStream())
    with open(sys.argv[1], "rb") as f:
        raw = f.read()
    source = ctypes.create_string_buffer(raw, len(raw))
    room = ctypes.create_string_buffer(lz4.LZ4_compressBound(BLOCK))
    with open(sys.argv[2], "wb") as f:
        for at in range(0, len(raw), BLOCK):
            size = min(BLOCK, len(raw) - at)
            n = lz4.LZ4_compress_fast_continue(stream, ctypes.byref(source, at), room, size, len(room), 1)
            if 0 < n < size:
                f.write(b"bv41" + struct.pack("<II", size, n) + room.raw[:n])
            else:
                f.write(b"bv4-" + struct.pack("<I", size) + raw[at:at + size])
        f.write(b"bv4$")
    lz4.LZ4_freeStream(stream)


main()
