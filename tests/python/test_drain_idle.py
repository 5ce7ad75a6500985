#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Connections during a drain: idle ones get time, every response announces the end, none is cut."""

import http.client
import socket
import struct
import time

from fake_master import PATIENCE
from stalls import elapsed
from support import Case, connect, for_each_kind, main, until

# Settings that leave all decisions to drain-idle.
LONG = {"keepalive": 60}


class Kept(http.client.HTTPConnection):
    """One connection, which is never opened a second time."""

    auto_open = 0

    def __init__(self, address):
        """Connects at once."""
        super().__init__("localhost", timeout=PATIENCE)
        self.sock = connect(address)
        # http.client closes its own when the response was the last.
        self.raw = self.sock.dup()
        self.raw.settimeout(PATIENCE)

    def leave(self):
        """The client closes the connection."""
        self.close()
        self.raw.close()

    def begin(self, path="/"):
        """Sends a request."""
        self.request("GET", path)

    def finish(self):
        """Reads the answer: (status, text, value of Connection)."""
        response = self.getresponse()
        return (response.status, response.read().decode(),
                (response.getheader("Connection") or "").lower())

    def ask(self, path="/"):
        """Both."""
        self.begin(path)
        return self.finish()

    def ended(self):
        """True when the server has closed the connection; an error when it was reset."""
        return self.raw.recv(1) == b""


def queued(listener):
    """Connections that wait to be accepted."""
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return struct.unpack("B" * 8 + "I" * 24, info)[12]


class Idle:
    """Servers with kept-alive connections."""

    def kept(self, worker):
        """A connection with one request behind it."""
        client = Kept(worker.address)
        self.addCleanup(client.leave)
        status, _, connection = client.ask()
        self.assertEqual(status, 200)
        self.assertNotEqual(connection, "close")
        return client

    def draining(self, grace=10.0, **settings):
        """A worker that drains, one kept-alive connection, and when the drain began."""
        worker = self.worker(**dict(LONG, **settings))
        worker.ready()
        client = self.kept(worker)
        begin = time.monotonic()
        worker.drain(grace)
        worker.wait_for(lambda w: w.first("STOPPING"), "STOPPING")
        return worker, client, begin

    def assert_ends(self, worker, begin, least, most):
        """The worker ends by itself after so many seconds."""
        self.assertEqual(worker.wait(), 0, worker.output())
        self.assertGreaterEqual(time.monotonic() - begin, least)
        self.assertLess(elapsed(begin), most)

    def test_late_request(self):
        """A request near the end of drain-idle is answered, with the announcement of the end."""
        worker, client, begin = self.draining(drain_idle=1.5)
        time.sleep(1.0)
        self.assertEqual(client.ask(), (200, "hello", "close"))
        self.assertTrue(client.ended())
        self.assert_ends(worker, begin, 1.0, 3)
        self.assertEqual(worker.last("REQUESTS"), "2")

    def test_idle_ends(self):
        """A connection that stays idle is closed in the end, and not reset."""
        worker, client, begin = self.draining(drain_idle=0.6)
        self.assertTrue(client.ended())
        self.assertGreaterEqual(time.monotonic() - begin, 0.55)
        self.assert_ends(worker, begin, 0.55, 2.5)

    def test_none(self):
        """drain-idle = 0 closes idle connections at once."""
        worker, client, begin = self.draining(drain_idle=0)
        self.assertTrue(client.ended())
        self.assert_ends(worker, begin, 0, 2)

    def test_grace_first(self):
        """drain-idle longer than the grace: the grace counts, less a little."""
        worker, client, begin = self.draining(2.0, drain_idle=50)
        time.sleep(1.0)
        self.assertEqual(client.ask(), (200, "hello", "close"))
        self.assert_ends(worker, begin, 1.0, 2.8)

    def test_default(self):
        """Without the setting it is the server's keep-alive timeout."""
        worker, client, begin = self.draining(keepalive=1)
        self.assertTrue(client.ended())
        self.assert_ends(worker, begin, 0.5, 4)

    def test_nothing_left(self):
        """Nobody to wait for: the worker ends at once."""
        worker = self.worker(drain_idle=8, **LONG)
        worker.ready()
        self.kept(worker).leave()
        worker.requests(1)
        begin = time.monotonic()
        worker.drain(10)
        self.assert_ends(worker, begin, 0, 1.5)

    def test_client_leaves(self):
        """The last client leaves: the worker does not sit out its time."""
        worker, client, begin = self.draining(drain_idle=8)
        time.sleep(0.3)
        client.leave()
        self.assert_ends(worker, begin, 0.25, 1.8)

    def test_begun_before(self):
        """A response that has begun announces nothing, and its connection is idle after it."""
        worker = self.worker(drain_idle=1.2, **LONG)
        worker.ready()
        client = self.kept(worker)
        client.begin("/slow?1")
        response = client.getresponse()
        self.assertNotEqual((response.getheader("Connection") or "").lower(), "close")
        begin = time.monotonic()
        worker.drain(10)
        self.assertEqual(response.read(), b"hellohello")
        self.assertGreater(time.monotonic() - begin, 0.5)
        time.sleep(0.7)
        self.assertEqual(client.ask(), (200, "hello", "close"))
        self.assertTrue(client.ended())
        self.assert_ends(worker, begin, 1.5, 5)

    def test_head_after(self):
        """A request that came before, answered after the drain began: announced as the last."""
        if self.kind.name.startswith("gunicorn_asgi"):
            self.skipTest("decides when the request comes")
        worker = self.worker(drain_idle=5, **LONG)
        worker.ready()
        client = self.kept(worker)
        worker.requests(1)
        client.begin("/wait?0.7")
        worker.wait_for(lambda w: w.last("BUSY") == "1", "BUSY=1")
        begin = time.monotonic()
        worker.drain(10)
        self.assertEqual(client.finish(), (200, "hello", "close"))
        self.assertTrue(client.ended())
        self.assert_ends(worker, begin, 0.3, 3)

    def test_heartbeat(self):
        """A worker that waits for idle connections beats and counts."""
        worker, client, begin = self.draining(drain_idle=1.5, beat=0.1)
        worker.wait_beats(5, time.monotonic())
        self.assertLess(elapsed(begin), 1.4)
        client.begin()
        worker.wait_for(lambda w: w.last("REQUESTS") == "2", "REQUESTS=2")
        self.assertEqual(worker.wait(), 0)

    def test_pipeline(self):
        """Of two requests that come together none is answered by half."""
        worker, client, begin = self.draining(drain_idle=3)
        client.raw.sendall(b"GET /big?50000 HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        answers = 0
        # One reader for both: each may take in more than its own response.
        with client.raw.makefile("rb") as stream:
            while stream.readline().startswith(b"HTTP/1.1 200"):
                headers = http.client.parse_headers(stream)
                self.assertEqual(len(stream.read(int(headers["Content-Length"]))), 50000)
                answers += 1
                if (headers["Connection"] or "").lower() == "close":
                    break
        self.assertIn(answers, (1, 2))
        client.leave()
        self.assert_ends(worker, begin, 0, 3)

    def test_clients_linger(self):
        """Clients that do not close after the announced end keep nobody waiting."""
        worker = self.worker(drain_idle=3, **LONG)
        worker.ready()
        clients = [self.kept(worker) for _ in range(5)]
        begin = time.monotonic()
        worker.drain(10)
        worker.wait_for(lambda w: w.first("STOPPING"), "STOPPING")
        for client in clients:
            self.assertEqual(client.ask(), (200, "hello", "close"))
            self.assertTrue(client.ended())
        self.assert_ends(worker, begin, 0, 3)

    def test_unread_body(self):
        """An application that leaves a body unread: its answer arrives all the same."""
        if self.kind.kind == "asgi":
            self.skipTest("the application reads everything")
        worker = self.worker(drain_idle=3, **LONG)
        worker.ready()
        clients = [self.kept(worker) for _ in range(20)]
        worker.drain(10)
        worker.wait_for(lambda w: w.first("STOPPING"), "STOPPING")
        for client in clients:
            client.request("POST", "/", b"x" * 2000000)
            self.assertEqual(client.finish(), (200, "hello", "close"))
            client.leave()
        self.assertEqual(worker.wait(), 0)


for_each_kind(globals(), Idle, lambda kind: kind.keepalive)


class Stubborn:
    """Clients that would keep a worker for ever."""

    def test_within_grace(self):
        """Silent, half a head, half a body, an answer that nobody reads: the grace ends it all."""
        threads = {"threads": 6} if self.kind.pool else {}
        worker = self.worker(drain_idle=1, beat=0.2, **dict(LONG, **threads))
        worker.ready()
        for data in (b"", b"GET / HTT",
                     b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nfour",
                     b"GET /big?60000000 HTTP/1.1\r\nHost: x\r\n\r\n"):
            sock = connect(worker.address)
            self.addCleanup(sock.close)
            sock.sendall(data)
        worker.wait_for(lambda w: int(w.last("BUSY") or 0) >= 1, "BUSY")
        begin = time.monotonic()
        worker.drain(3)
        worker.wait_for(lambda w: w.first("STOPPING"), "STOPPING")
        worker.wait_beats(4)
        self.assertEqual(worker.wait(), 0)
        self.assertLess(elapsed(begin), 4)

    def test_half_a_head(self):
        """A request of which the drain saw a part is answered when the rest comes."""
        worker = self.worker(drain_idle=1, **LONG)
        worker.ready()
        sock = connect(worker.address)
        self.addCleanup(sock.close)
        sock.sendall(b"GET / HTTP/1.1\r\nHo")
        client = Kept(worker.address)
        self.addCleanup(client.leave)
        client.ask()
        client.leave()
        worker.requests(1)
        worker.drain(10)
        worker.wait_for(lambda w: w.first("STOPPING"), "STOPPING")
        time.sleep(0.7)
        sock.sendall(b"st: x\r\n\r\n")
        response = http.client.HTTPResponse(sock, method="GET")
        response.begin()
        self.assertEqual(response.read(), b"hello")
        self.assertEqual(worker.wait(), 0)


class Silent:
    """A client that connects and never asks."""

    def test_fresh(self):
        """It is waited for, but not until the end of the grace."""
        worker = self.worker(drain_idle=0.2, **LONG)
        worker.ready()
        sock = connect(worker.address)
        self.addCleanup(sock.close)
        if not self.kind.sync:
            # Whoever came later is served: the first one has been accepted.
            late = Kept(worker.address)
            late.ask()
            late.leave()
            worker.requests(1)
        else:
            until(lambda: not queued(worker.listeners[0]), "accept()")
        begin = time.monotonic()
        worker.drain(6)
        self.assertEqual(sock.recv(1), b"")
        self.assertGreater(time.monotonic() - begin, 2.9)
        self.assertEqual(worker.wait(), 0)
        self.assertLess(elapsed(begin), 5.2)


for_each_kind(globals(), Silent)


for_each_kind(globals(), Stubborn, lambda kind: not kind.sync)


class Closing:
    """CLOSE=1: every response is a connection's last, and serving goes on."""

    def test_close(self):
        """New connections and old ones, twice, then the drain."""
        worker = self.worker(drain_idle=5, **LONG)
        worker.ready()
        old = Kept(worker.address)
        self.addCleanup(old.leave)
        if self.kind.keepalive:
            self.assertNotEqual(old.ask()[2], "close")
        else:
            self.assertEqual(old.ask()[0], 200)
        worker.close_connections()
        until(lambda: self._is_last(worker), "the announcement")
        worker.close_connections()
        if self.kind.keepalive:
            self.assertEqual(old.ask(), (200, "hello", "close"))
        self.assertTrue(old.ended())
        for _ in range(3):
            self.assertTrue(self._is_last(worker))
        self.assertIsNone(worker.first("STOPPING"))
        begin = time.monotonic()
        worker.drain(10)
        self.assertEqual(worker.wait(), 0)
        self.assertLess(elapsed(begin), 2)

    def _is_last(self, worker):
        """A new connection: was its first response announced as the last?"""
        client = Kept(worker.address)
        try:
            client.begin()
            response = client.getresponse()
            self.assertEqual((response.status, response.read()), (200, b"hello"))
            named = (response.getheader("Connection") or "").lower()
            # HTTP/1.0 means it without saying it.
            last = named == "close" or (response.version == 10 and named != "keep-alive")
            return last and client.ended()
        finally:
            client.leave()

    def test_before_ready(self):
        """A worker that hears it while it boots has not forgotten it."""
        worker = self.worker(**LONG)
        worker.close_connections()
        worker.ready()
        until(lambda: self._is_last(worker), "the announcement")


for_each_kind(globals(), Closing)


class Together(Case):
    """Not for one server only."""

    def test_unknown(self):
        """Other values of CLOSE mean nothing."""
        worker = self.start("plain:app", worker_class="stdlib")
        worker.ready()
        worker.send("CLOSE=0\nFUTURE=1")
        worker.report(1)
        self.assertIsNone(worker.first("STOPPING"))


if __name__ == "__main__":
    main(parts=True)
