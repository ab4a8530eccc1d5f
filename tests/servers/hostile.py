#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""hostile.py FOLDER [PEM]: a registry that wants harm; it has one image, a disk of 1 MiB, under any name and tag.

With PEM, a certificate and its key, it speaks TLS. A line of the log then ends with " cert" if the client showed one.

Prints its port, the address of another server, which stands for another host, and its port at [::1] (0: this machine has
none). Writes a line a request, "METHOD PATH AUTHORIZATION", to FOLDER/log, and of the other server to FOLDER/other; a
header X-Evil is a line of its own there. What it does is in FOLDER/mode:

  loop         a manifest and a blob are at their own address, again and again
  file         a blob is at file:///etc/passwd
  elsewhere    a blob is at the other server, whose address has a user and a password
  denied-N     so, and the other server answers N to that, and to what is sent to it
  headers      there is no end of headers
  early        a hundred answers "103 Early Hints" come first
  chunked      half of a blob comes in chunks, and then no more
  longer       a blob is longer than the manifest says, and so is its Content-Length
  shorter      a blob's Content-Length is a half of what it has
  packed       a blob says that it is packed by gzip
  wait         the first request for a blob is answered 429, with Retry-After: 2; FOLDER/waited has
               how many ms later it comes again
  wait-until   so, and Retry-After has the date of three seconds later
  token        a token is wanted, among challenges of other schemes; the user is u with the password p:w
  ftp          so, and it is to be asked for at ftp://
  far          so, and it is to be asked for at another host, over plain HTTP
  far6         so, and that host, too, is an IPv6 address: the other server's
  elsewhere-token  so, and it is to be asked for at the other server
  away         so, and blobs are at the other server, to be fetched and to be sent
  newline      so, and it has a line break and a header in it
  weak         so, and it is never good enough
  tags         2500 tags; only the Link leads to the next page, by a word of its own
  tags-away    so, and the Link leads to the other server
  tags-loop    each page's Link leads to the same page, whose tags are other ones
  million      1000001 tags
  FILE         the manifest is in FOLDER/FILE, and what it names as blobs is in FOLDER by its digest's letters
"""
import base64
import email.utils
import hashlib
import http.server
import json
import os
import socket
import ssl
import sys
import threading
import time
import urllib.parse

FOLDER = sys.argv[1]
PEM = sys.argv[2] if len(sys.argv) > 2 else None
SCHEME = "https" if PEM else "http"
LOCK, SEEN, REFUSED = threading.Lock(), set(), []
DISK = bytes(510) + b"\x55\xaa" + bytes(range(256)) * 4094
EMPTY = b"{}"
TOKENS = ("token", "away", "ftp", "far", "far6", "elsewhere-token", "newline", "weak")


def named(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": {
    "mediaType": "application/vnd.oci.empty.v1+json", "digest": named(EMPTY), "size": len(EMPTY)}, "layers": [
        {"mediaType": "application/octet-stream", "digest": named(DISK), "size": len(DISK)}]}).encode()
BLOBS = {named(EMPTY): EMPTY, named(DISK): DISK}


def read(name):
    try:
        with open(FOLDER + "/" + name, "rb") as f:
            return f.read()
    except OSError:
        return None


def denied():
    """What the other server answers; 0: as always."""
    mode = (read("mode") or b"").decode().strip()
    return int(mode[7:]) if mode.startswith("denied-") else 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    other = ""
    log = "log"

    def write_log(self):
        shown = " cert" if PEM and self.connection.getpeercert() else ""
        evil = "X-Evil\n" if self.headers.get("X-Evil") else ""
        with LOCK, open(f"{FOLDER}/{self.log}", "a", encoding="utf-8") as f:
            f.write(f"{self.command} {self.path} {self.headers.get('Authorization', '-')}{shown}\n{evil}")

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass

    def answer(self, status, body=b"", length=None, **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.close_connection |= length is not None

    def first(self, mode):
        """Whether this path is asked for the first time in this mode."""
        with LOCK:
            new = (mode, self.path) not in SEEN
            SEEN.add((mode, self.path))
        return new

    def token(self, mode):
        """Whether it was answered."""
        given, here = self.headers.get("Authorization", ""), f"{SCHEME}://{self.headers['Host']}/token"
        if self.path.startswith("/token"):
            good = given == "Basic " + base64.b64encode(b"u:p:w").decode()
            text = {"token": "a\r\nX-Evil: b" if mode == "newline" else "good"}
            self.answer(200 if good else 401, json.dumps(text).encode())
            return True
        if given == "Bearer good" and mode != "weak":
            return False
        realm = {"ftp": "ftp://127.0.0.1/token", "far": "http://localhost@far.invalid/token",
                 "far6": f"http://[::ffff:127.0.0.1]:{Handler.other.rpartition(':')[2]}/token",
                 "elsewhere-token": f"{SCHEME}://{Handler.other}/token"}.get(mode, here)
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Negotiate, Digest realm="a, Bearer realm=\\"http://wrong/\\"",nonce="x", qop="auth,auth-int"')
        self.send_header("WWW-Authenticate", 'Basic realm="none"')
        self.send_header("WWW-Authenticate", f'BEARER service = "s" , realm="{realm}",scope="repository:a:pull repository:b/c:pull,push", error=insufficient_scope')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return True

    def tags(self, mode):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        if mode == "million":
            begin = int(query.get("last", ["t0"])[0][1:]) + 1
            page = [f"t{i}" for i in range(begin, min(begin + 1000, 1000002))]
            return self.answer(200, json.dumps({"tags": page}).encode())
        begin = int(query.get("word", ["0"])[0]) if mode != "tags-loop" else len(SEEN) * 1000
        SEEN.add(len(SEEN))
        page = [f"t{i}" for i in range(begin, min(begin + 1000, 2500) if mode != "tags-loop" else begin + 1000)]
        headers = {}
        if begin + 1000 < 2500 or mode == "tags-loop":
            host = f"http://{Handler.other}" if mode == "tags-away" else ""
            headers["Link"] = f'<{host}{self.path.partition("?")[0]}?word={begin + 1000}>; rel="next"'
        elif "word" not in query:
            page = [] if "last" in query else page
        return self.answer(200, json.dumps({"tags": page}).encode(), **headers)

    def blob(self, mode, data):
        half = len(data) // 2
        if mode == "file":
            self.answer(307, Location="file:///etc/passwd")
        elif mode in ("elsewhere", "away") or mode.startswith("denied"):
            user = "x:y@" if mode == "elsewhere" else ""
            self.answer(307, Location=f"{SCHEME}://{user}{Handler.other}{self.path}")
        elif mode == "chunked" and len(data) > 1000:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n" % half + data[:half])
            self.close_connection = True
        elif mode == "longer" and len(data) > 1000:
            self.answer(200, data + data)
        elif mode == "shorter" and len(data) > 1000:
            self.answer(200, data[:half])
        elif mode == "packed":
            self.answer(200, data, Content_Encoding="gzip")
        elif mode in ("wait", "wait-until") and self.first(mode):
            REFUSED.append(time.monotonic())
            date = email.utils.formatdate(time.time() + 3, usegmt=True)
            self.answer(429, Retry_After="2" if mode == "wait" else date)
        else:
            if REFUSED:
                with open(FOLDER + "/waited", "w", encoding="ascii") as f:
                    f.write(f"{(time.monotonic() - REFUSED.pop()) * 1000:.0f}")
            self.answer(200, data)

    def do_GET(self):  # pylint: disable=invalid-name
        mode = (read("mode") or b"").decode().strip()
        self.write_log()
        if mode in TOKENS and self.token(mode):
            return
        if mode == "headers":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while True:
                self.wfile.write(b"X: y\r\n" * 1000)
        if mode == "early":
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </v2/>; rel=preload\r\n\r\n" * 100)
        version = self.path.rpartition("/")[2]
        if mode == "loop" and self.path != "/v2/":
            self.answer(302, Location=self.path)
        elif "/tags/" in self.path:
            self.tags(mode)
        elif "/manifests/" in self.path:
            data = read(version[7:] if version.startswith("sha256:") else mode or "none")
            data = MANIFEST if data is None else data
            self.answer(200, data, Content_Type="application/vnd.oci.image.manifest.v1+json")
        elif "/blobs/" in self.path:
            data = BLOBS.get(version) or read(version[7:])
            self.answer(404) if data is None else self.blob(mode, data)
        else:
            self.answer(200)

    do_HEAD = do_GET

    def do_PUT(self):  # pylint: disable=invalid-name
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.write_log()
        if self.log == "log" and not denied() and self.token("away"):
            return
        if self.log == "other" and denied():
            self.answer(denied())
        elif self.command == "POST":
            self.answer(202, Location=f"{SCHEME}://{Handler.other}/upload")
        else:
            self.answer(201)

    do_POST = do_PUT


class Other(Handler):
    log = "other"

    def do_GET(self):  # pylint: disable=invalid-name
        self.write_log()
        if denied():
            self.answer(denied(), b'{"errors": [{"message": "no, said the storage"}]}')
        elif self.path.startswith("/token"):
            self.answer(200, b'{"token": "good"}')
        else:
            self.answer(200, BLOBS.get(self.path.rpartition("/")[2], b""))

    do_HEAD = do_GET


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *args):
        super().__init__(*args)
        if not PEM:
            return
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=PEM)
        tls.load_cert_chain(PEM)
        tls.verify_mode = ssl.CERT_OPTIONAL
        self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request, client_address):
        pass


class Server6(Server):
    address_family = socket.AF_INET6


def serve6():
    """Its port."""
    try:
        server = Server6(("::1", 0), Handler)
    except OSError:
        return 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


os.makedirs(FOLDER, exist_ok=True)
other, main = Server(("127.0.0.1", 0), Other), Server(("127.0.0.1", 0), Handler)
Handler.other = f"127.0.0.1:{other.server_address[1]}"
threading.Thread(target=other.serve_forever, daemon=True).start()
print(main.server_address[1], Handler.other, serve6(), flush=True)
main.serve_forever()
