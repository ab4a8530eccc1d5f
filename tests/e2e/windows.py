#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: windows.py FOLDER

Makes in FOLDER what tells libguestfs that a disk has a Windows on it: Windows/System32 with a cmd.exe (an
executable without code) and registry hives. The format of a hive: a header of 4 KiB, a bin of cells; a cell
begins with its length, negative if it is in use, and is named by its offset in the bins.
"""
import os
import struct
import sys

NONE = 0xFFFFFFFF
PRODUCT = {"ProductName": "Windows Kiln Edition", "CurrentMajorVersionNumber": 10, "CurrentMinorVersionNumber": 0,
           "CurrentVersion": "6.3", "InstallationType": "Client"}
APPLICATION = {"DisplayName": "Hello for Windows", "DisplayVersion": "2.10"}
SOFTWARE = {"Microsoft": {"Windows NT": {"CurrentVersion": PRODUCT},
                          "Windows": {"CurrentVersion": {"Uninstall": {"hello": APPLICATION}}}}}
ENVIRONMENT = {"PROCESSOR_ARCHITECTURE": "AMD64"}
SET = {"Services": {"Tcpip": {"Parameters": {"Hostname": "pane"}}},
       "Control": {"Session Manager": {"Environment": ENVIRONMENT}}}
SYSTEM = {"Select": {"Current": 1, "Default": 1}, "ControlSet001": SET, "MountedDevices": {"\\DosDevices\\C:": b"\0" * 12}}


class Hive:
    def __init__(self):
        self.cells = bytearray()

    def cell(self, data):
        """Its offset."""
        size = (len(data) + 4 + 7) & ~7
        at = 32 + len(self.cells)
        self.cells += struct.pack("<i", -size) + data.ljust(size - 4, b"\0")
        return at

    def value(self, name, v):
        kind = 4 if isinstance(v, int) else 3 if isinstance(v, bytes) else 1
        data = struct.pack("<I", v) if kind == 4 else v if kind == 3 else (v + "\0").encode("utf-16-le")
        inline = len(data) <= 4
        where = struct.unpack("<I", data)[0] if inline else self.cell(data)
        length = len(data) | 0x80000000 if inline else len(data)
        return self.cell(b"vk" + struct.pack("<HIIIHH", len(name), length, where, kind, 1, 0) + name.encode())

    def key(self, name, tree, flags=0x20):
        below = [(k, self.key(k, v)) for k, v in sorted(tree.items()) if isinstance(v, dict)]
        values = [self.value(k, v) for k, v in tree.items() if not isinstance(v, dict)]
        keys = NONE
        if below:
            keys = self.cell(b"lf" + struct.pack("<H", len(below)) +
                             b"".join(struct.pack("<I4s", at, k.encode()[:4]) for k, at in below))
        listed = self.cell(struct.pack(f"<{len(values)}I", *values)) if values else NONE
        head = struct.pack("<HQIIIIIIIIIIIIIIIHH", flags, 0, 0, 0, len(below), 0, keys, NONE, len(values), listed,
                           NONE, NONE, 0, 0, 0, 0, 0, len(name), 0)
        at = self.cell(b"nk" + head + name.encode())
        for _, child in below:  # the offset of its parent
            struct.pack_into("<I", self.cells, child - 32 + 4 + 16, at)
        return at

    def file(self, tree):
        root = self.key("root", tree, 0x2C)
        size = (32 + len(self.cells) + 4095) & ~4095
        rest = size - 32 - len(self.cells)
        if rest:
            self.cells += struct.pack("<i", rest) + bytes(rest - 4)
        head = b"regf" + struct.pack("<IIQIIIIIII", 1, 1, 0, 1, 3, 0, 1, root, size, 1)
        head = head.ljust(508, b"\0")
        check = 0
        for (word,) in struct.iter_unpack("<I", head):
            check ^= word
        bins = b"hbin" + struct.pack("<IIQQI", 0, size, 0, 0, 0)
        return (head + struct.pack("<I", check)).ljust(4096, b"\0") + bins + bytes(self.cells)


def program():
    """A PE32+ header for x86-64 and the console."""
    pe = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 0, 0, 0, 0, 240, 0x22)
    optional = struct.pack("<H", 0x20B).ljust(68, b"\0") + struct.pack("<H", 3)
    return (b"MZ" + bytes(58) + struct.pack("<I", 128)).ljust(128, b"\0") + pe + optional.ljust(240, b"\0") + bytes(512)


def main():
    system32 = sys.argv[1] + "/Windows/System32"
    os.makedirs(system32 + "/config")
    for name, content in (("cmd.exe", program()), ("config/SOFTWARE", Hive().file(SOFTWARE)),
                          ("config/SYSTEM", Hive().file(SYSTEM))):
        with open(f"{system32}/{name}", "wb") as f:
            f.write(content)


main()
