#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: store_layers.py BACKEND NAME STEP...   Makes a chain of layers, one a step, and a name for it.

Prints the ids. Written from cache/store.h and cache/record.h, not from the C code: what kiln reads
here is what any other program would write by that description."""
import hashlib, json, os, subprocess, sys

backend, name, steps = sys.argv[1], sys.argv[2], sys.argv[3:]


def sha(data):
    return hashlib.sha256(data).hexdigest()


def netstring(text):
    data = text.encode()
    return b"%d:%s," % (len(data), data)


def create(path, backing):
    args = ["qemu-img", "create", "-q", "-f", "qcow2"]
    if backing:
        args += ["-u", "-F", "qcow2", "-b", backing]
    subprocess.run(args + [path, "64M"], check=True, stdout=subprocess.DEVNULL)


parent, parent_digest, depth = None, None, 0
for step in steps:
    fields = ["kiln-key-1", parent or "", "step", step]
    key = sha(b"".join(netstring(f) for f in fields))
    folder = os.path.join(backend, ".layers", key)
    depth += 1
    if not os.path.isdir(folder):
        os.makedirs(folder)
        disk = os.path.join(folder, "disk.qcow2")
        create(disk, parent and f"../{parent}/disk.qcow2")
        with open(disk, "ab") as f:
            f.write(step.encode() * 10000)
        data = open(disk, "rb").read()
        os.chmod(disk, 0o444)
        record = {"version": 1, "type": "layer", "id": key, "key": key, "parent": parent,
                  "parent_digest": parent_digest, "depth": depth, "digest": sha(data),
                  "header": sha(data[:4096]), "size": len(data), "virtual_size": 64 << 20,
                  "created": 1700000000 + depth, "step": step}
        record["check"] = sha(json.dumps(record, sort_keys=True, separators=(",", ":")).encode())
        path = os.path.join(folder, "layer.json")
        with open(path, "w") as f:
            json.dump(record, f)
        os.utime(path, (1700000000 + depth,) * 2)
    parent_digest = json.load(open(os.path.join(folder, "layer.json")))["digest"]
    parent = key
    print(key)
if name != "-":
    create(os.path.join(backend, name), f".layers/{parent}/disk.qcow2")
