#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: warm_restores.py KILN COUNT VM-OPTION...   Starts that many VMs of the image tiny from its saved boot,
one after the other, and prints what is wrong with any of them: a clock that is more than 0.1 s from the host's, random
bytes that another one had, I/O errors in the kernel's log, a disk that e2fsck finds fault with."""
import os, subprocess, sys, time

SLACK = 0.1  # seconds
PROGRAM = r"""
while read -r word; do
  case $word in
  time) echo $(adjtimex | awk '$1 ~ /tv_sec/ { s = $2 } $1 ~ /tv_usec/ { u = $2 } END { printf "%d.%06d", s, u }') ;;
  random) echo $(head -c 16 /dev/urandom | od -An -tx1) ;;
  write) for i in 1 2 3; do dd if=/dev/urandom of=/srv/f$i bs=64k count=9 2>/dev/null; done; sync; echo written ;;
  errors) echo $(dmesg | grep -c 'I/O error\|EXT4-fs error\|JBD2.*error\|Aborting journal') ;;
  end) exit 0 ;;
  esac
done
"""
kiln, count, options = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
disk = f"{os.environ['KILN_HOME']}/vmstore/restored/disk.qcow2"
raw = f"{os.environ['KILN_HOME']}/restored.raw"
wrong, seen = [], set()


def ask(vm, word):
    vm.stdin.write(word + "\n")
    vm.stdin.flush()
    return vm.stdout.readline().strip()


def look_at_clock(vm):
    """The tightest of several questions."""
    best = None
    for _ in range(5):
        before = time.time()
        text = ask(vm, "time")
        after = time.time()
        if not text:
            return "no answer"
        if best is None or after - before < best[1] - best[0]:
            best = (before, after, float(text))
    before, after, guest = best
    return "" if before - SLACK <= guest <= after + SLACK else f"its clock has {guest}, between {before} and {after}"


def look_at_disk():
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True)
    fsck = subprocess.run(["e2fsck", "-f", "-n", raw], capture_output=True, text=True, check=False)
    os.remove(raw)
    return "" if fsck.returncode == 0 else "e2fsck: " + fsck.stdout


def restore():
    found = []
    with subprocess.Popen([kiln, "run", "--name", "restored", "--warm=strict", *options, "tiny", "sh", "-c", PROGRAM], text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as vm:
        found.append(look_at_clock(vm))
        random = ask(vm, "random")
        if len(random) != 47 or random in seen:
            found.append(f"random bytes '{random}'")
        seen.add(random)
        written, errors = ask(vm, "write"), ask(vm, "errors")
        if (written, errors) != ("written", "0"):
            found.append(f"'{written}', '{errors}' errors in the kernel's log")
        said = vm.communicate("end\n")[1]
    if vm.returncode or not said.startswith("Restoring") or "saved boot" in said:
        found.append(f"status {vm.returncode}: {said}")
    found.append(look_at_disk())
    subprocess.run([kiln, "rm", "-q", "restored"], check=True)
    return [x for x in found if x]


for number in range(1, count + 1):
    wrong += [f"restore {number}: {x}" for x in restore()]
print("\n".join(wrong))
sys.exit(bool(wrong))
