#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Container images as OCI layouts, for tests.

container.py layers DIR    a layout whose layers hide, replace and link in all the ways that there are
container.py pack DIR TAR...   a layout with these archives as its layers
container.py hostile DIR   layouts DIR/NAME, each with something that must be refused
"""
import gzip, hashlib, io, json, os, subprocess, sys, tarfile

LAYER = "application/vnd.oci.image.layer.v1.tar"


class Layer:
    def __init__(self):
        self.bytes = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.bytes, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, name, data=None, kind=None, link="", mode=None, owner=(0, 0), dev=(0, 0), pax=None):
        t = tarfile.TarInfo(name)
        t.type = kind or (tarfile.DIRTYPE if data is None else tarfile.REGTYPE)
        t.linkname, (t.uid, t.gid), t.mtime = link, owner, 1000000000
        t.mode = mode if mode is not None else 0o755 if t.isdir() else 0o644
        t.devmajor, t.devminor = dev
        t.pax_headers = pax or {}
        content = (data or "").encode()
        t.size = len(content) if t.isreg() else 0
        self.tar.addfile(t, io.BytesIO(content))
        return self

    def done(self):
        self.tar.close()
        return self.bytes.getvalue()


class Layout:
    def __init__(self, path):
        self.path = path
        os.makedirs(f"{path}/blobs/sha256")
        self.write("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')

    def write(self, name, data):
        with open(f"{self.path}/{name}", "wb") as f:
            f.write(data)

    def blob(self, data, kind):
        digest = hashlib.sha256(data).hexdigest()
        self.write(f"blobs/sha256/{digest}", data)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    def image(self, layers, diffs, arch="amd64"):
        config = {"architecture": arch, "os": "linux", "config": {"Cmd": ["/bin/sh"]},
                  "rootfs": {"type": "layers",
                             "diff_ids": ["sha256:" + hashlib.sha256(d).hexdigest() for d in diffs]}}
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": self.blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
                    "layers": layers}
        return self.blob(json.dumps(manifest).encode(), manifest["mediaType"])

    def index(self, *entries):
        text = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
        self.write("index.json", json.dumps(text).encode())


def tagged(descriptor, tag):
    return {**descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}}


def gz(data):
    return gzip.compress(data, mtime=0)


def zstd(data):
    return subprocess.run(["zstd", "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout


def pack(path, diffs):
    out = Layout(path)
    layers = [out.blob(gz(d), LAYER + "+gzip") for d in diffs]
    out.index(tagged(out.image(layers, diffs), "1"))


# A VFS_CAP_REVISION_2 with cap_net_raw, effective.
CAPABILITY = {"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20" + "\x00" * 14,
              "SCHILY.xattr.user.note": "kept"}


def second_layer(marker):
    second = Layer().add(marker, "")
    second.add("a/.wh.gone", "").add("opaque/").add("opaque/new", "new").add("opaque/both", "new")
    second.add("opaque/.wh..wh..opq", "").add("file2dir/").add("file2dir/in", "in").add("dir2file", "file")
    second.add(".wh.one", "").add("three", kind=tarfile.LNKTYPE, link="two").add("lib/through", "through")
    second.add("abs/added", "added").add(".wh..wh.plnk/1.2", "aufs").add("own/", owner=(1000, 50), mode=0o700)
    return second


def layers(path):
    base = Layer()
    base.add("./").add("./usr/").add("./usr/lib/").add("./lib", kind=tarfile.SYMTYPE, link="usr/lib")
    base.add("./a/").add("./a/keep", "keep").add("./a/gone", "gone").add("./b/").add("./b/1", "1").add("./b/2", "2")
    base.add("./opaque/").add("./opaque/old", "old").add("./opaque/both", "old").add("./opaque/sub/")
    base.add("./opaque/sub/old", "old").add("./file2dir", "file").add("./dir2file/").add("./dir2file/x", "x")
    base.add("./one", "shared", mode=0o600).add("./two", kind=tarfile.LNKTYPE, link="./one")
    base.add("./dev/").add("./dev/null", kind=tarfile.CHRTYPE, dev=(1, 3), mode=0o666)
    base.add("./dev/loop9", kind=tarfile.BLKTYPE, dev=(7, 9), mode=0o660, owner=(0, 6))
    base.add("./fifo", kind=tarfile.FIFOTYPE, mode=0o600).add("./ping", "ping", pax=CAPABILITY)
    base.add("./fifo2", kind=tarfile.LNKTYPE, link="fifo").add("./own/", owner=(1000, 50), mode=0o2750)
    base.add("./own/suid", "suid", mode=0o4755, owner=(1000, 50)).add("./abs", kind=tarfile.SYMTYPE, link="/a")
    base.add("./c/").add("./c/1", "1").add("./kept", "base").add("./tmp/", mode=0o1777).add("./large", "large " * 50000)
    second, docker = (second_layer(marker) for marker in (".wh.nothing", ".wh.docker"))
    third = Layer()
    fourth = Layer()
    fourth.add("b/").add("b/3", "3").add(".wh.b", "").add(".wh.absent", "").add("none/.wh.x", "")
    # a folder that is only hidden here stays for what this layer has in it, before the marker and behind it
    fourth.add("c/3", "c3").add(".wh.c", "").add("c3", kind=tarfile.LNKTYPE, link="c/3")
    fourth.add("/kept", "fourth").add("kept2", kind=tarfile.LNKTYPE, link="/kept")
    diffs = [x.done() for x in (base, second, third, fourth)]
    out = Layout(path)
    stored = [out.blob(gz(diffs[0]), LAYER + "+gzip"), out.blob(zstd(diffs[1]), LAYER + "+zstd"),
              out.blob(gz(diffs[2]), "application/vnd.docker.image.rootfs.diff.tar.gzip"),
              out.blob(diffs[3], LAYER)]
    image = out.image(stored, diffs)
    # its second layer has other bytes, as skopeo remembers that it saw this one with zstd
    diffs[1] = docker.done()
    docker = out.image([out.blob(gz(d), LAYER + "+gzip") for d in diffs], diffs)
    arm = Layer().add("arm", "arm").done()
    other = out.image([out.blob(gz(arm), LAYER + "+gzip")], [arm], "arm64")
    both = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{**other, "platform": {"os": "linux", "architecture": "arm64"}},
                          {**image, "platform": {"os": "linux", "architecture": "amd64"}}]}
    out.index(tagged(image, "1"), tagged(out.blob(json.dumps(both).encode(), both["mediaType"]), "both"),
              tagged(other, "arm"), tagged(docker, "docker"))


def hostile(path):
    def one(name, *layer_list, **change):
        out = Layout(f"{path}/{name}")
        diffs = [x.done() for x in layer_list]
        stored = [out.blob(gz(d), LAYER + "+gzip") for d in diffs]
        if "size" in change:
            stored[0]["size"] += change["size"]
        if "bytes" in change:
            out.write(f"blobs/sha256/{stored[0]['digest'][7:]}", change["bytes"])
            stored[0]["size"] = len(change["bytes"])
        if "type" in change:
            stored[0]["mediaType"] = change["type"]
        out.index(tagged(out.image(stored, diffs, change.get("arch", "amd64")), "1"))

    plain = lambda: Layer().add("file", "file")
    one("above", Layer().add("../outside", "x"))
    one("link-above", Layer().add("dir/", None).add("x", kind=tarfile.LNKTYPE, link="../../etc/passwd"))
    deep = Layer()
    for i in range(2200):
        deep.add(f"{i:04}" + "/a" * 2000, "")
    one("names", deep)
    one("below-file", plain().add("file/x", "x"))
    one("link-to-hidden", plain(), Layer().add(".wh.file", "").add("x", kind=tarfile.LNKTYPE, link="file"))
    one("circle", Layer().add("a", kind=tarfile.SYMTYPE, link="b").add("b", kind=tarfile.SYMTYPE, link="a").add("a/x", "x"))
    one("size", plain(), size=1)
    one("content", plain(), bytes=gz(Layer().add("evil", "evil").done()))
    one("garbage", plain(), bytes=b"garbage" * 100)
    one("truncated", plain(), bytes=gz(Layer().add("file", "file" * 9999).done())[:60])
    one("type", plain(), type="application/vnd.kiln.layer.v1.qcow2+zstd")
    one("arm", plain(), arch="arm64")
    # 300 GB of zeros behind the archive's end
    gigabyte = subprocess.run("head -c 1G /dev/zero | zstd -qc", shell=True, stdout=subprocess.PIPE, check=True).stdout
    one("zeros", plain(), bytes=zstd(plain().done()) + 300 * gigabyte)
    # through links that lead out: they must end in the destination
    one("escape", Layer().add("up", kind=tarfile.SYMTYPE, link="../../../..").add("abs", kind=tarfile.SYMTYPE, link="/"),
        Layer().add("up/etc/by-up", "x").add("abs/etc/by-abs", "x").add("..wh.file", "x").add(".wh...", ""))


if __name__ == "__main__":
    word, where, *rest = sys.argv[1:]
    if word == "pack":
        pack(where, [open(name, "rb").read() for name in rest])
    else:
        {"layers": layers, "hostile": hostile}[word](where)
