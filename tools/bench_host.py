# SPDX-License-Identifier: MIT
"""The part of tools/bench about steps that only write files: on the host, and in the builder VM (`--runner vm`)."""
import os
import subprocess

KINDS = {"host": "auto", "VM": "vm"}


def peak(b, runner, directory):
    """Bytes that the largest of kiln's processes had at most: kiln, kiln-ext4 or QEMU."""
    argv = [b.kiln_program, "image", "build", "--no-cache", "--runner", runner, "--name", "bench-host", f"{b.work}/{directory}"]
    with subprocess.Popen(argv, env=b.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as p:
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
    assert p.returncode == 0, argv
    return usage.ru_maxrss * 1024


def measure(b, rounds, write_file, write_files):
    """Of what tools/bench has made: the build directory "debian", the image "base"."""
    big = b.folder("host-big", "FROM base", "COPY big /opt/big")
    small = b.folder("host-small", "FROM base", "COPY small /opt/small")
    write_file(big + "/big", 100_000_000)
    write_files(small + "/small", 2000, 4096)
    b.host = []
    for what, goal, directory in (("new disk, ext4, ADD of the Debian rootfs tar", "at most 2.0 s", "debian"),
                                  ("COPY of 2,000 files of 4 KB", "at most 0.35 s", "host-small"),
                                  ("COPY of a 100 MB file", "at most 0.35 s", "host-big")):
        row = {"what": what, "goal": goal, "peak": {}, **{kind: [] for kind in KINDS}}
        for runner in KINDS.values():  # the template is made, and the digests of the context are kept
            b.build(directory, "--no-cache", "--runner", runner, "--name", "bench-host")
        for _ in range(rounds):
            for kind, runner in KINDS.items():
                row[kind].append(b.build(directory, "--no-cache", "--runner", runner, "--name", "bench-host"))
        row["peak"] = {kind: peak(b, runner, directory) for kind, runner in KINDS.items()}
        b.host.append(row)
        print(f"  {what}: " + ", ".join(f"{kind} {min(row[kind]):.2f} s at best" for kind in KINDS), flush=True)


def table(b, cell):
    lines = ["| what | on the host | goal | in the builder VM | largest process: host | VM |", "|---|---|---|---|---|---|"]
    for r in b.host:
        peaks = " | ".join(f"{r['peak'][kind] / 1e6:.0f} MB" for kind in KINDS)
        lines.append(f"| {r['what']} | {cell(r['host'])} | {r['goal']} | {cell(r['VM'])} | {peaks} |")
    return lines
