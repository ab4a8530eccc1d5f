#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: far_libvirt.py SOCKET   What libvirt's transport "ext" runs to reach another machine: joins its
standard streams to the socket of a libvirtd, as ssh and nc do."""
import os
import select
import socket
import sys

far = socket.socket(socket.AF_UNIX)
far.connect(sys.argv[1])
while True:
    ready = select.select([0, far], [], [])[0]
    for source, target in ((0, far.fileno()), (far.fileno(), 1)):
        if source not in [r if isinstance(r, int) else r.fileno() for r in ready]:
            continue
        data = os.read(source, 65536)
        if not data:
            sys.exit(0)
        while data:
            data = data[os.write(target, data):]
