# SPDX-License-Identifier: MIT
"""The rows of tools/bench about VMFiles: VMs of examples/tiny, up together and alone, up with nothing to do, their
memory, and reading large files."""
import os
import re
import resource
import subprocess
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VM = 'vm "%s" { image "tiny"; memory 128; network "lab"; ssh { user "root"; }; provision { inline "true"; }; }\n'


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def fleet(b, command, path, *more):
    return b.run(b.kiln_program, command, "--file", path, *more)


def from_nothing(b, path):
    took = fleet(b, "up", path)
    fleet(b, "down", path, "--destroy")
    return took


def cpu(b, path):
    """Seconds of a processor that `up` takes, with all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    fleet(b, "up", path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def memory(pattern):
    """MB of each process whose command line has the pattern, what they share divided among them (Pss)."""
    sizes = []
    for pid in subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=False).stdout.split():
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
            sizes.append(int(re.search(r"^Pss: *(\d+)", f.read(), re.M)[1]) / 1024)
    return sizes


def measure(b, rounds):
    print("VMFiles", flush=True)
    subprocess.run(["cp", "-r", TOP + "/examples/tiny", b.work], check=True)
    b.run(b.work + "/tiny/prepare", b.kiln_program)
    b.run(b.kiln_program, "image", "build", "--name", "tiny", b.work + "/tiny")
    one = write(b.work + "/fleet1/VMFile.kdl", VM % "one")
    four = write(b.work + "/fleet4/VMFile.kdl", "".join(VM % name for name in "abcd"))
    from_nothing(b, one)  # the accelerator is chosen, files are in the page cache
    single = [from_nothing(b, one) for _ in range(rounds)]
    together = [from_nothing(b, four) for _ in range(rounds)]
    b.fleet = [("`up` of one VM, provisioned by SSH", single), ("`up` of four", together)]
    fleet(b, "up", four)
    try:
        b.fleet.append(("`up` of four that run, nothing to do", [fleet(b, "up", four) for _ in range(4 * rounds)]))
        b.fleet.append(("the same, time of a processor", [cpu(b, four) for _ in range(4 * rounds)]))
        time.sleep(1)  # the guests are at rest
        sizes = memory("qemu-system.*" + re.escape(b.work))
        kiln = memory("^" + re.escape(b.kiln_program))  # what keeps SSH connections, for one
        assert len(sizes) == 4, sizes
        b.fleet.append(("memory of a QEMU, guest of 128 MB", f"{sum(sizes) / 4:.0f} MB"))
        b.fleet.append(("memory of the four and of kiln's processes", f"{sum(sizes) + sum(kiln):.0f} MB"))
    finally:
        fleet(b, "down", four, "--destroy")
    for nodes in 10000, 100000:
        path = write(f"{b.work}/large/{nodes}.kdl", 'vm "a" { image "tiny"\n' + f'qemu-args "{"x" * 90}"\n' * nodes + "}\n")
        b.fleet.append((f"{nodes} nodes, {os.path.getsize(path) / 1e6:.1f} MB: `up --explain`",
                        [fleet(b, "up", path, "--explain") for _ in range(rounds)]))


def table(b, cell):
    return ["| VMFile | |", "|---|---:|", *(f"| {what} | {cell(values)} |" for what, values in b.fleet)]
