#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: ext4_tree.py LAYER.qcow2 [SINCE]

Lists the tree of the first partition's ext4 after e2fsck -fn has found nothing wrong with it, and
qemu-img check nothing with the file: a line a path with mode, owner, links, size, blocks, mtime, link
target or device, attributes, digest. A time that is not before SINCE (seconds) is "now". Reads by
debugfs alone: what is compared is compared by somebody else's code.
"""
import hashlib
import os
import re
import subprocess
import sys
import tempfile

SECTOR = 512


def run(*argv, **more):
    r = subprocess.run(argv, capture_output=True, **more)
    if r.returncode:
        sys.exit(f"{' '.join(argv)}: {r.returncode}\n{(r.stdout + r.stderr).decode(errors='replace')[-2000:]}")
    return r.stdout


def partition(layer, work):
    """The partition as a sparse file."""
    run("qemu-img", "check", "-q", "-f", "qcow2", layer)
    run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", layer, work + "/disk")
    lines = run("sfdisk", "-d", work + "/disk").decode().splitlines()
    parts = [re.search(r"start= *(\d+), size= *(\d+)", x) for x in lines]
    start, size = next((int(m[1]), int(m[2])) for m in reversed(parts) if m)
    run("dd", f"if={work}/disk", f"of={work}/fs", "bs=1M", "iflag=skip_bytes,count_bytes", "conv=sparse",
        f"skip={start * SECTOR}", f"count={size * SECTOR}", "status=none")
    run("e2fsck", "-fn", work + "/fs")
    return work + "/fs"


def debugfs(fs, commands, work):
    """The answer to each command."""
    with open(work + "/commands", "wb") as f:
        f.write("".join(x + "\n" for x in commands).encode())
    out = run("debugfs", "-f", work + "/commands", fs)
    answers = re.split(rb"^debugfs: .*\n", out, flags=re.M)[1:]
    assert len(answers) == len(commands), (len(answers), len(commands))
    return answers


def walk(fs, work):
    """{inode: [paths]} and {path: inode}, level by level."""
    paths, level = {b"/": 2}, [(b"", 2)]
    while level:
        answers, below = debugfs(fs, [f"ls -p <{i}>" for _, i in level], work), []
        for (above, _), text in zip(level, answers):
            for entry in re.finditer(rb"^/(\d+)/(\d*)/(\d*)/(\d*)/(.*?)/(\d*)/$", text, re.M | re.S):
                ino, mode, name = int(entry[1]), entry[2], entry[5]
                if ino and name not in (b".", b".."):
                    paths[above + b"/" + name] = ino
                    if mode.startswith(b"04"):
                        below.append((above + b"/" + name, ino))
        level = below
    return paths


def facts(stat, since):
    text = stat.decode(errors="replace")
    get = lambda pattern: (re.search(pattern, text, re.M) or [None, "?"])[1]
    mtime = re.search(r"mtime: 0x([0-9a-f]+):([0-9a-f]+)", text)
    seconds, extra = int(mtime[1], 16), int(mtime[2], 16)
    seconds = (seconds - (1 << 32) if seconds >= 1 << 31 else seconds) + ((extra & 3) << 32)
    when = "now" if since and since <= seconds < since + 86400 else f"{seconds}.{extra >> 2:09}"
    kind = get(r"Type: (\S+)")
    size = "-" if kind == "directory" else get(r"Size: (\d+)")
    blocks = "-" if kind == "directory" else get(r"Blockcount: (\d+)")
    return [kind, get(r"Mode: +(\S+)"), get(r"User: +(\d+)") + ":" + get(r"Group: +(\d+)"),
            "links=" + get(r"Links: (\d+)"), "size=" + size, "blocks=" + blocks, when,
            get(r"Fast link dest: (.*)"), get(r"Device major/minor number: (.*)"),
            get(r"^Size of extra inode fields: (\d+)")]


def main():
    since = float(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as work:
        fs = partition(sys.argv[1], work)
        paths = walk(fs, work)
        inodes = sorted(set(paths.values()))
        stats = dict(zip(inodes, debugfs(fs, [f"stat <{i}>" for i in inodes], work)))
        known = {i: facts(s, int(since)) for i, s in stats.items()}
        attributes = dict(zip(inodes, debugfs(fs, [f"ea_list <{i}>" for i in inodes], work)))
        files = [i for i in inodes if known[i][0] in ("regular", "symlink") and known[i][7] == "?"]
        debugfs(fs, [f"dump <{i}> {work}/{i}.bytes" for i in files], work)
        for path, ino in sorted(paths.items()):
            fields = list(known[ino])
            eas = b" ".join(sorted(x.strip() for x in attributes[ino].split(b"\n")[1:] if x.strip()))
            if ino in files:
                with open(f"{work}/{ino}.bytes", "rb") as f:
                    fields.append(hashlib.sha256(f.read()).hexdigest()[:16])
            first = min(p for p, i in paths.items() if i == ino) if "links=1 " not in " ".join(fields) + " " \
                and fields[0] != "directory" else b""
            print(repr(path)[2:-1], *fields, eas.decode(errors="backslashreplace"), repr(first)[2:-1])


if __name__ == "__main__":
    main()
