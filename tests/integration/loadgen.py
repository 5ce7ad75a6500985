# SPDX-License-Identifier: MIT
"""Clients that count what becomes of every request; started by harness.Load.

argv[1] is the plan as JSON. Prints "started" after the first good answer and the number of good
answers whenever something comes on its stdin; when stdin ends, it ends and prints the counts as
JSON:
ok, refused (no connection), reset (connection broken before or within the answer), lost (a
kept-alive connection closed instead of answering; the client would have to guess whether to
send it again), timeout, bad (another status or body than expected), pids (who answered, when
the body is a pid), max_seconds, errors (some examples).
"""

import errno
import json
import os
import socket
import sys
import threading
import time


class Client(threading.Thread):
    """One client."""

    def __init__(self, plan, stop, started):
        """stop and started are events."""
        super().__init__(daemon=True)
        self.plan, self.stop, self.started = plan, stop, started
        self.counts = dict.fromkeys(("ok", "refused", "reset", "lost", "timeout", "bad"), 0)
        self.pids, self.errors, self.longest = {}, [], 0.0
        self.sock = None
        self.used = 0
        address = plan["address"]
        self.address = address if isinstance(address, str) else tuple(address)
        if isinstance(self.address, str) and self.address.startswith("@"):
            self.address = "\0" + self.address[1:]
        self.request = ("GET %s HTTP/1.1\r\nHost: test\r\n%s\r\n" % (
            plan["path"], "" if plan["keepalive"] else "Connection: close\r\n")).encode()

    def run(self):
        """Requests until told to stop."""
        while not self.stop.is_set():
            begun = time.monotonic()
            self.one()
            self.longest = max(self.longest, time.monotonic() - begun)
            if self.plan["pause"]:
                self.stop.wait(self.plan["pause"])
        self.close()

    def note(self, kind, why):
        """Counts a failure; keeps some examples."""
        self.counts[kind] += 1
        if len(self.errors) < 5:
            self.errors.append("%s: %s" % (kind, why))
        self.close()
        # A dead server must not turn the clients into a busy loop.
        self.stop.wait(0.02)

    def close(self):
        """The next request opens a new connection."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def is_closed(self):
        """Whether the server has ended the idle connection: seen before sending, no loss."""
        self.sock.setblocking(False)
        try:
            return self.sock.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.sock.settimeout(self.plan["timeout"])

    def connect(self):
        """A new connection."""
        family = socket.AF_UNIX if isinstance(self.address, str) else (
            socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET)
        sock = socket.socket(family)
        sock.settimeout(self.plan["timeout"])
        try:
            sock.connect(self.address)
        except BaseException:
            sock.close()
            raise
        self.sock, self.used = sock, 0

    def one(self):
        """One request."""
        if self.sock is not None and self.is_closed():
            self.close()
        if self.sock is None:
            try:
                self.connect()
            except socket.timeout:
                return self.note("timeout", "connect")
            except OSError as e:
                if e.errno == errno.ECONNRESET:
                    return self.note("reset", e)
                return self.note("refused", e)
        reused, got = self.used > 0, [b""]
        try:
            self.sock.sendall(self.request)
            status, body, keep = self.answer(got)
        except socket.timeout:
            return self.note("timeout", "answer")
        except (OSError, ValueError, EOFError) as e:
            if reused and not got[0]:
                return self.note("lost", repr(e))
            return self.note("bad" if isinstance(e, ValueError) else "reset", repr(e))
        self.used += 1
        if not keep or not self.plan["keepalive"]:
            self.close()
        expect = self.plan["expect"]
        if status != 200 or (expect is not None and body.decode() != expect):
            return self.note("bad", "%d %r" % (status, body[:100]))
        self.counts["ok"] += 1
        if body.isdigit() and len(body) < 10:
            self.pids[int(body)] = self.pids.get(int(body), 0) + 1
        self.started.set()
        return None

    def answer(self, got):
        """(status, body, whether the connection stays). got[0] is what was read."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError("closed after %d bytes of the head" % len(data))
            data += more
            got[0] = data
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        version, status = lines[0].split(" ")[0:2]
        headers = dict((k.strip().lower(), v.strip()) for k, _, v in
                       (line.partition(":") for line in lines[1:]))
        keep = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while not body.endswith(b"0\r\n\r\n"):
                body = self.more(body)
            return int(status), self.dechunk(body), keep
        if "content-length" in headers:
            while len(body) < int(headers["content-length"]):
                body = self.more(body)
            return int(status), body, keep
        while True:
            more = self.sock.recv(65536)
            if not more:
                return int(status), body, False
            body += more

    def more(self, body):
        """The body with one more piece; the end comes too early."""
        data = self.sock.recv(65536)
        if not data:
            raise EOFError("closed within the body")
        return body + data

    @staticmethod
    def dechunk(body):
        """The content of chunks."""
        out = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            n = int(size.split(b";")[0], 16)
            if n == 0:
                break
            out, body = out + body[:n], body[n + 2:]
        return out


def main():
    """See above."""
    plan = json.loads(sys.argv[1])
    stop, started = threading.Event(), threading.Event()
    clients = [Client(plan, stop, started) for _ in range(plan["clients"])]
    for client in clients:
        client.start()
    if not started.wait(plan["timeout"] * 2):
        print(json.dumps([c.errors for c in clients]))
        return
    print("started", flush=True)
    while os.read(0, 1024):
        print(sum(client.counts["ok"] for client in clients), flush=True)
    stop.set()
    for client in clients:
        client.join(plan["timeout"] + 5)
    total = {k: sum(c.counts[k] for c in clients) for k in clients[0].counts}
    total["pids"] = {}
    for client in clients:
        for pid, n in client.pids.items():
            total["pids"][pid] = total["pids"].get(pid, 0) + n
    total["max_seconds"] = round(max(c.longest for c in clients), 3)
    total["errors"] = [e for c in clients for e in c.errors][:10]
    print(json.dumps(total))


if __name__ == "__main__":
    main()
