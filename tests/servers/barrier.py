#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""barrier.py FOLDER N: an HTTP server of FOLDER that answers no GET before N different files were asked for.

Prints its port, and then each path that is asked for. What asks for one file after the other waits for ever. HEAD is answered at once.
"""
import functools
import http.server
import sys
import threading

FOLDER, N = sys.argv[1], int(sys.argv[2])
ASKED, ALL = set(), threading.Event()


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if "sha256" not in self.path.lower():  # checksum files beside an image come first
            ASKED.add(self.path)
        if len(ASKED) >= N:
            ALL.set()
        print(self.path, flush=True)
        ALL.wait()
        super().do_GET()

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=FOLDER))
print(server.server_address[1], flush=True)
server.serve_forever()
