# SPDX-License-Identifier: MIT
"""The part of tools/bench about registries: pushes, pulls and the remote cache against skopeo, each with a registry
of its own (Debian's docker-registry), so that nobody finds what another one has sent."""
import hashlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Registry:
    """A docker-registry with nothing in it; with_delay: one that is 50 ms away, or 0, which counts what is sent."""

    def __init__(self, b, trip=None):
        b.serial += 1
        self.data, self.trip = f"{b.work}/registry-{b.serial}", trip
        os.makedirs(self.data)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        with open(self.data + "/config.yml", "w", encoding="ascii") as f:
            f.write("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
                    f"storage: {{filesystem: {{rootdirectory: {self.data}/data}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n")
        self.host = f"127.0.0.1:{port}"
        self.children = [subprocess.Popen(["docker-registry", "serve", self.data + "/config.yml"],
                                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)]
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.02)

    def through(self, trip):
        """The address of the same registry, `trip` ms away."""
        p = subprocess.Popen([sys.executable, TOP + "/tests/servers/delay.py", self.host, str(trip), self.data + "/sent"],
                             stdout=subprocess.PIPE, text=True)
        self.children.append(p)
        return f"127.0.0.1:{p.stdout.readline().strip()}"

    def sent(self):
        time.sleep(0.5)  # until the last connection is over
        with open(self.data + "/sent", encoding="ascii") as f:
            return int(f.read())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for p in self.children:
            p.kill()
            p.wait()
        shutil.rmtree(self.data)


def kiln(b, *argv, home="home"):
    before = b.env["KILN_HOME"]
    b.env["KILN_HOME"] = f"{b.work}/{home}"
    try:
        return b.run(b.kiln_program, *argv)
    finally:
        b.env["KILN_HOME"] = before


def fresh_home(b):
    """Another machine, with the builder VM's files."""
    shutil.rmtree(b.work + "/other", ignore_errors=True)
    os.makedirs(b.work + "/other")
    os.symlink(b.work + "/home/cache", b.work + "/other/cache")


def forget(b):
    """As before the first push: no layer's blobs are known."""
    for folder, _, names in os.walk(b.work + "/home/backend/.layers"):
        if "blobs.json" in names:
            os.unlink(folder + "/blobs.json")


def layout(b, host):
    """The layers of the image that was pushed there, not compressed, as an OCI layout that skopeo compresses when it
    copies it away."""
    blobs, layers = b.work + "/layout/blobs/sha256", []
    os.makedirs(blobs)

    def put(text):
        digest = hashlib.sha256(text).hexdigest()
        with open(f"{blobs}/{digest}", "wb") as f:
            f.write(text)
        return {"digest": "sha256:" + digest, "size": len(text)}
    for layer in dict.fromkeys(x["annotations"]["dev.kiln.layer"] for x in pushed(host)["layers"]):
        with open(f"{b.work}/home/backend/.layers/{layer}/disk.qcow2", "rb") as f:
            layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar", **put(f.read())})
    config = put(json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {
        "type": "layers", "diff_ids": [x["digest"] for x in layers]}}).encode())
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = put(json.dumps({"schemaVersion": 2, "mediaType": kind, "layers": layers, "config": {
        "mediaType": "application/vnd.oci.image.config.v1+json", **config}}).encode())
    for name, value in ("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", {"schemaVersion": 2, "manifests": [
            {"mediaType": kind, **manifest, "annotations": {"org.opencontainers.image.ref.name": "1"}}]}):
        with open(f"{b.work}/layout/{name}", "w", encoding="ascii") as f:
            json.dump(value, f)


def pushed(host):
    """The manifest."""
    with subprocess.Popen(["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{host}/bench/travel:1"],
                          stdout=subprocess.PIPE) as p:
        return json.load(p.stdout)


def skopeo(b, source, target, *flags):
    return b.run("skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", *flags, source, target)


def unpack(b, host):
    """curl | zstd -d | sha256sum of every layer's blob."""
    urls = " ".join(f"http://{host}/v2/bench/travel/blobs/{x['digest']}" for x in pushed(host)["layers"])
    return b.run("sh", "-c", f"curl -sf {urls} | zstd -d | sha256sum")


def pull(b, host):
    fresh_home(b)
    return kiln(b, "image", "pull", f"oci://{host}/bench/travel:1", home="other")


def push(b, host, name="travel"):
    return kiln(b, "image", "push", name, f"oci://{host}/bench/travel:1")


def push_fresh(b, trip=None):
    forget(b)
    with Registry(b) as r:
        return push(b, r.through(trip) if trip else r.host)


def both_ways(b, rounds):
    rows = {k: [] for k in ("push", "push skopeo", "push copy", "pull", "pull skopeo", "pull copy", "pull unpack")}
    with Registry(b) as r:
        push(b, r.host)
        layout(b, r.host)
        packed = f"oci:{b.work}/packed:1"
        skopeo(b, f"docker://{r.host}/bench/travel:1", packed)
        # the same bytes once more, as layers that skopeo unpacks
        skopeo(b, f"oci:{b.work}/layout:1", f"docker://{r.host}/bench/layers:1", "--dest-compress-format", "zstd")
        for _ in range(rounds):
            rows["push"].append(push_fresh(b))
            with Registry(b) as empty:
                rows["push skopeo"].append(skopeo(b, f"oci:{b.work}/layout:1", f"docker://{empty.host}/bench/travel:1",
                                                  "--dest-compress-format", "zstd"))
            with Registry(b) as empty:
                rows["push copy"].append(skopeo(b, packed, f"docker://{empty.host}/bench/travel:1"))
            rows["pull"].append(pull(b, r.host))
            shutil.rmtree(b.work + "/pulled", ignore_errors=True)
            rows["pull skopeo"].append(skopeo(b, f"docker://{r.host}/bench/layers:1", f"dir:{b.work}/pulled",
                                              "--dest-decompress"))
            shutil.rmtree(b.work + "/pulled")
            rows["pull copy"].append(skopeo(b, f"docker://{r.host}/bench/travel:1", f"oci:{b.work}/pulled:1"))
            rows["pull unpack"].append(unpack(b, r.host))
        far = r.through(50)
        rows["pull far"] = [pull(b, far) for _ in range(rounds)]
    rows["push far"] = [push_fresh(b, 50) for _ in range(rounds)]
    return rows


def second_push(b, rounds, trip):
    """(seconds, bytes) of pushes after a line was changed."""
    out = []
    with Registry(b) as r:
        host = r.through(trip)
        push(b, host)
        for _ in range(rounds):
            b.folder("line", "FROM travel", f"RUN echo {b.unique()} >/etc/line")
            b.build("line", "--name", "line")
            before = r.sent()
            seconds = push(b, host, "line")
            out.append((seconds, r.sent() - before))
    return out


def cached_build(b, rounds, trip):
    """(seconds of look-ups, of the whole) of a build of 20 steps on a machine that has only its base."""
    out = []
    b.folder("twenty", "FROM base", *[f"RUN echo {n} >/etc/twenty{n}" for n in range(20)])
    with Registry(b) as r:
        b.build("twenty", "--cache-to", f"oci://{r.host}/bench/cache")
        kiln(b, "image", "push", "base", f"oci://{r.host}/bench/base:1")
        host = r.through(trip) if trip else r.host
        for _ in range(rounds):
            fresh_home(b)
            kiln(b, "image", "pull", "--name", "base", f"oci://{r.host}/bench/base:1", home="other")
            whole = kiln(b, "image", "build", "--progress=json", "--require-cached", "--cache-strict", "--cache-from",
                         f"oci://{host}/bench/cache", b.work + "/twenty", home="other")
            events = [json.loads(line) for line in b.output.splitlines() if line.startswith("{")]
            out.append((sum(e["ms"] for e in events if e["event"] == "timing" and e["what"] == "cache-lookup") / 1000, whole))
    return out


def peak(b, *argv):
    r = subprocess.run(["/usr/bin/time", "-f", "%M", *argv], env=b.env, stdin=subprocess.DEVNULL, capture_output=True,
                       text=True, check=True)
    return int(re.findall(r"\d+", r.stderr)[-1]) / 1024


def measure(b, rounds):
    b.folder("travel", "FROM base", *[f"RUN echo {n} >/etc/travel{n}" for n in range(4)])
    b.build("travel", "--name", "travel")
    b.registry = both_ways(b, rounds)
    b.registry["second"], b.registry["second far"] = second_push(b, rounds, 0), second_push(b, rounds, 50)
    b.registry["cached"], b.registry["cached far"] = cached_build(b, rounds, 0), cached_build(b, rounds, 50)
    forget(b)
    with Registry(b) as r:
        ref = f"oci://{r.host}/bench/travel:1"
        up = peak(b, b.kiln_program, "image", "push", "--jobs", "8", "travel", ref)
        fresh_home(b)
        b.env["KILN_HOME"] = b.work + "/other"
        down = peak(b, b.kiln_program, "image", "pull", "--jobs", "8", ref)
        b.env["KILN_HOME"] = b.work + "/home"
    b.registry["memory"] = (up, down)


def table(b, cell):
    rows = b.registry

    def times(name):
        return statistics.median(rows[name])

    def line(what, goal, name, far, others=()):
        than = ", ".join(f"{times(key) / times(name):.2f} × {word}" for key, word in others)
        peers = ", ".join(f"{word} {cell(rows[key])}" for key, word in others)
        return f"| {what} | {goal} | {cell(rows[name])} | {peers} | {than} | {cell(rows[far]) if far else ''} |"

    def pairs(name, i):
        return [x[i] for x in rows[name]]
    sent = max(pairs("second", 1)) / 1000
    return ["| what | goal | kiln | others | kiln is faster by | kiln, the registry 50 ms away |", "|---|---|---|---|---|---|",
            line("push of `debian` and 4 small layers", "2 times as fast as skopeo", "push", "push far",
                 (("push skopeo", "skopeo, which compresses them, too"), ("push copy", "skopeo, compressed before"))),
            line("pull of it", "2 times as fast as skopeo, 0.8 of unpacking", "pull", "pull far",
                 (("pull skopeo", "skopeo, which unpacks it, too"), ("pull unpack", "`curl, zstd -d, sha256sum`"),
                  ("pull copy", "skopeo, which leaves it compressed"))),
            f"| push after a one-line change ({sent:.0f} KB sent) | at most 0.3 s and 300 KB | {cell(pairs('second', 0))} | | | "
            f"{cell(pairs('second far', 0))} |",
            f"| 20 cached steps on a fresh machine, look-up | at most 0.2 s | {cell(pairs('cached', 0))} | | | "
            f"{cell(pairs('cached far', 0))} |",
            f"| the whole of that build | | {cell(pairs('cached', 1))} | | | {cell(pairs('cached far', 1))} |",
            f"| kiln's peak memory with 8 jobs | at most 64 MB | push {rows['memory'][0]:.0f} MB, pull {rows['memory'][1]:.0f} MB "
            "| | | |"]
