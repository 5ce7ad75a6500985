# SPDX-License-Identifier: MIT
"""The client of the loss tests (tests/loss): every way to lose a request is seen and named.

Its server is a script of this file: for each connection a function that answers well or misbehaves.
"""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

import harness

LOSS = os.path.join(harness.BUILDDIR, "tests", "loss", "loss")
LOST = ("refused", "reset_before", "reset_inside", "timeout", "bad")
ONE = ("--keep-alive", "1", "--close", "0", "--slow", "0")


class Connection:
    """One connection of the scripted server."""

    def __init__(self, sock, number):
        """number counts the connections from 0."""
        self.sock, self.number, self.pieces, self._rest = sock, number, 0, b""
        sock.settimeout(harness.stretched(10))

    def ask(self):
        """The next request as (path, body); None at the end."""
        self.pieces = 0
        data = self._rest
        while b"\r\n\r\n" not in data:
            data = self._more(data)
            if data is None:
                return None
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        length = int(length.group(1)) if length else 0
        while len(body) < length:
            body = self._more(body)
        self._rest = body[length:]
        return head.split()[1].decode(), body[:length]

    def _more(self, data):
        """data and what comes next; None at the end."""
        more = self.sock.recv(65536)
        self.pieces += 1
        return data + more if more else None

    def answer(self, path, token=None, size=None, status="200 OK", headers="", cut=None,
               more=""):
        """The right answer, but for what is given; cut: only so many bytes; more: after it."""
        token = token or re.search(r"token=([^&]*)", path).group(1)
        wanted = int(re.search(r"size=(\d+)", path).group(1))
        size = wanted if size is None else size
        body = ((token + "\n") * (size // len(token) + 1))[:size]
        head = "HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n" % (status, size, headers)
        text = head + body + more
        self.sock.sendall(text.encode()[:cut])

    def reset(self):
        """Ends it the hard way."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Script:
    """A server that runs a function for each connection in a thread of its own."""

    def __init__(self, function, path=None, backlog=100):
        """path: of a unix socket."""
        self.function, self.connections = function, 0
        self.sock = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self.sock.bind(("\0" + path[1:] if path[0] == "@" else path) if path else ("127.0.0.1", 0))
        # The kernel would soon hold a whole answer; inherited by each connection.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        self.sock.listen(backlog)
        self.target = "unix:" + path if path else "127.0.0.1:%d" % self.sock.getsockname()[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self):
        """Accepts from now on."""
        self._thread.start()
        return self

    def __exit__(self, *exc):
        """Ends."""
        self._stop.set()
        self._thread.join()
        self.sock.close()

    def _accept(self):
        """Until told to stop."""
        self.sock.settimeout(0.05)
        while not self._stop.is_set():
            try:
                sock, _ = self.sock.accept()
            except socket.timeout:
                continue
            conn = Connection(sock, self.connections)
            self.connections += 1
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn):
        """One connection."""
        try:
            self.function(conn)
        except OSError:
            pass
        finally:
            conn.sock.close()


def good(conn):
    """Serves as it should."""
    while True:
        asked = conn.ask()
        if asked is None:
            return
        conn.answer(asked[0])


def each(action):
    """A script that takes one request from each connection and does something with it."""
    def script(conn):
        """As made."""
        asked = conn.ask()
        if asked is not None:
            action(conn, asked[0])
    return script


class Client(unittest.TestCase):
    """Outcomes."""

    def loss(self, target, *words, seconds="300ms"):
        """Runs the client; its counts by kind."""
        code, out, err = harness.run(LOSS, "--json", "--seconds", seconds, *(words + (target,)))
        self.assertEqual(code, 0, err)
        self.notes = err
        return json.loads(out)

    def count(self, script, *words, **kw):
        """The total of a run of a single keep-alive conversation against a script."""
        with Script(script) as server:
            total = self.loss(server.target, *(ONE + words), **kw)["total"]
            self.connections = server.connections
        outcomes = sum(total[name] for name in LOST) + total["ok"]
        self.assertEqual(outcomes, total["requests"], total)
        self.assertGreater(total["requests"], 0)
        return total

    def all_in(self, name, total):
        """Every request ended in that counter, and each was told."""
        self.assertEqual(total[name], total["requests"], total)
        self.assertIn(name + ":", self.notes)

    def test_good(self):
        """Three kinds at once, nothing lost; connections are kept, or not."""
        with Script(good) as server:
            kinds = self.loss(server.target, "--keep-alive", "3", "--close", "2", "--slow", "2")
        self.assertEqual(kinds["total"]["ok"], kinds["total"]["requests"], kinds)
        self.assertEqual(kinds["keep_alive"]["connects"], 3)
        self.assertEqual(kinds["close"]["connects"], kinds["close"]["requests"])
        self.assertEqual(kinds["slow"]["connects"], 2)
        self.assertEqual(self.notes, "")
        for name in ("requests", "ok", "connects"):
            self.assertEqual(kinds["total"][name], sum(
                kinds[kind][name] for kind in ("keep_alive", "close", "slow")))

    def test_unix(self):
        """A path, a name without one, and a queue that is full for a while."""
        with tempfile.TemporaryDirectory() as folder:
            for path in (folder + "/sock", "@preforkd-loss-%d" % os.getpid()):
                with Script(good, path) as server:
                    total = self.loss(server.target)["total"]
                self.assertEqual(total["ok"], total["requests"], total)
            with Script(each(lambda conn, path: time.sleep(0.01) or conn.answer(path)),
                        folder + "/full", backlog=0) as server:
                total = self.loss(server.target, "--keep-alive", "0", "--close", "40",
                                  "--slow", "0", "--gap", "0")["total"]
            self.assertEqual(total["ok"], total["requests"], total)
            total = self.loss("unix:%s/none" % folder, *ONE)["total"]
            self.all_in("refused", total)

    def test_refused(self):
        """Nobody listens."""
        total = self.loss("127.0.0.1:%d" % harness.free_port(), *ONE)["total"]
        self.all_in("refused", total)

    def test_reset_before(self):
        """The end of the connection, soft or hard, in place of an answer."""
        self.all_in("reset_before", self.count(each(lambda conn, path: None)))
        self.all_in("reset_before", self.count(each(lambda conn, path: conn.reset())))

    def test_reset_inside(self):
        """Within the head, within the body."""
        self.all_in("reset_inside", self.count(each(lambda conn, path: conn.answer(path, cut=9))))
        self.all_in("reset_inside", self.count(
            each(lambda conn, path: conn.answer(path, cut=-1)), "--size", "500"))

    def test_timeout(self):
        """No answer."""
        total = self.count(each(lambda conn, path: conn.ask()), "--timeout", "100ms")
        self.all_in("timeout", total)

    def test_bad(self):
        """Complete, but not what was asked for."""
        def crossed(conn, path):
            """One byte of the last token is another one's."""
            token = re.search(r"token=([^&]*)", path).group(1)
            conn.answer(path, token[:-1] + ("0" if token[-1] != "0" else "1"))
        for wrong in (crossed, lambda conn, path: conn.answer(path, status="503 No"),
                      lambda conn, path: conn.answer(path, size=1000),
                      lambda conn, path: conn.answer(path, more="x"),
                      lambda conn, path: conn.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n"),
                      lambda conn, path: conn.sock.sendall(b"x" * 5000)):
            self.all_in("bad", self.count(each(wrong), "--size", "500"))

    def test_unasked(self):
        """Bytes that nobody asked for are no answer to the next request."""
        def twice(conn, path):
            """An answer too many."""
            conn.answer(path)
            conn.answer(path)
            conn.ask()
        total = self.count(each(twice), "--gap", "50ms")
        self.assertGreater(total["bad"], 0, total)

    def test_close_is_obeyed(self):
        """After Connection: close nothing more is sent."""
        asked = []

        def script(conn):
            """Looks for more than one request."""
            conn.answer(conn.ask()[0], headers="Connection: close\r\n")
            conn.sock.settimeout(0.1)
            try:
                asked.append(conn.ask())
            except socket.timeout:
                asked.append(None)
        total = self.count(script, "--gap", "0")
        self.assertEqual(total["ok"], total["requests"])
        self.assertEqual(total["connects"], total["requests"])
        self.assertEqual(set(asked), {None})
        self.assertEqual(total["closed_early"], 0)

    LONG = ("--gap", "1ms", "--drain-idle", "100ms", "--long-share", "100%", "--long-gap", "300ms")

    def test_idle_closed_in_gap(self):
        """Closed when drain-idle was over: counted apart, the request is fine."""
        def script(conn):
            """Waits for longer than drain-idle."""
            conn.answer(conn.ask()[0])
            conn.sock.settimeout(0.15)
            conn.ask()
        total = self.count(script, *self.LONG, seconds="800ms")
        self.assertEqual(total["ok"], total["requests"], total)
        self.assertIn(total["requests"] - total["idle_closed"], (0, 1), total)
        self.assertEqual(total["closed_early"], 0)

    def test_idle_closed_when_asked(self):
        """The end in place of an answer after a long gap: asked again, once."""
        def script(conn):
            """Answers one request."""
            conn.answer(conn.ask()[0])
            conn.ask()
            conn.reset()
        total = self.count(script, *self.LONG, seconds="800ms")
        self.assertEqual(total["ok"], total["requests"], total)
        self.assertEqual(total["idle_closed"], total["requests"] - 1, total)

    def test_retried_once(self):
        """The second connection ends, too: lost."""
        def script(conn):
            """Answers on the first connection only, and only once."""
            asked = conn.ask()
            if conn.number == 0:
                conn.answer(asked[0])
                conn.ask()
        total = self.count(script, *self.LONG, seconds="1s")
        self.assertEqual((total["ok"], total["idle_closed"]), (1, 1), total)
        self.assertEqual(total["reset_before"], total["requests"] - 1)

    def test_closed_early(self):
        """Closed in a short gap: no request is lost, but it is counted."""
        def script(conn):
            """Closes soon."""
            conn.answer(conn.ask()[0])
        total = self.count(script, "--gap", "300ms", seconds="1s")
        self.assertEqual(total["ok"], total["requests"], total)
        self.assertIn(total["requests"] - total["closed_early"], (0, 1), total)
        self.assertEqual(total["idle_closed"], 0)
        self.assertIn("closed_early:", self.notes)

    def test_short_gap_is_no_excuse(self):
        """The end in place of an answer after a short gap: lost."""
        def script(conn):
            """Answers one request."""
            conn.answer(conn.ask()[0])
            conn.ask()
        total = self.count(script, "--gap", "20ms")
        self.assertEqual(total["reset_before"] + total["ok"], total["requests"], total)
        self.assertGreaterEqual(total["reset_before"], total["ok"] - 1)
        self.assertEqual(total["idle_closed"] + total["closed_early"], 0)

    def test_slow(self):
        """Requests come in pieces, some with a body; the answer is read slowly."""
        pieces, bodies, took = [], [], []

        def script(conn):
            """Measures."""
            while True:
                asked = conn.ask()
                if asked is None:
                    return
                pieces.append(conn.pieces)
                bodies.append(len(asked[1]))
                begun = time.monotonic()
                conn.answer(asked[0])
                took.append(time.monotonic() - begun)
        with Script(script) as server:
            kinds = self.loss(server.target, "--keep-alive", "0", "--close", "0", "--slow", "4",
                              "--slow-size", "300000", "--pause", "2ms:4ms", seconds="1s")
        self.assertEqual(kinds["slow"]["ok"], kinds["slow"]["requests"], kinds)
        self.assertGreater(sum(pieces) / len(pieces), 2)
        self.assertTrue(any(bodies) and not all(bodies), bodies)
        self.assertGreater(kinds["slow"]["p50_ms"], 300000 / 8192 * 2)
        self.assertGreater(min(took), 0.02, took)

    def test_work(self):
        """The application's work is asked for, and no part of the latency."""
        asked = []

        def script(conn):
            """Does what it is asked for."""
            while True:
                got = conn.ask()
                if got is None:
                    return
                asked.append(got[0])
                time.sleep(int(re.search(r"ms=(\d+)", got[0]).group(1)) / 1000)
                conn.answer(got[0])
        with Script(script) as server:
            total = self.loss(server.target, *(ONE + ("--work", "50ms:60ms", "--work-share",
                                                      "100%")))["total"]
        self.assertTrue(all(path.startswith("/slow?") for path in asked), asked[:3])
        self.assertLess(total["p50_ms"], 40)

    def test_signal(self):
        """SIGTERM ends it after what was begun."""
        answers = threading.Event()

        def script(conn):
            """Slow enough that something is always under way."""
            while True:
                asked = conn.ask()
                if asked is None:
                    return
                time.sleep(0.02)
                conn.answer(asked[0])
                answers.set()
        with Script(script) as server:
            client = subprocess.Popen([LOSS, "--json", "--seconds", "1h", server.target],
                                      stdout=subprocess.PIPE, universal_newlines=True)
            self.assertTrue(answers.wait(harness.stretched(10)))
            client.send_signal(signal.SIGTERM)
            out, _ = client.communicate(timeout=harness.stretched(10))
        self.assertEqual(client.returncode, 0)
        total = json.loads(out)["total"]
        self.assertEqual(total["ok"], total["requests"], total)

    def test_usage(self):
        """Mistakes are told with 2."""
        for words in ([], ["nowhere"], ["127.0.0.1:0"], ["--gap", "2s", "127.0.0.1:1"],
                      ["--gap", "2ms:1ms", "127.0.0.1:1"], ["--long-share", "101%", "127.0.0.1:1"],
                      ["--long-share", "1%", "--long-gap", "1s", "127.0.0.1:1"],
                      ["--keep-alive", "0", "--close", "0", "--slow", "0", "127.0.0.1:1"],
                      ["--seconds", "x", "127.0.0.1:1"], ["--unknown", "127.0.0.1:1"]):
            code, out, err = harness.run(LOSS, *words)
            self.assertEqual((code, out), (2, ""), words)
            self.assertIn("Usage:", err)


if __name__ == "__main__":
    harness.main()
