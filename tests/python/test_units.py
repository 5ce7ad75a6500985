#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Modules of the launcher by themselves, in this very interpreter."""

import os
import socket
import sys
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "src", "python"))
sys.path.insert(0, os.path.join(HERE, "apps"))

from preforkd import application, channel, counting, errors, listeners, options  # noqa: E402
from preforkd import settings, wrap  # noqa: E402
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


class Counts(unittest.TestCase):
    """The counter."""

    def setUp(self):
        """Remembers calls."""
        self.wakes = 0
        self.urgent = []
        self.counter = counting.Counter(self._wake, self._urgent)

    def _wake(self):
        """Stands in for the channel's."""
        self.wakes += 1

    def _urgent(self):
        """Stands in for the agent's."""
        self.urgent.append(self.counter.done)

    def fields(self, text=None):
        """A message as a dict of numbers."""
        pairs = (line.split("=") for line in (text or self.counter.message()).split("\n"))
        return {key: int(value) for key, value in pairs}

    def test_begin_end(self):
        """Counts, and the oldest."""
        first = self.counter.begin()
        second = self.counter.begin()
        fields = self.fields()
        self.assertEqual((fields["REQUESTS"], fields["BUSY"]), (0, 2))
        oldest = fields["OLDEST_USEC"]
        self.counter.end(second)
        self.assertEqual(self.fields()["OLDEST_USEC"], oldest)
        third = self.counter.begin()
        self.counter.end(first)
        self.assertGreaterEqual(self.fields()["OLDEST_USEC"], oldest)
        self.counter.end(third)
        self.assertEqual(self.fields(), {"REQUESTS": 3, "BUSY": 0, "OLDEST_USEC": 0})

    def test_end_twice(self):
        """A request ends once."""
        serial = self.counter.begin()
        self.counter.end(serial)
        self.counter.end(serial)
        self.assertEqual(self.counter.done, 1)

    def test_wake_once(self):
        """Only the first change after a rest wakes; no change is lost."""
        serial = self.counter.begin()
        self.counter.end(serial)
        self.assertEqual(self.wakes, 1)
        self.assertTrue(self.counter.is_awake())
        self.assertEqual(self.fields(self.counter.take_change())["REQUESTS"], 1)
        self.counter.end(self.counter.begin())
        self.assertEqual(self.wakes, 1)
        self.assertEqual(self.fields(self.counter.take_change())["REQUESTS"], 2)
        self.assertTrue(self.counter.is_awake())
        self.assertIsNone(self.counter.take_change())
        self.assertFalse(self.counter.is_awake())
        self.counter.begin()
        self.assertEqual(self.wakes, 2)

    def test_not_sent(self):
        """What did not get through is said again."""
        self.counter.begin()
        first = self.counter.take_change()
        self.counter.not_sent()
        self.assertEqual(self.counter.take_change(), first)

    def test_limit(self):
        """Told once per limit."""
        self.counter.set_limit(2)
        for _ in range(4):
            self.counter.end(self.counter.begin())
        self.assertEqual(self.urgent, [2])
        self.counter.set_limit(10)
        self.assertEqual(self.urgent, [2])
        self.counter.set_limit(3)
        self.assertEqual(self.urgent, [2, 4])
        self.counter.set_limit(0)
        self.counter.end(self.counter.begin())
        self.assertEqual(self.urgent, [2, 4])

    def test_threads(self):
        """No count is lost between threads."""
        def work():
            """Many requests."""
            for _ in range(5000):
                self.counter.end(self.counter.begin())
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
        self.assertEqual(self.fields(), {"REQUESTS": 20000, "BUSY": 0, "OLDEST_USEC": 0})

    def test_connections(self):
        """Told along with the counts, where the server knows them."""
        self.assertNotIn("CONNECTIONS", self.fields())
        self.counter.connections = [1, 2, 3].__len__
        self.assertEqual(self.fields()["CONNECTIONS"], 3)

    def test_completed(self):
        """Totals of a server only rise."""
        self.counter.completed(5)
        self.counter.completed(3)
        self.assertEqual(self.fields(), {"REQUESTS": 5, "BUSY": 0, "OLDEST_USEC": 0})

    def test_child(self):
        """A forked child wakes nobody."""
        self.counter.begin()
        self.counter.after_fork_in_child()
        wakes = self.wakes
        self.counter.take_change()
        self.counter.take_change()
        self.counter.end(self.counter.begin())
        self.assertEqual((self.wakes, self.counter.busy), (wakes, 0))


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


class Wrapped(unittest.TestCase):
    """The ASGI wrapper."""

    def setUp(self):
        """An agent of sorts."""
        class Agent:
            """What the wrapper looks at."""

            draining = False
            lifespan_error = lifespan_raised = None
            counter = counting.Counter(lambda: None, lambda: None)
        self.agent = Agent()
        self.closing = False

    def call(self, app, kind="http", **scope):
        """One call; what was sent."""
        import asyncio
        sent = []

        async def send(message):
            """Collects."""
            sent.append(message)

        scope = dict({"type": kind, "http_version": "1.1"}, **scope)
        wrapped = wrap.CountedASGI(app, self.agent)
        wrapped.closing = self.closing
        asyncio.run(wrapped(scope, None, send))
        return sent

    def test_counts(self):
        """http only, also when it raises."""
        async def good(scope, receive, send):
            """Nothing."""
            self.busy = self.agent.counter.busy

        async def bad(scope, receive, send):
            """Raises."""
            raise KeyError("x")

        self.call(good)
        self.assertEqual(self.busy, 1)
        self.assertRaises(KeyError, self.call, bad)
        self.call(good, "websocket")
        self.assertEqual(self.busy, 0)
        self.assertEqual(self.agent.counter.done, 2)

    def test_close(self):
        """When it closes, HTTP/1 responses end the connection; others are left alone."""
        async def app(scope, receive, send):
            """Answers."""
            await send({"type": "http.response.start", "status": 200,
                        "headers": scope.get("give", [])})
        self.assertEqual(self.call(app)[0]["headers"], [])
        self.closing = True
        self.assertEqual(self.call(app)[0]["headers"], [(b"connection", b"close")])
        given = [(b"Connection", b"Upgrade")]
        self.assertEqual(self.call(app, give=given)[0]["headers"], given)
        self.assertEqual(self.call(app, http_version="2")[0]["headers"], [])

    def test_lifespan(self):
        """Why it failed."""
        async def failed(scope, receive, send):
            """Says so."""
            await send({"type": "lifespan.startup.failed", "message": "a\nb"})

        async def raised(scope, receive, send):
            """Does not know lifespan."""
            raise TypeError("what is this")

        self.call(failed, "lifespan")
        self.assertIn("failed: b", self.agent.lifespan_error)
        self.agent.lifespan_error = None
        self.assertRaises(TypeError, self.call, raised, "lifespan")
        self.assertIsNone(self.agent.lifespan_error)
        self.assertIn("what is this", self.agent.lifespan_raised)


if __name__ == "__main__":
    unittest.main()
