# SPDX-License-Identifier: MIT
"""preforkctl report: what a live worker is doing."""

import json
import os
import signal
import socket

import harness
from harness import needs_module


class Report(harness.Case):
    """report SLOT: what a live worker is doing."""

    def hung(self, p, path="/hang"):
        """A request that hangs in slot 1."""
        s = socket.create_connection(p.address())
        self.addCleanup(s.close)
        s.sendall(b"GET %s HTTP/1.0\r\n\r\n" % path.encode())
        p.wait_status(lambda s: s["workers"][0]["in_flight"])

    def check(self, word="stuck_in_this_function", path="/hang", **settings):
        """The stack of the hung request is shown; the worker lives on."""
        p = self.preforkd(timeout="60s", **settings)
        p.wait_ready()
        pid = p.pids()[0]
        self.hung(p, path)
        code, out, err = p.ctl("report", "1")
        self.assertEqual(code, 0, err)
        self.assertIn(word, out)
        self.assertEqual(p.pids(), [pid])
        code, out, _ = p.ctl("--json", "report", "1")
        self.assertIn(word, json.loads(out)["text"])

    def test_stdlib(self):
        """Threads."""
        self.check()

    @needs_module("gunicorn")
    def test_sync(self):
        """The main thread itself."""
        self.check(worker_class="sync")

    @needs_module("gunicorn")
    def test_gthread(self):
        """A pool."""
        self.check(worker_class="gthread")

    @needs_module("gunicorn.workers.ggevent")
    def test_gevent(self):
        """Greenlets that wait."""
        self.check(worker_class="gevent")

    @needs_module("uvicorn")
    def test_uvicorn_blocked(self):
        """A blocked loop."""
        self.check(asgi="plain:asgi", worker_class="uvicorn")

    @needs_module("uvicorn")
    def test_uvicorn_task(self):
        """A task that waits politely."""
        self.check(word="await asyncio.sleep(3600)", path="/hangpolitely", asgi="plain:asgi",
                   worker_class="uvicorn")

    def test_refused(self):
        """No such slot; a plain command; a frozen worker, after 5 s."""
        p = self.preforkd(workers=1)
        p.wait_ready()
        code, _, err = p.ctl("report", "7")
        self.assertEqual(code, 1)
        self.assertIn("7", err)
        q = self.preforkd(command=harness.helper("fakeworker") + " ready")
        q.wait_ready()
        code, _, err = q.ctl("report", "1")
        self.assertEqual(code, 1)
        self.assertIn("plain command", err)
        harness.freeze(p.pids()[0])
        code, _, err = p.ctl("report", "1")
        self.assertEqual(code, 1)
        self.assertIn("did not answer", err)
        os.kill(p.pids()[0], signal.SIGCONT)

    def test_many_threads(self):
        """A long report arrives whole."""
        p = self.preforkd(files={"mine.py": (
            "import threading, time\nfrom plain import app\n"
            "def a_thread_with_a_name(n):\n    time.sleep(3600)\n"
            "for i in range(200):\n"
            "    threading.Thread(target=a_thread_with_a_name, args=[i], daemon=True).start()\n")},
            wsgi="mine:app")
        p.wait_ready()
        code, out, err = p.ctl("report", "1")
        self.assertEqual(code, 0, err)
        self.assertGreaterEqual(out.count("a_thread_with_a_name"), 200)


if __name__ == "__main__":
    harness.main()
