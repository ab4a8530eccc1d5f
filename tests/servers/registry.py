#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""registry.py UPSTREAM FOLDER: a registry that misbehaves, in front of one that does not.

Prints its port. Passes every request on to UPSTREAM (HOST:PORT) and writes a line a request, "METHOD PATH STATUS
AUTHORIZATION", to FOLDER/log. What it does wrong is in FOLDER/mode:

  corrupt      a byte of each large blob is another one
  config       so, and of each small one, in their place
  short        of each large blob only the first half comes, with the length of the whole, always
  cut          so the first two times
  hang         half of each large blob comes, and no more; FOLDER/hangs is then made
  swap         a manifest asked for by digest is another one
  busy         of four requests for one thing the first is answered 429, the second 503
  redirect     blobs are at another port, which writes a line a request to FOLDER/other
  evil         everything is refused, in words with terminal commands
  token        each wants a token of /token, for which the user is u with the password p:w; a token is good for five requests
  raced        the PUT of a blob is done and answered 400, as if another had sent it meanwhile
  bomb         the manifest is 5 MiB
  whole        what sends a blob in chunks is answered 405
  chunks       a blob of more than a kilobyte that comes as a whole is answered 413
  small        so, and a chunk of more than 4 MiB is answered 416
  located      as chunks, and upload addresses are relative, without a protocol, or absolute, all with a query and a fragment
  resume       the connection breaks in the middle of the first blob that is sent as a whole, and of the first chunk; what
               came is kept (in these five modes, this server has the upload sessions)
"""
import base64
import http.client
import http.server
import json
import os
import sys
import threading

LARGE = 20000  # bytes: a layer, not a config
UPLOADS = ("whole", "chunks", "small", "located", "resume")
UPSTREAM, FOLDER = sys.argv[1], sys.argv[2]
LOCK, STATE = threading.Lock(), {"n": 0, "tries": {}, "cuts": 0, "tokens": {}, "sessions": {}, "broke": set()}


def mode():
    try:
        with open(FOLDER + "/mode", encoding="ascii") as f:
            return f.read().strip()
    except FileNotFoundError:
        return ""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    other = 0

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass

    def note(self, status, name="log"):
        with LOCK, open(FOLDER + "/" + name, "a", encoding="utf-8") as f:
            f.write(f"{self.command} {self.path} {status} {self.headers.get('Authorization', '-')}\n")

    def reply(self, status, headers, body=b"", length=None):
        self.note(status)
        self.send_response(status)
        for key, value in headers:
            if key.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if length is not None and length != len(body) and self.command != "HEAD":
            self.close_connection = True

    def refuse_first(self, now):
        """Whether the request was answered here."""
        with LOCK:
            key = (self.command, self.path)
            tries = STATE["tries"][key] = STATE["tries"].get(key, 0) + 1
        if now == "evil":
            text = json.dumps({"errors": [{"code": "DENIED", "message": "\x1b[2Jgo away"}]}).encode()
            self.reply(403, [("Content-Type", "application/json")], text)
        elif now == "busy" and tries % 4 == 1:
            self.reply(429, [("Retry-After", "0")])
        elif now == "busy" and tries % 4 == 2:
            self.reply(503, [])
        elif now == "bomb" and "/manifests/" in self.path:
            self.reply(200, [], b" " * (5 << 20))
        elif now == "redirect" and self.command == "GET" and "/blobs/" in self.path:
            self.reply(307, [("Location", f"http://127.0.0.1:{Handler.other}{self.path}")])
        elif now == "token":
            return self.want_token()
        else:
            return False
        return True

    def want_token(self):
        if self.path.startswith("/token"):
            given = self.headers.get("Authorization", "")
            if given != "Basic " + base64.b64encode(b"u:p:w").decode():
                self.reply(401, [])
                return True
            token = f"t{len(STATE['tokens'])}"
            STATE["tokens"][token] = 5
            self.reply(200, [("Content-Type", "application/json")], json.dumps({"token": token}).encode())
            return True
        token = self.headers.get("Authorization", "")[len("Bearer "):]
        with LOCK:
            left = STATE["tokens"].get(token, 0)
            STATE["tokens"][token] = max(left - 1, 0)
        if left:
            return False
        realm = f"http://127.0.0.1:{self.server.server_address[1]}/token"
        challenge = f'Basic realm="a, Bearer b", Bearer realm="{realm}",service="s",scope="repository:x:pull,push"'
        self.reply(401, [("WWW-Authenticate", challenge)])
        return True

    def location(self, now, path):
        if now != "located":
            return path
        with LOCK:
            STATE["n"] += 1
        host = self.headers["Host"]
        before = (path.rpartition("/")[2], f"//{host}{path}", f"http://x:y@{host}{path}")[STATE["n"] % 3]
        return before + "?state=a%2Bb#part"

    def upload(self, now, length):
        """An upload with sessions of this server's own; the whole blob goes up when it is here."""
        sessions, path = STATE["sessions"], self.path.partition("?")[0]
        if self.command == "POST":
            with LOCK:
                path += f"s{len(sessions)}"
                sessions[path] = b""
            return self.reply(202, [("Location", self.location(now, path))])
        have = sessions[path]
        if self.command == "DELETE":
            return self.reply(204, [])
        if self.command == "GET":
            return self.reply(204, [("Location", self.location(now, path)), ("Range", f"0-{max(len(have) - 1, 0)}")])
        chunk = self.command == "PATCH"
        limit = 4 << 20 if chunk and now == "small" else 1 << 30 if chunk or now in ("whole", "resume") else 1024
        if length > limit or (chunk and now == "whole"):
            self.close_connection = True
            return self.reply(405 if now == "whole" else 416 if chunk else 413, [])
        with LOCK:
            breaks = now == "resume" and length > 1024 and self.command not in STATE["broke"]
            STATE["broke"] |= {self.command} if breaks else set()
        if chunk and self.headers["Content-Range"] != f"{len(have)}-{len(have) + length - 1}":
            return self.reply(416, [])
        have = sessions[path] = have + self.rfile.read(length // 2 if breaks else length)
        if breaks:
            self.note("breaks")
            self.connection.shutdown(2)
            self.close_connection = True
            return None
        if chunk:
            return self.reply(202, [("Location", self.location(now, path)), ("Range", f"0-{len(have) - 1}")])
        up = http.client.HTTPConnection(UPSTREAM, timeout=60)
        up.request("POST", path[:path.rindex("/") + 1])
        got = up.getresponse()
        got.read()
        digest = self.path.rpartition("digest=")[2]
        up.request("PUT", got.getheader("Location") + "&digest=" + digest, have, {"Content-Type": "application/octet-stream"})
        got = up.getresponse()
        data = got.read()
        up.close()
        return self.reply(got.status, got.getheaders(), data)

    def handle_all(self):
        now, body = mode(), b""
        length = int(self.headers.get("Content-Length") or 0)
        if now in UPLOADS and "/blobs/uploads/" in self.path:
            self.upload(now, length)
            return
        if length:
            body = self.rfile.read(length)
        if self.refuse_first(now):
            return
        up = http.client.HTTPConnection(UPSTREAM, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection", "authorization")}
        headers["Host"] = self.headers["Host"]
        up.request(self.command, self.path, body if length else None, headers)
        got = up.getresponse()
        data, fields = got.read(), got.getheaders()
        up.close()
        self.spoil(now, got, data, fields)

    def spoil(self, now, got, data, fields):
        blob = self.command == "GET" and "/blobs/" in self.path and got.status in (200, 206)
        if blob and now == ("corrupt" if len(data) > LARGE else "config") and data:
            data = data[:-1] + bytes([data[-1] ^ 1])
        if now == "swap" and "/manifests/sha256:" in self.path and data:
            data = data.replace(b'"schemaVersion": 2', b'"schemaVersion":  2').replace(b'":2', b'": 2')
        with LOCK:
            STATE["cuts"] += now == "cut" and blob and len(data) > LARGE
            cut = now == "short" or (now == "cut" and STATE["cuts"] <= 2)
        if blob and cut and len(data) > LARGE:
            self.reply(got.status, fields, data[:len(data) // 2], len(data))
        elif now == "hang" and blob and len(data) > LARGE:
            self.reply(got.status, fields, data[:len(data) // 2], len(data))
            self.wfile.flush()
            with open(FOLDER + "/hangs", "w", encoding="ascii"):
                pass
            threading.Event().wait(600)
        elif now == "raced" and self.command == "PUT" and "/blobs/" in self.path:
            self.reply(400, [])
        elif self.command == "HEAD":
            self.reply(got.status, fields, b"", int(dict(fields).get("Content-Length", 0)))
        else:
            self.reply(got.status, fields, data)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_all


class Other(Handler):
    """Where redirects lead."""

    def handle_all(self):
        self.note(200, "other")
        up = http.client.HTTPConnection(UPSTREAM, timeout=60)
        up.request("GET", self.path)
        got = up.getresponse()
        data = got.read()
        up.close()
        self.reply(got.status, [], data)

    do_GET = handle_all


other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other)
other.daemon_threads = True
Handler.other = other.server_address[1]
threading.Thread(target=other.serve_forever, daemon=True).start()
main = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
main.daemon_threads = True
print(main.server_address[1], flush=True)
os.makedirs(FOLDER, exist_ok=True)
main.serve_forever()
