# SPDX-License-Identifier: MIT
"""Connections one by one, and what the tests of sockets share."""

import collections
import os
import select
import socket

import harness
from harness import wait_until

QUEUED = 50
REQUEST = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def connect(address):
    """A connection to an address of harness."""
    kind = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    sock = socket.socket(kind)
    sock.settimeout(harness.stretched(30))
    sock.connect("\0" + address[1:] if str(address).startswith("@") else address)
    return sock


def ask(address, path="/pid"):
    """A connection on which something was asked."""
    sock = connect(address)
    sock.sendall(REQUEST % path.encode())
    return sock


def answer(sock):
    """Status and body of the only response; ("lost", why) when there is none."""
    data = b""
    try:
        while True:
            part = sock.recv(65536)
            if not part:
                break
            data += part
    except OSError as exc:
        return "lost", repr(exc)
    finally:
        sock.close()
    head, _, body = data.partition(b"\r\n\r\n")
    return (head.split()[1].decode(), body.decode()) if body else ("lost", data)


def sockets_at(port):
    """Listening TCP sockets of a port, from /proc/net/tcp."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return sum(1 for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port)


class Case(harness.Case):
    """What the tests share."""

    def serve(self, balance, workers, **kw):
        """A master with stdlib workers, one request at a time each, unless kw says otherwise."""
        settings = dict(balance=balance, workers=workers, threads=1,
                        graceful_timeout="%ds" % harness.stretched(20))
        settings.update(kw)
        p = self.preforkd(**settings)
        p.wait_ready(workers)
        return p

    def occupy(self, p, workers):
        """Requests that keep all workers busy, one request at a time each, until release()."""
        self.release(p, False)
        busy = []
        for _ in range(workers * 20):
            busy.append(ask(p.address(), "/gate?" + p.path("gate")))
            # Where there is a queue for each worker it may wait behind another one.
            select.select([], [], [], 0.05)
            if sum(w["in_flight"] for w in p.workers()) >= workers:
                return busy
        wait_until(lambda: sum(w["in_flight"] for w in p.workers()) >= workers,
                   what="%d busy workers" % workers)
        return busy

    def release(self, p, go=True):
        """The busy workers get on, if nothing else keeps them."""
        if go:
            p.write("gate", "")
        elif os.path.exists(p.path("gate")):
            os.unlink(p.path("gate"))

    def check(self, connections):
        """All of them have got their answers."""
        got = collections.Counter(answer(sock)[0] for sock in connections)
        self.assertEqual(got, {"200": len(connections)})


def is_refused(address):
    """True when the kernel says no at once."""
    with socket.socket() as sock:
        sock.settimeout(0.1)
        try:
            sock.connect(address)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def is_accepting(path):
    """True when somebody listens at the path."""
    try:
        connect(path).close()
        return True
    except OSError:
        return False
