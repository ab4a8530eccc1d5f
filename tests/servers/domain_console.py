#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: domain_console.py URI DOMAIN COMMAND   Logs in as root, without a password, on the serial console of
a domain of libvirt, runs COMMAND there and prints all that the console said until virsh ends."""
import os
import pty
import select
import sys
import time

uri, domain, command = sys.argv[1:]
end = time.monotonic() + 600
pid, fd = pty.fork()
if not pid:
    os.execvp("virsh", ["virsh", "-c", uri, "console", domain])
said = b""


def wait_for(what, send=b""):
    """Reads on until `what` has been said; sends `send` now and again, as what was said before is lost."""
    global said
    start = len(said)
    while what not in said[start:]:
        if time.monotonic() > end:
            sys.exit(f"no {what!r} in 600 s: {said.decode(errors='replace')}")
        if not select.select([fd], [], [], 1)[0]:
            os.write(fd, send)
            continue
        try:
            said += os.read(fd, 4096)
        except OSError:
            sys.exit(f"the console has ended: {said.decode(errors='replace')}")


wait_for(b"login: ", b"\r")
os.write(fd, b"root\r")
wait_for(b"# ")
os.write(fd, command.encode() + b"\r")
try:
    while chunk := os.read(fd, 4096):
        said += chunk
except OSError:
    pass  # virsh has ended
print(said.decode(errors="replace"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
