#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: terminal.py KILN ARGUMENT...   Runs kiln on a pseudo-terminal as a person would use the shell
it gives: window size and resize, Ctrl-C, job control, exit status. Prints TAP."""
import fcntl, os, pty, re, select, signal, struct, sys, termios, time

pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
seen, n, failed = b"", 0, 0


def size(rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def wait_for(pattern, seconds=60):
    """Text up to the first match from here on, or None."""
    global seen
    end = time.time() + seconds
    while True:
        m = re.search(pattern, seen)
        if m:
            text, seen = seen[: m.end()], seen[m.end():]
            return text
        if not select.select([fd], [], [], max(0, end - time.time()))[0]:
            return None
        try:
            seen += os.read(fd, 65536)
        except OSError:
            return None


def check(name, ok):
    global n, failed
    n += 1
    failed |= not ok
    print(("ok" if ok else "not ok") + f" {n} - {name}")
    if not ok:
        print("# seen: " + repr(seen[-300:]))


def send(text):
    try:
        os.write(fd, text)
    except OSError:
        pass  # it has ended


size(31, 97)
check("a prompt comes", wait_for(rb"[#$] ", 120) is not None)
send(b"stty size; echo end-$((1+1))\r")
check("the guest's terminal has this one's size", b"31 97" in (wait_for(rb"end-2") or b""))
size(20, 60)
os.kill(pid, signal.SIGWINCH)
resized = False
for _ in range(20):  # the change travels beside what is typed
    send(b"stty size; echo end-$((1+2))\r")
    resized = resized or b"20 60" in (wait_for(rb"end-3", 10) or b"")
    if resized:
        break
check("and follows when it is resized", resized)
send(b"echo go-$((2+2)); sleep 500; echo status-$?\r")
wait_for(rb"go-4")
time.sleep(0.3)
send(b"\x03")
send(b"echo after-$((2+3))\r")
check("Ctrl-C ends the command, not the shell", wait_for(rb"after-5", 20) is not None)
send(b"sleep 400\r")
time.sleep(0.5)
send(b"\x1a")
send(b"jobs; echo jobs-$((3+3))\r")
check("Ctrl-Z stops it: job control works", b"sleep 400" in (wait_for(rb"jobs-6", 20) or b""))
send(b"kill -9 %1\r")
time.sleep(0.5)
for _ in range(2):  # a shell may warn once of jobs it still has
    send(b"exit 7\r")
    wait_for(rb"cannot match", 2)
status = os.waitpid(pid, 0)[1]
check("the shell's exit status is kiln's", os.WIFEXITED(status) and os.WEXITSTATUS(status) == 7)
print(f"1..{n}")
sys.exit(failed)
