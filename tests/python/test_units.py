#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Modules of the launcher by themselves, in this very interpreter."""

import os
import socket
import subprocess
import sys
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "src", "python"))
sys.path.insert(0, os.path.join(HERE, "apps"))

from preforkd import agent, application, channel, errors, farewell, listeners  # noqa: E402
from preforkd import options, settings  # noqa: E402
from fake_master import unescape  # noqa: E402


class Escape(unittest.TestCase):
    """Texts in datagrams."""

    def test_round_trip(self):
        """What is escaped comes back; a line stays a line."""
        for text in ("", "plain", "two\nlines", "back\\slash", "\\n", "a\\\nb\\\\n", "\u20ac\n"):
            escaped = channel.escape(text)
            self.assertNotIn("\n", escaped)
            self.assertEqual(unescape(escaped), text)

    def test_control(self):
        """NUL and carriage return go; surrogates cannot break the encoding."""
        self.assertEqual(channel.escape("a\0b\r\n"), "ab\\n")
        self.assertEqual(channel.encode_text("\udc80"), b"\\udc80")

    def test_split(self):
        """Parts fit, and are the text."""
        texts = ["", "x", "line\n" * 3000, "y" * 9999, "\u20ac\\\n" * 4000,
                 "a\n" + "\udcff" * 5000 + "\nb", "\n" * 5000]
        for text in texts:
            for limit in (64, 1000, 4032):
                parts = channel.split_text(text, limit)
                self.assertEqual("".join(parts), text)
                for part in parts:
                    self.assertLessEqual(len(channel.encode_text(part)), limit)
                    self.assertTrue(part or not text)

    def test_parse(self):
        """Datagrams of the master."""
        self.assertEqual(channel.parse(b"A=1\nB=x=y\nrubbish\n=\n"), {"A": "1", "B": "x=y", "": ""})
        self.assertEqual(channel.parse(b"\xff=\xff"), {"\ufffd": "\ufffd"})


class Wire(unittest.TestCase):
    """The channel on a socketpair."""

    def setUp(self):
        """Both ends."""
        self.master, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(self.master.close)
        self.channel = channel.Channel(child.detach())
        self.addCleanup(self.channel.after_fork_in_child)

    def test_full(self):
        """A full channel refuses at once; with wait it gives up after a while."""
        count = 0
        while self.channel.send(b"x" * 1000):
            count += 1
            self.assertLess(count, 10000)
        self.assertFalse(self.channel.send("y"))
        self.assertFalse(self.channel.send("y", True))
        threading.Timer(0.1, self.master.recv, (4096,)).start()
        self.assertTrue(self.channel.send("y", True))

    def test_messages(self):
        """Several datagrams, a wake-up, and the end."""
        self.assertEqual(self.channel.wait(0), [])
        self.master.send(b"A=1")
        self.master.send(b"B=2\nC=3")
        self.assertEqual(self.channel.wait(1), [{"A": "1"}, {"B": "2", "C": "3"}])
        self.channel.wake()
        self.channel.wake()
        self.assertEqual(self.channel.wait(None), [])
        self.assertEqual(self.channel.wait(0), [])
        self.master.send(b"A=1")
        self.master.close()
        self.assertEqual(self.channel.wait(1), [{"A": "1"}, None])
        self.assertFalse(self.channel.send("x"))

    def test_burst(self):
        """A flood is read in portions."""
        for _ in range(40):
            self.master.send(b"A=1")
        self.assertEqual(len(self.channel.wait(1)), 16)
        self.assertEqual(len(self.channel.wait(1)), 16)
        self.assertEqual(len(self.channel.wait(1)), 8)

    def test_text(self):
        """A text that is too long is cut, not lost."""
        self.assertTrue(self.channel.send_text("ERROR", "head\n" + "x\\\n" * 5000))
        data = self.master.recv(8192)
        self.assertLessEqual(len(data), 4096)
        self.assertTrue(data.startswith(b"ERROR=head\\nx\\\\\\n"))

    def test_closed(self):
        """After a fork the child has no channel."""
        self.channel.after_fork_in_child()
        self.assertTrue(self.channel.send("x"))
        self.channel.wake()
        self.assertFalse(self.channel.is_open)
        self.assertEqual(self.master.recv(100), b"")


class Reference(unittest.TestCase):
    """module:object and what people write instead."""

    def test_good(self):
        """What is understood."""
        import plain
        self.assertIs(application.load("plain:app"), plain.app)
        self.assertIs(application.load(" plain : app "), plain.app)
        self.assertIsNot(application.load("plain:make_app()"), plain.app)
        self.assertIs(application.load("os:path.join"), os.path.join)

    def test_bad(self):
        """What is refused, and how."""
        table = (
            ("plain.py:app", "write the module, plain:app"),
            ("a/b:app", "write the module, a.b:app"),
            (":app", "is no module"),
            ("pl ain:app", "is no module"),
            ("plain:a b", "neither a name nor a call"),
            ("plain:app[0]", "neither a name nor a call"),
            ("plain:make_app()()", "neither a name nor a call"),
            ("plain:make_app(x)", "must be literals"),
            ("plain:make_app(**{'a': 1})", "must be literals"),
            ("plain:make_app(1, 2, 3)", "does not take these arguments"),
            ("plain:not_callable()", "is no factory"),
            ("plain:not_callable", "int cannot be called"),
            ("plain:ap", "it has app"),
            ("plain", "plain has no attribute 'application'"),
            ("nosuch:app", "there is no module 'nosuch'"),
            ("os.nosuch:app", "there is no module 'os.nosuch'"),
        )
        for spec, want in table:
            with self.subTest(spec=spec):
                with self.assertRaises(errors.BootError) as caught:
                    application.load(spec)
                self.assertIn(want, str(caught.exception))

    def test_kinds(self):
        """Which applications are taken for which kind."""
        import plain

        class Callable:
            """An ASGI 3 object."""

            async def __call__(self, scope, receive, send):
                """One."""

        application.check_kind(plain.app, "wsgi", "x")
        application.check_kind(plain.asgi, "asgi", "x")
        application.check_kind(plain.asgi2, "asgi", "x")
        application.check_kind(Callable(), "asgi", "x")
        application.check_kind(print, "wsgi", "x")
        for app, kind in ((plain.app, "asgi"), (plain.asgi, "wsgi"), (Callable(), "wsgi")):
            self.assertRaises(errors.BootError, application.check_kind, app, kind, "x")
        self.assertTrue(application.is_double_callable(plain.asgi2))
        self.assertFalse(application.is_double_callable(plain.asgi))


class Texts(unittest.TestCase):
    """What is told about failures."""

    def test_shorten(self):
        """The head stays, the tail's end stays."""
        self.assertEqual(errors.shorten("head", "tail"), "head\ntail")
        text = errors.shorten("head", "\n".join("line %d" % i for i in range(2000)))
        self.assertLessEqual(len(text), errors.TEXT_MAX)
        self.assertTrue(text.startswith("head\n...\nline "))
        self.assertTrue(text.endswith("line 1999"))
        self.assertEqual(len(errors.shorten("x" * 9999, "tail")), errors.TEXT_MAX)

    def test_hidden_missing_module(self):
        """A ModuleNotFoundError below another exception is found."""
        try:
            try:
                raise ModuleNotFoundError("No module named 'deep'", name="deep")
            except ModuleNotFoundError as inner:
                raise RuntimeError("settings") from inner
        except RuntimeError as exc:
            text = errors.describe(exc, "starting x failed")
        self.assertTrue(text.startswith("starting x failed: RuntimeError: settings"))
        self.assertIn("sys.path:", text)


class Options(unittest.TestCase):
    """Conversions."""

    def test_values(self):
        """Good ones."""
        self.assertEqual([options.as_bool(t) for t in ("yes", "On", " 1", "TRUE")], [True] * 4)
        self.assertEqual([options.as_bool(t) for t in ("no", "oFF", "0 ", "false")], [False] * 4)
        self.assertEqual(options.as_int("0o17"), 15)
        self.assertEqual(options.as_number("2.5"), 2.5)
        self.assertEqual(options.as_list("a, b ,,c"), ["a", "b", "c"])
        convert = options.as_constant("CERT_")
        self.assertEqual({int(convert(t)) for t in ("2", "REQUIRED", "cert_required")}, {2})

    def test_errors(self):
        """Bad ones."""
        for convert, text in ((options.as_bool, "maybe"), (options.as_int, "1.5"),
                              (options.as_number, "x"), (options.as_literal, "x ="),
                              (options.as_constant("CERT_"), "SOME"),
                              (options.as_choice("a", "b"), "c")):
            self.assertRaises(ValueError, convert, text)

    def test_collect(self):
        """Everything that is wrong, at once."""
        good = options.collect({"Some-Name": "1"}, {}, {"some_name"}, lambda n, t: int(t), "s 1")
        self.assertEqual(good, {"some_name": 1})
        with self.assertRaises(errors.BootError) as caught:
            options.collect({"bind": "x", "some-nam": "1", "some_name": "z", "some-name": "1"},
                            {"bind": "use listen"}, {"some_name", "other"},
                            lambda n, t: int(t), "server 1")
        lines = str(caught.exception).split("\n")
        self.assertIn("(and 2 more)", lines[0])
        self.assertIn("bind is preforkd's: use listen", lines[0])
        self.assertIn("server 1 has no option some-nam; did you mean some-name?", lines[1])
        self.assertIn("some_name = z", lines[2])


class Environment(unittest.TestCase):
    """Settings from JSON."""

    def test_defaults(self):
        """Absent ones."""
        found = settings.Settings({"app": "x:y"})
        self.assertEqual((found.kind, found.threads, found.keepalive), ("wsgi", 0, None))
        self.assertEqual(settings.Settings({"log_level": "notice"}).log_level, "info")
        self.assertEqual(settings.Settings({"new": 1}).limit, 0)

    def test_types(self):
        """Wrong ones."""
        for values in ({"threads": "1"}, {"threads": True}, {"kind": "php"}, {"server": []},
                       {"keepalive": "5"}, {"app": None}):
            self.assertRaises(errors.BootError, settings.Settings, values)


class Sockets(unittest.TestCase):
    """A Listener cannot be spoilt."""

    def test_harmless(self):
        """listen(), shutdown() and blocking mode."""
        with socket.socket() as original:
            original.bind(("127.0.0.1", 0))
            original.listen(5)
            original.setblocking(False)
            listener, = listeners.adopt([os.dup(original.fileno())])
            listener.listen(1)
            listener.listen()
            listener.setblocking(True)
            listener.settimeout(None)
            listener.shutdown(socket.SHUT_RDWR)
            duplicate = listener.dup()
            self.assertFalse(os.get_blocking(original.fileno()))
            with socket.create_connection(original.getsockname()):
                conn, _ = listener.accept()
                conn.close()
            self.assertEqual(str(listener), "127.0.0.1:%d" % original.getsockname()[1])
            listener.track()
            with socket.create_connection(original.getsockname()):
                conn, _ = listener.accept()
                self.assertEqual(listener.open_connections(), 1)
                conn.close()
                self.assertEqual(listener.open_connections(), 0)
            duplicate.close()
            listener.close()
            self.assertEqual(str(listener), "closed socket")

    def test_refused(self):
        """What is no listening socket."""
        self.assertRaises(errors.BootError, listeners.adopt, [])
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        self.assertRaises(errors.BootError, listeners.adopt, [read])


class Telling(unittest.TestCase):
    """Counts that two threads send."""

    def test_order(self):
        """What was read first is sent first: the master takes a count that shrinks for a fault."""
        master, worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(master.close)
        told = agent.Agent(channel.Channel(worker.detach()))
        waiting, go_on = threading.Event(), threading.Event()

        def slow_message():
            """Read, and not sent yet."""
            text = native()
            waiting.set()
            go_on.wait(10)
            return text

        native, told.counter.message = told.counter.message, slow_message
        told.counter.end(told.counter.begin())
        first = threading.Thread(target=told._send_counts)
        first.start()
        self.assertTrue(waiting.wait(10))
        told.counter.message = native
        told.counter.end(told.counter.begin())
        second = threading.Thread(target=told._flush)
        second.start()
        # Long enough for whoever does not wait; who waits has told nothing until then.
        second.join(0.2)
        go_on.set()
        first.join(10)
        second.join(10)
        counts = [channel.parse(master.recv(4096))["REQUESTS"] for _ in range(2)]
        self.assertEqual(counts, ["1", "2"])


class Farewells(unittest.TestCase):
    """Which connections a drain closes, and when."""

    def setUp(self):
        """An agent that drains within 100 s, and two connected sockets."""
        self.agent = agent.Agent(channel.Channel(-1))
        self.agent.settings = settings.Settings({})
        self.agent.server = self
        self.now = 1000.0
        for module in (agent, farewell):
            self.addCleanup(setattr, module, "monotonic", module.monotonic)
            module.monotonic = lambda: self.now
        self.near, self.far = socket.socketpair()
        self.addCleanup(self.near.close)
        self.addCleanup(self.far.close)

    keepalive = 7.0
    sync = False

    def announce_close(self):
        """As a server."""

    announce_drain = close_responses = drain = post = lambda *_: None

    def begin(self, grace, idle=None):
        """A drain; what asks about it."""
        self.agent.settings.drain_idle = idle
        self.agent._ready = True
        self.agent.drain(grace)
        return farewell.Farewell(self.agent)

    def ends(self, farewell_, state):
        """The second in which a connection of that state has to be closed."""
        for self.now in range(1000, 1101):
            if farewell_.due([("one", state)], lambda _: self.near.fileno()):
                return self.now - 1000
        return None

    def test_times(self):
        """Idle and fresh ones, by the setting, the server, and the grace."""
        for grace, idle, state, end in (
                (100, None, farewell.IDLE, 7), (100, 3, farewell.IDLE, 3),
                (100, 0, farewell.IDLE, 0), (100, 500, farewell.IDLE, 99),
                (100, None, farewell.FRESH, 7), (100, 3, farewell.FRESH, 5),
                (8, 0, farewell.FRESH, 4), (100, 500, farewell.FRESH, 99),
                (100, 3, farewell.BUSY, None)):
            with self.subTest(grace=grace, idle=idle, state=state):
                self.setUp()
                self.assertEqual(self.ends(self.begin(grace, idle), state), end)

    def test_idle_later(self):
        """Who becomes idle during the drain has all the time from then on."""
        said = self.begin(100, 3)
        one = lambda _: -1  # noqa: E731
        self.now += 10
        self.assertEqual(said.due([("a", farewell.BUSY)], one), [])
        self.assertEqual(said.due([("a", farewell.IDLE)], one), [])
        self.now += 2.9
        self.assertEqual(said.due([("a", farewell.IDLE)], one), [])
        self.assertEqual(said.due([("a", farewell.BUSY)], one), [])
        self.now += 2.9
        self.assertEqual(said.due([("a", farewell.IDLE)], one), [])
        self.now += 3.1
        self.assertEqual(said.due([("a", farewell.IDLE)], one), ["a"])

    def test_input(self):
        """None is closed on which something has arrived."""
        said = self.begin(100, 3)
        self.far.send(b"G")
        self.assertIsNone(self.ends(said, farewell.IDLE))
        self.near.recv(1)
        self.assertIsNotNone(self.ends(said, farewell.IDLE))

    def test_shorter_grace(self):
        """A second wish to end, with less patience, counts."""
        self.begin(100)
        self.assertFalse(self.agent.last_call())
        self.agent.drain(1)
        self.now += 0.9
        self.assertTrue(self.agent.last_call())
        self.assertLess(self.agent.idle_end(self.now), self.now)

    def test_stop_reading(self):
        """What has arrived can still be read, then the end of the stream; writing goes on."""
        self.far.send(b"GET")
        farewell.stop_reading(self.near.fileno())
        self.assertEqual((self.near.recv(9), self.near.recv(9)), (b"GET", b""))
        self.near.send(b"200")
        self.assertEqual(self.far.recv(9), b"200")
        farewell.stop_reading(-1)


class LargeBuffers(unittest.TestCase):
    """What asyncio receives into is not given back to the system each time."""

    CODE = ("import resource, socket, sys; sys.path.insert(0, sys.argv[1])\n"
            "from preforkd import memory\n"
            "if sys.argv[2] == 'yes': memory.keep_large_buffers()\n"
            "a, b = socket.socketpair()\n"
            "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
            "before = faults()\n"
            "for _ in range(1000): a.send(b'x'); b.recv(256 * 1024)\n"
            "print(faults() - before)\n")

    def faults(self, kept):
        """Page faults of 1000 receipts in a new process."""
        path = os.path.join(HERE, "..", "..", "src", "python")
        return int(subprocess.check_output([sys.executable, "-c", self.CODE, path, kept]))

    def test_faults(self):
        """Two for each receipt, and hardly any."""
        if self.faults("no") < 900:
            self.skipTest("this C library keeps them by itself")
        self.assertLess(self.faults("yes"), 300)


if __name__ == "__main__":
    unittest.main()
