#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Websockets and long streams during a drain: they get the grace to finish."""

import base64
import os
import struct
import time
import unittest

import fake_master
from stalls import elapsed
from support import Background, Case, KINDS, Kind, connect, get, main, missing

TEXT, CLOSE, PING = 1, 8, 9


class WebSocket:
    """A client after RFC 6455, without extensions and fragments."""

    def __init__(self, address):
        """Opens it."""
        self.sock = connect(address)
        key = base64.b64encode(os.urandom(16)).decode()
        self.sock.sendall((
            "GET /socket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n"
            % key).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.sock.recv(1)
            if not byte:
                raise AssertionError("answer %r" % head)
            head += byte
        self.head = head.decode()
        if " 101 " not in self.head.split("\r\n")[0]:
            raise AssertionError("answer %r" % head)

    def send(self, opcode, data):
        """One masked frame of less than 126 bytes."""
        mask = os.urandom(4)
        self.sock.sendall(bytes([0x80 | opcode, 0x80 | len(data)]) + mask + bytes(
            byte ^ mask[i % 4] for i, byte in enumerate(data)))

    def _read(self, count):
        """So many bytes."""
        data = b""
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            if not part:
                raise AssertionError("the connection ends without a close frame")
            data += part
        return data

    def receive(self):
        """The next frame that is no ping: (opcode, data)."""
        while True:
            first, length = self._read(2)
            if length == 126:
                length = struct.unpack("!H", self._read(2))[0]
            data = self._read(length)
            if first & 15 != PING:
                return first & 15, data

    def ask(self, text):
        """What the echo says."""
        self.send(TEXT, text.encode())
        opcode, data = self.receive()
        return opcode, data.decode("utf-8", "replace")

    def close_code(self):
        """Waits for the close frame, answers it, and reads to the end: the code."""
        opcode, data = self.receive()
        if opcode != CLOSE:
            raise AssertionError("frame %d, %r" % (opcode, data))
        try:
            self.send(CLOSE, data[:2])
            while self.sock.recv(100):
                pass
        except OSError:
            # Who has said the last word may close without listening.
            pass
        self.sock.close()
        return struct.unpack("!H", data[:2])[0]


class Streams:
    """One kind of server."""

    def open(self, **settings):
        """A worker and a websocket of it."""
        worker = self.worker(drain_idle=0.3, **settings)
        worker.ready()
        websocket = WebSocket(worker.address)
        self.addCleanup(websocket.sock.close)
        self.assertEqual(websocket.ask("hello"), (TEXT, "hello"))
        return worker, websocket

    def test_connections(self):
        """Each is told of, although it is no request: when it comes and when it goes."""
        worker, first = self.open()
        worker.wait_for(lambda w: w.last("CONNECTIONS") == "1", "CONNECTIONS=1")
        second = WebSocket(worker.address)
        self.addCleanup(second.sock.close)
        worker.wait_for(lambda w: w.last("CONNECTIONS") == "2", "CONNECTIONS=2")
        for websocket in (first, second):
            websocket.send(TEXT, b"bye")
            self.assertEqual(websocket.close_code(), 1000)
        worker.wait_for(lambda w: w.last("CONNECTIONS") == "0", "CONNECTIONS=0")
        self.assertIn(worker.last("REQUESTS"), ("0", None))

    def test_finishes(self):
        """An open websocket works on while the worker drains, and its end ends the worker."""
        worker, websocket = self.open(beat=0.1)
        worker.drain(10)
        stopping = worker.wait_for(lambda w: w.first("STOPPING"), "STOPPING")
        worker.wait_beats(10, stopping["_time"])
        self.assertEqual(websocket.ask("still here"), (TEXT, "still here"))
        websocket.send(TEXT, b"bye")
        begin = time.monotonic()
        self.assertEqual(websocket.close_code(), 1000)
        self.assertEqual(worker.wait(), 0)
        self.assertLess(elapsed(begin), 3)

    def test_service_restart(self):
        """One that stays open is closed with 1012 shortly before the end of the grace."""
        worker, websocket = self.open()
        begin = time.monotonic()
        worker.drain(3)
        self.assertEqual(websocket.close_code(), 1012)
        took = time.monotonic() - begin
        self.assertGreater(took, 1.8)
        self.assertEqual(worker.wait(), 0)
        self.assertLess(elapsed(begin), 4)
        self.assertIn("disconnect", worker.output())

    def test_silent_client(self):
        """A client that does not answer the close frame keeps nobody."""
        worker, websocket = self.open()
        begin = time.monotonic()
        worker.drain(2)
        self.assertEqual(worker.wait(), 0)
        self.assertLess(elapsed(begin), 3)
        self.assertEqual(websocket.close_code(), 1012)

    def test_announced(self):
        """CLOSE=1 is for responses; a new websocket is one no less."""
        worker = self.worker()
        worker.ready()
        worker.close_connections()
        worker.report(1)
        websocket = WebSocket(worker.address)
        self.addCleanup(websocket.sock.close)
        self.assertNotIn("connection: close", websocket.head.lower())
        self.assertEqual(websocket.ask("hello"), (TEXT, "hello"))
        websocket.send(TEXT, b"bye")
        self.assertEqual(websocket.close_code(), 1000)

    def test_stream(self):
        """A long response is finished, whatever drain-idle is."""
        worker = self.worker(drain_idle=0.2)
        worker.ready()
        slow = Background(get, worker.address, "/ticks?15")
        worker.wait_for(lambda w: w.last("BUSY") == "1", "BUSY=1")
        worker.drain(10)
        self.assertEqual(slow.result(), (200, "tick\n" * 15))
        self.assertEqual(worker.wait(), 0)


def _kinds():
    """The servers with each library for websockets."""
    found = []
    for kind in KINDS:
        if kind.kind != "asgi":
            continue
        if kind.name in ("uvicorn", "uvicorn_uvloop"):
            for ws in ("websockets", "wsproto", "websockets-sansio"):
                other = Kind("%s_%s" % (kind.name, ws.replace("-", "_")), "asgi", "uvicorn",
                             kind.needs + [ws.split("-")[0]], product="uvicorn",
                             server=dict(kind.server, ws=ws))
                if ws == "websockets-sansio":
                    other.needs.append("uvicorn.protocols.websockets.websockets_sansio_impl")
                found.append(other)
        else:
            found.append(kind)
    return found


for kind in _kinds():
    case = type("Streams_" + kind.name, (Streams, Case), {
        "kind": kind, "__module__": __name__, "__doc__": Streams.__doc__})
    lacking = missing(kind)
    if lacking is None and kind.name == "uvicorn_worker" and not any(
            fake_master.has_module(name) for name in ("websockets", "wsproto")):
        lacking = "a library for websockets"
    globals()[case.__name__] = unittest.skip("%s is not installed" % lacking)(case) \
        if lacking else case
    del case


if __name__ == "__main__":
    main()
