#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Counts of requests, and the wrapper of ASGI applications, in this very interpreter."""

import os
import sys
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "src", "python"))

from preforkd import counting, wrap  # noqa: E402


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
        self.assertIn("what is this", str(self.agent.lifespan_raised))


if __name__ == "__main__":
    unittest.main()
