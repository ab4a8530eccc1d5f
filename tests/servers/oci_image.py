#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""oci_image.py DIR TAG [-a ARTIFACT_TYPE] [-i OS/ARCH] LAYER...: an image as other programs push it, in an OCI layout.

A LAYER is TYPE,FILE or TYPE,FILE,TITLE. DIR may be a layout already. With -i OS/ARCH the tag is an index, in which the
image is the one for that platform; another call with the same tag adds an image to it.
"""
import argparse
import hashlib
import json
import os

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
NAME = "org.opencontainers.image.ref.name"


def put(folder, data):
    digest = hashlib.sha256(data).hexdigest()
    with open(f"{folder}/blobs/sha256/{digest}", "wb") as f:
        f.write(data)
    return {"digest": "sha256:" + digest, "size": len(data)}


def layer(folder, text):
    kind, path, title = (text.split(",") + [None])[:3]
    with open(path, "rb") as f:
        made = {"mediaType": kind, **put(folder, f.read())}
    if title:
        made["annotations"] = {"org.opencontainers.image.title": title}
    return made


def read_index(folder):
    try:
        with open(folder + "/index.json", encoding="utf-8") as f:
            return json.load(f)
    except FileNotFoundError:
        return {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("folder")
    p.add_argument("tag")
    p.add_argument("-a", "--artifact-type")
    p.add_argument("-i", "--index")
    p.add_argument("layers", nargs="*")
    a = p.parse_intermixed_args()
    os.makedirs(a.folder + "/blobs/sha256", exist_ok=True)
    os_name, arch = (a.index or "linux/amd64").split("/", 1)
    platform = {"os": os_name, "architecture": arch.split("/")[0]}
    if "/" in arch:
        platform["variant"] = arch.split("/")[1]
    config = json.dumps({**platform, "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **put(a.folder, config)},
                "layers": [layer(a.folder, text) for text in a.layers]}
    if a.artifact_type:
        manifest["artifactType"] = a.artifact_type
    made = {"mediaType": MANIFEST, **put(a.folder, json.dumps(manifest).encode())}
    index = read_index(a.folder)
    old = [d for d in index["manifests"] if d.get("annotations", {}).get(NAME) == a.tag]
    if a.index:
        inner = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
        if old:
            with open(f"{a.folder}/blobs/sha256/{old[0]['digest'][7:]}", encoding="utf-8") as f:
                inner = json.load(f)
        inner["manifests"].append({**made, "platform": platform})
        made = {"mediaType": INDEX, **put(a.folder, json.dumps(inner).encode())}
    made["annotations"] = {NAME: a.tag}
    index["manifests"] = [d for d in index["manifests"] if d not in old] + [made]
    for name, value in ("index.json", index), ("oci-layout", {"imageLayoutVersion": "1.0.0"}):
        with open(f"{a.folder}/{name}", "w", encoding="utf-8") as f:
            json.dump(value, f)
    print(made["digest"])


main()
