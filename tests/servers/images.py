#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A web server that misbehaves, for the tests of image pull.

Usage: images.py DIR TLS  Serves the files of DIR on 127.0.0.1 by http and https (cert.pem and key.pem
of TLS), prints the two ports, ends with its parent.

The first part of a path says how: /plain/F well, /cut/N/F at most N bytes an answer, /cutonce/F half
of it in the first answer, /norange/F the same but without ranges, /bare/F the same without ETag and
Last-Modified, /changed/F the same with F.new under another ETag afterwards, /wrongrange/F the same
with a range that was not asked for, /long/F a Content-Length that is too large, /short/F one that is
too small, /drip/F a byte each second, /slow/RATE/F bytes a second (the second answer is F.new under
another ETag where there is one), /status/N/F always that status,
/v/F well, 304 if the ETag (of the content) is known, /flip/F half of it, then under the same ETag with the
100 bytes before the middle inverted, /header/N/F with a header line of N bytes, /headers/N/F with N header lines, /flaky/N/F 503 for the first N answers, /hop/N/F N redirects, /loop redirects to itself, /away/F
redirects to a file: URL, /chunked/F without a length, /silent nothing at all, /private/F only for me:secret,
/down redirects to http, a whole URL as a proxy would, /stats what was asked.
"""
import hashlib
import http.server
import json
import os
import ssl
import sys
import threading
import time

ROOT = sys.argv[1]
LOCK = threading.Lock()
SEEN = {}  # path -> number of answers
LOG = []   # [path, Range header or None, time]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def content(self, name):
        path = os.path.join(ROOT, name)
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as f:
            return f.read()

    def answer(self, status, body=b"", headers=(), length=None, close=False):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if close:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)

    def serve(self, data, limit=None, ranges=True, tag='"v1"', rate=None, shift=0, validators=True):
        """All of data, or what Range and If-Range ask for; at most limit bytes of it."""
        start, wish = 0, self.headers.get("Range")
        condition = self.headers.get("If-Range")
        if wish and ranges and (condition in (None, tag)):
            start = int(wish[len("bytes="):].split("-")[0])
            if start >= len(data):
                return self.answer(416, headers=[("Content-Range", f"bytes */{len(data)}")])
            start = max(0, start + shift)
        body = data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if validators:
            self.send_header("ETag", tag)
            self.send_header("Last-Modified", "Sat, 01 Jan 2022 00:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if limit is not None and limit < len(body):
            self.close_connection = True
            body = body[:limit]
        step = max(1, (rate or 1 << 40) // 20)
        for at in range(0, len(body), step):
            self.wfile.write(body[at:at + step])
            if rate:
                self.wfile.flush()
                time.sleep(0.05 if rate > 20 else 1.0 / rate)

    def versioned(self, data, how, number):
        tag = '"%s"' % hashlib.sha256(data).hexdigest()
        if self.headers.get("If-None-Match") == tag:
            self.send_response(304)
            return self.end_headers()
        more = [("X-Long", "x" * int(number))] if how == "header" else []
        if how == "headers":
            more = [(f"X-{i}", "x" * 1000) for i in range(int(number))]
        return self.answer(200, data, [("ETag", tag), *more])

    def do_GET(self):
        path = self.path.split("?")[0]
        if path.startswith("http://"):
            path = path[path.index("/", len("http://")):]
        with LOCK:
            count = SEEN[path] = SEEN.get(path, 0) + 1
            LOG.append([path, self.headers.get("Range"), time.monotonic()])
        try:
            self.dispatch(path, count)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def dispatch(self, path, count):
        how, _, rest = path[1:].partition("/")
        number, _, tail = rest.partition("/")
        if path.startswith("/api/"):
            text = self.content(path[1:].replace("/", "_"))
            base = "http://%s:%d" % self.server.server_address
            return self.answer(200, text.replace(b"BASE", base.encode())) if text else self.answer(404)
        if how == "stats":
            return self.answer(200, json.dumps(LOG).encode())
        if how == "silent":
            return time.sleep(60)
        if how == "loop":
            return self.answer(302, headers=[("Location", path)])
        if how == "away":
            return self.answer(302, headers=[("Location", "file://" + os.path.join(ROOT, rest))])
        if how == "down":
            return self.answer(302, headers=[("Location", f"http://127.0.0.1:{plain.server_port}/plain/disk")])
        if how == "private" and self.headers.get("Authorization") != "Basic bWU6c2VjcmV0":
            return self.answer(401)
        if how == "status":
            return self.answer(int(number), b"<html>no</html>")
        if how == "hop":
            where = f"/hop/{int(number) - 1}/{tail}" if int(number) > 1 else f"/plain/{tail}"
            return self.answer(301, headers=[("Location", where)])
        data = self.content(tail if how in ("cut", "slow", "flaky", "header", "headers") else rest)
        if data is None:
            return self.answer(404, b"<html>not here</html>")
        half = len(data) // 2 if count == 1 else None
        if how in ("v", "header", "headers"):
            return self.versioned(data, how, number)
        if how == "flip" and count > 1:
            at = len(data) // 2
            data = data[:at - 100] + bytes(255 - b for b in data[at - 100:at]) + data[at:]
        if how in ("plain", "private", "flip"):
            self.serve(data, limit=half if how == "flip" else None)
        elif how == "cut":
            self.serve(data, limit=int(number))
        elif how == "cutonce":
            self.serve(data, limit=half)
        elif how == "norange":
            self.serve(data, limit=half, ranges=False)
        elif how == "bare":
            self.serve(data, limit=half, validators=False)
        elif how == "changed":
            if count == 1:
                self.serve(data, limit=half)
            else:
                self.serve(self.content(rest + ".new"), tag='"v2"')
        elif how == "wrongrange":
            self.serve(data, limit=half, shift=-100)
        elif how == "long":
            self.answer(200, data, [("ETag", '"v1"')], length=len(data) + 1000, close=True)
        elif how == "short":
            self.answer(200, data[:len(data) - 200000], length=len(data) - 200000)
        elif how == "drip":
            self.serve(data, rate=1)
        elif how == "slow":
            new = self.content(tail + ".new") if count > 1 else None
            self.serve(data, rate=int(number)) if new is None else self.serve(new, tag='"v2"')
        elif how == "flaky":
            self.answer(503) if count <= int(number) else self.serve(data)
        elif how == "chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(data), 100000):
                part = data[at:at + 100000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.answer(404)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


def end_with(parent):
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


plain, secure = (Server(("127.0.0.1", 0), Handler) for _ in range(2))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(os.path.join(sys.argv[2], "cert.pem"), os.path.join(sys.argv[2], "key.pem"))
secure.socket = context.wrap_socket(secure.socket, server_side=True)
threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
threading.Thread(target=secure.serve_forever, daemon=True).start()
print(plain.server_port, secure.server_port, sep="\n", flush=True)
plain.serve_forever()
