#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Usage: screen.py COLUMNSxROWS [ACTION...] -- COMMAND...

Runs the command on a terminal that is modelled (pyte) and prints the screen as it is at the end; ends
with the command's status. Actions, in order, each when the one before is done:
  until REGEX    waits until the screen matches, and prints it
  send TEXT      types it; ^C is Ctrl-C
  resize CxR     a terminal that wraps its lines anew, as most do
  cut CxR        a terminal that cuts them, as xterm does
(Debian's python3, by its path: pyte is one of its packages.)"""
import fcntl, os, pty, re, select, signal, struct, sys, termios
import pyte


def resized(text):
    return tuple(int(n) for n in text.split("x"))


def show(screen):
    print("\n".join(line.rstrip() for line in screen.display).rstrip() + "\n--", flush=True)


def wrapped(screen, columns, rows):
    """The screen as it would be with its lines wrapped at another width."""
    new = pyte.Screen(columns, rows)
    stream = pyte.Stream(new)
    for line in screen.display[: screen.cursor.y]:
        stream.feed(line.rstrip() + "\r\n")
    return new


split = sys.argv.index("--")
size, actions, command = sys.argv[1], sys.argv[2:split], sys.argv[split + 1:]
columns, rows = resized(size)
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    os.environ.setdefault("TERM", "xterm")
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    os.execvp(command[0], command)
screen = pyte.Screen(columns, rows)
stream = pyte.ByteStream(screen)
signal.alarm(300)
while True:
    while actions:
        action, what = actions[:2]
        if action == "until":
            if not re.search(what, "\n".join(screen.display)):
                break
            show(screen)
        elif action == "send":
            os.write(fd, what.replace("^C", "\x03").encode())
        else:
            # nothing is drawn for the old size after the change
            os.kill(pid, signal.SIGSTOP)
            os.waitpid(pid, os.WUNTRACED)
            while select.select([fd], [], [], 0)[0]:
                stream.feed(os.read(fd, 65536))
            columns, rows = resized(what)
            if action == "cut":
                screen.resize(rows, columns)
            else:
                screen = wrapped(screen, columns, rows)
                stream = pyte.ByteStream(screen)
            fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.kill(pid, signal.SIGCONT)
        del actions[:2]
    try:
        stream.feed(os.read(fd, 65536))
    except OSError:
        break
show(screen)
if actions:
    print("never came:", actions)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) or bool(actions))
