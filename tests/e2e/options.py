#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: options.py KILN MAN-FOLDER   Says where --help and the man pages' sources differ: each option of
a command must be in its page, and each that heads a paragraph there must be in --help."""
import os, re, subprocess, sys

kiln, folder = sys.argv[1:]
PAGES = {"start": "create", "stop": "create", "rm": "create", "delete": "create", "ls": "create",
         **dict.fromkeys("status ssh exec cp console logs restart suspend resume wait rename port commit".split(), "ps"),
         **dict.fromkeys(["down", "reload", "provision"], "up"), "logout": "login", "image warm": "run", "system df": "system", "system verify": "system",
         **dict.fromkeys(["ci gitlab config", "ci gitlab prepare", "ci gitlab run", "ci gitlab cleanup", "ci reap"], "ci"),
         "libvirt define": "libvirt", "libvirt import": "libvirt"}


def output(*words):
    return subprocess.run([kiln, *words, "--help"], check=True, capture_output=True, text=True).stdout


def options(text):
    heads = re.findall(r"^  (-[A-Za-z-]+(?:, --?[a-z-]+)*)", text, re.M)
    return {o for head in heads for o in re.findall(r"--?[a-z][a-z-]*", head)}


commands = re.findall(r"^  ([a-z][a-z -]*?)  ", output(), re.M)
common = options(output())
pages, wrong = {}, []
for command in commands:
    page = PAGES.get(command, command.replace(" ", "-"))
    pages.setdefault(page, set()).update(options(output(*command.split())) - common)
for page, known in pages.items():
    text = open(os.path.join(folder, f"kiln-{page}.1.scd")).read()
    said = set(re.findall(r"(?<![a-z])--?[a-z][a-z-]*", text))
    own = re.search(r"^# OPTIONS$(.*?)^# ", text, re.M | re.S)
    heads = {o for line in re.findall(r"^\*-.*", own[1] if own else "", re.M) for o in re.findall(r"\*(--?[a-z][a-z-]*)", line)}
    wrong += [f"{o} is not in kiln-{page}(1)" for o in sorted(known - said)]
    wrong += [f"{o} of kiln-{page}(1) is not in --help" for o in sorted(heads - known - common)]
main = open(os.path.join(folder, "kiln.1.scd")).read()
wrong += [f"{o} is not in kiln(1)" for o in sorted(common) if f"*{o}*" not in main]
wrong += [f"kiln {c} is not in kiln(1)" for c in commands if not re.search(rf"\*(kiln )?({c}|{c.split()[-1]})\*", main)]
print("\n".join(wrong))
sys.exit(bool(wrong) or len(commands) < 20)
