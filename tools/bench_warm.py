# SPDX-License-Identifier: MIT
"""The part of tools/bench about saved boots: `kiln run --warm` beside a boot, of the images tiny and debian that
`make demo` has left in the user's backend; what they take on the disk, and what eight copies share."""
import os
import re
import shutil
import statistics
import subprocess

GOALS = {"tiny": 0.6, "debian": 1.2}
COPIES = 8


def present(b, image):
    return subprocess.run([b.kiln_program, "image", "inspect", image], env=b.user_env, capture_output=True,
                          check=False).returncode == 0


def on_disk(cache):
    """Bytes of the one saved boot below: all, and the state's files by name."""
    files = {}
    for folder, _, names in os.walk(cache + "/warm"):
        for name in names:
            files[name] = files.get(name, 0) + os.stat(f"{folder}/{name}").st_blocks * 512
    return sum(files.values())


def qemus(pid):
    return [int(x) for x in subprocess.run(["pgrep", "-P", str(pid), "qemu-system"], capture_output=True, text=True,
                                           check=False).stdout.split()]


def memory_of(pid):
    """(PSS, RSS) in bytes."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        text = f.read()
    return tuple(int(re.search(rf"^{x}:\s+(\d+)", text, re.M).group(1)) * 1024 for x in ("Pss", "Rss"))


def share(b, image):
    """Sums of PSS and RSS of the QEMUs of copies that run at once."""
    vms = [subprocess.Popen([b.kiln_program, "run", "--warm", "--ssh-command", "echo up; cat", image], env=b.user_env,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(COPIES)]
    for vm in vms:
        vm.stdout.readline()
    sums = [sum(x) for x in zip(*(memory_of(pid) for vm in vms for pid in qemus(vm.pid)))]
    for vm in vms:
        vm.stdin.close()
        vm.wait()
    return sums


def measure(b, rounds):
    home = os.environ.get("KILN_HOME")
    b.user_env = {k: v for k, v in os.environ.items() if k not in ("KILN_WARM", "KILN_WARM_MAX_SIZE")}
    backend = f"{home}/backend" if home else os.path.expanduser("~/.local/share/kiln/backend")
    # its own cache and VMs, the user's images
    b.user_env.update(KILN_HOME=b.work + "/warm-home", HOME=os.environ["HOME"])
    os.makedirs(b.work + "/warm-home")
    os.symlink(backend, b.work + "/warm-home/backend")
    keys = f"{home}/ssh" if home else os.path.expanduser("~/.local/share/kiln/ssh")
    if os.path.isdir(keys):
        os.symlink(keys, b.work + "/warm-home/ssh")
    env = b.env
    b.env, b.warm = b.user_env, []
    for image in GOALS:
        if not present(b, image):
            print(f"  saved boots of '{image}' are not measured: make demo", flush=True)
            continue
        command = [b.kiln_program, "run", image, "--ssh-command", "true"]
        first = b.run(*command[:2], "--warm", *command[2:])
        row = {"image": image, "first": [first], "boot": [], "warm": [], "bytes": on_disk(b.work + "/warm-home/cache")}
        for i in range(rounds):
            row["warm"].append(b.run(*command[:2], "--warm", *command[2:]))
            if i < 3:
                row["boot"].append(b.run(*command))
        row["memory"] = share(b, image)
        b.warm.append(row)
        print(f"  {image}: " + ", ".join(f"{k} {statistics.median(row[k]):.2f} s" for k in ("warm", "boot", "first")), flush=True)
        shutil.rmtree(b.work + "/warm-home/cache/warm")
    b.env = env


def table(b, cell):
    lines = ["| `kiln run IMAGE --ssh-command true` | with `--warm` | goal | a boot | the first with `--warm` | on the disk "
             f"| PSS of {COPIES} at once | RSS |", "|---|---|---|---|---|---|---|---|"]
    for r in b.warm:
        pss, rss = r["memory"]
        lines.append(f"| {r['image']} | {cell(r['warm'])} | at most {GOALS[r['image']]} s | {cell(r['boot'])} | {cell(r['first'])} "
                     f"| {r['bytes'] / 1e6:.0f} MB | {pss / 1e6:.0f} MB | {rss / 1e6:.0f} MB |")
    return lines
