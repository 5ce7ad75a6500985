#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Every server in turn: ready, serving, counting, beating, leaving the sockets as they were."""

import json
import os
import time

from fake_master import BACKLOG, backlog_of, free_tcp, is_nonblocking, python_version, unix_listener
from support import Background, Case, Client, KINDS, for_each_kind, get, main, missing


class Serving:
    """One kind of server."""

    def test_ready(self):
        """READY comes with who serves and what it can; the boot was quiet but for the server."""
        worker = self.worker()
        message = worker.ready()
        self.assertEqual(message["READY"], "1")
        self.assertTrue(message["SERVER"].startswith(self.kind.product + " "), message)
        self.assertTrue(message["SERVER"].split()[1][0].isdigit(), message)
        self.assertEqual(message.get("SYNC"), "1" if self.kind.sync else None)
        self.assertEqual(message.get("STACKS"), "1")
        self.assertEqual(get(worker.address), (200, "hello"))
        self.assertNotIn("Traceback", worker.output())
        self.assertNotIn("Warning", worker.output())

    def test_requests(self):
        """Kept-alive and closed connections, bodies both ways, streams, errors; all counted."""
        worker = self.worker()
        worker.ready()
        address = worker.address
        for _ in range(3):
            self.assertEqual(get(address), (200, "hello"))
        client = Client(address)
        for _ in range(4):
            self.assertEqual(client.get("/"), (200, "hello"))
        sock = client.sock
        self.assertEqual(client.get("/echo", body="words " * 5000), (200, "words " * 5000))
        self.assertEqual(client.sock is sock and sock is not None, self.kind.keepalive)
        client.close()
        self.assertEqual(get(address, "/big?300000"), (200, "x" * 300000))
        self.assertEqual(get(address, "/stream"), (200, "part 0\npart 1\npart 2\n"))
        self.assertEqual(get(address, "/fail")[0], 500)
        worker.requests(11)

    def test_counts(self):
        """In flight and since when, then nothing; datagrams are rare."""
        worker = self.worker()
        worker.ready()
        before = time.monotonic()
        slow = Background(get, worker.address, "/wait?0.6")
        message = worker.wait_for(
            lambda w: next((m for m in w.messages if m.get("BUSY") == "1"), None), "BUSY=1")
        start = int(message["OLDEST_USEC"]) / 1e6
        self.assertGreaterEqual(start, before - 0.001)
        self.assertLessEqual(start, message["_time"])
        self.assertEqual(message["REQUESTS"], "0")
        slow.result()
        worker.requests(1)
        self.assertEqual(worker.last("OLDEST_USEC"), "0")
        first = len(worker.messages)
        begin = time.monotonic()
        for _ in range(100):
            get(worker.address)
        worker.requests(101)
        took = time.monotonic() - begin
        counts = [m for m in worker.messages[first:] if "REQUESTS" in m]
        self.assertLessEqual(len(counts), took / 0.05 + 3)

    def test_limit(self):
        """The limit is told when it is reached, and serving goes on; a new limit is told too."""
        worker = self.worker(limit=3)
        worker.ready()
        for _ in range(3):
            get(worker.address)
        worker.wait_for(lambda w: w.last("REQUESTS") == "3", "REQUESTS=3")
        self.assertEqual(get(worker.address), (200, "hello"))
        worker.requests(4)
        count = len(worker.messages)
        worker.send("LIMITS=2")
        worker.wait_for(lambda w: any(m.get("REQUESTS") == "4" for m in w.messages[count:]),
                        "REQUESTS=4 again")

    def test_count(self):
        """Counts are told when they are asked for, changed or not."""
        worker = self.worker()
        worker.ready()
        get(worker.address)
        worker.requests(1)
        count = len(worker.messages)
        worker.send("COUNT=1")
        worker.wait_for(lambda w: any(m.get("REQUESTS") == "1" for m in w.messages[count:]),
                        "REQUESTS=1 again")

    def test_sockets_untouched(self):
        """O_NONBLOCK and the backlog belong to all processes."""
        worker = self.worker()
        worker.ready()
        get(worker.address)
        worker.requests(1)
        self.assertTrue(is_nonblocking(worker.listeners[0]))
        self.assertEqual(backlog_of(worker.listeners[0]), BACKLOG)
        worker.drain(5)
        self.assertEqual(worker.wait(), 0)
        self.assertTrue(is_nonblocking(worker.listeners[0]))
        self.assertEqual(backlog_of(worker.listeners[0]), BACKLOG)

    def test_several_listeners(self):
        """TCP and unix sockets side by side."""
        path = os.path.join(self.folder(), "socket")
        abstract = "\0preforkd-test-%d" % os.getpid()
        listeners = [free_tcp(), unix_listener(path), free_tcp(), unix_listener(abstract)]
        for sock in listeners:
            self.addCleanup(sock.close)
        worker = self.worker(listeners=listeners)
        worker.ready()
        for sock in listeners:
            self.assertEqual(get(os.fsdecode(sock.getsockname()) if isinstance(
                sock.getsockname(), bytes) else sock.getsockname()), (200, "hello"))
        worker.requests(4)
        for sock in listeners:
            self.assertTrue(is_nonblocking(sock))
        worker.drain(5)
        self.assertEqual(worker.wait(), 0)

    def test_environment(self):
        """What was meant for the launcher is gone; what is meant for the application stays."""
        worker = self.worker(env={"NOTIFY_SOCKET": "/run/x", "FROM_INI": "yes"})
        worker.ready()
        environ = json.loads(get(worker.address, "/env")[1])
        for name in environ:
            self.assertFalse(name.startswith("LISTEN_"), name)
        self.assertEqual({n for n in environ if n.startswith("PREFORKD_")},
                         {"PREFORKD_SLOT", "PREFORKD_WORKER_ID", "PREFORKD_GENERATION"})
        self.assertNotIn("NOTIFY_SOCKET", environ)
        self.assertNotIn("PYTHONPATH", environ)
        self.assertEqual(environ["FROM_INI"], "yes")

    def test_idle_heartbeat(self):
        """An idle worker beats about as often as it is asked to."""
        worker = self.worker(beat=0.2)
        worker.ready()
        begin = time.monotonic()
        worker.wait_beats(5, begin)
        times = worker.beats(begin)
        self.assertGreaterEqual(times[4] - times[0], 4 * 0.2 * 0.7)

    def test_no_heartbeat(self):
        """None at all when none is wanted."""
        worker = self.worker(beat=0)
        worker.ready()
        self.assertEqual(get(worker.address, "/wait?1.2"), (200, "hello"))
        worker.requests(1)
        self.assertEqual(worker.beats(), [])


for_each_kind(globals(), Serving)


class Auto(Case):
    """worker-class = auto."""

    def _expect(self, kind, app, order):
        """The first installed one of the order is taken."""
        names = {k.name: k for k in KINDS}
        want = next((name for name in order if not missing(names[name])), None)
        if want is None:
            self.skipTest("no %s server is installed" % kind)
        worker = self.start(app, kind=kind, worker_class="auto")
        server = worker.ready()["SERVER"]
        self.assertTrue(server.startswith(names[want].product + " "), server)
        if want == "gthread":
            self.assertTrue(server.endswith(" gthread"), server)
        self.assertEqual(get(worker.address), (200, "hello"))

    def test_wsgi(self):
        """gunicorn's gthread, else waitress."""
        self._expect("wsgi", "plain:app", ["gthread", "waitress"])

    def test_asgi(self):
        """uvicorn, else hypercorn."""
        self._expect("asgi", "plain:asgi", ["uvicorn", "hypercorn"])


class Title(Case):
    """The process's name."""

    def test_ps(self):
        """ps and top show what the master wanted."""
        worker = self.start("plain:app", worker_class="stdlib", title="preforkd: shop worker 7")
        worker.ready()
        with open("/proc/%d/cmdline" % worker.pid, "rb") as proc:
            self.assertEqual(proc.read().rstrip(b"\0"), b"preforkd: shop worker 7")
        with open("/proc/%d/comm" % worker.pid) as proc:
            self.assertEqual(proc.read().strip(), "preforkd-w1")

    def test_too_long(self):
        """A title that does not fit changes nothing."""
        worker = self.start("plain:app", worker_class="stdlib", title="x" * 5000)
        worker.ready()
        with open("/proc/%d/cmdline" % worker.pid, "rb") as proc:
            self.assertIn(b"__main__.py", proc.read())


class Path(Case):
    """Where the application looks for modules."""

    def test_sys_path(self):
        """The working directory first, then pythonpath; no trace of the launcher."""
        extra = self.folder()
        worker = self.start("plain:app", worker_class="stdlib", pythonpath=[extra])
        worker.ready()
        seen = json.loads(get(worker.address, "/path")[1])
        self.assertEqual(seen["path"][:2], [seen["cwd"], extra])
        self.assertFalse([p for p in seen["path"] if p.endswith("src/python")
                          or p.endswith("preforkd")], seen["path"])

    def test_python(self):
        """The interpreter that was asked for runs it."""
        worker = self.start("plain:app", worker_class="stdlib")
        version = ".".join(str(part) for part in python_version())
        self.assertEqual(worker.ready()["SERVER"].split()[1].rstrip("+"), version)


if __name__ == "__main__":
    main(parts=True)
