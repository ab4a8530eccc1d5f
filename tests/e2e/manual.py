#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: manual.py FILE.md   Runs the commands of a manual's console blocks, in the current folder and in
order, and compares what they print with what stands there. Prints TAP.

"$ " begins a command, "> " goes on with it; "# fails" at its end: it is to fail. A line of "…" stands
for any lines, "…" in a line for any text, and one number with a fraction is as good as another."""
import re, subprocess, sys

blocks = re.findall(r"^```console\n(.*?)^```$", open(sys.argv[1], encoding="utf-8").read(), re.M | re.S)
examples = []
for line in "".join(blocks).splitlines():
    if line.startswith("$ "):
        examples.append([line[2:], []])
    elif line.startswith("> "):
        examples[-1][0] += "\n" + line[2:]
    else:
        examples[-1][1].append(line)


def pattern(lines):
    out = ""
    for line in lines:
        if line == "…":
            out += r"(?:.*\n)*?"
            continue
        text = re.escape(re.sub(r"\s+", " ", line)).replace("…", ".*").replace(r"\ ", r"\s+")
        out += r"\s*" + re.sub(r"\d+\\\.\d+", r"\\d+\\.\\d+", text) + r"\s*\n"
    return out


print(f"1..{len(examples)}")
bad = 0
for n, (command, want) in enumerate(examples, 1):
    done = subprocess.run(["bash", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=400)
    said = done.stdout.decode().replace("\r", "")
    said += "\n" if said and not said.endswith("\n") else ""
    ok = (done.returncode != 0) == ("# fails" in command) and (not want or re.fullmatch(pattern(want), said))
    bad += not ok
    print(("ok" if ok else "not ok") + f" {n} - {command.splitlines()[0]}", flush=True)
    if not ok:
        print("# status %d, and this instead of what stands there:" % done.returncode)
        print("".join("# " + line + "\n" for line in said.splitlines()), end="", flush=True)
        break
sys.exit(bool(bad))
