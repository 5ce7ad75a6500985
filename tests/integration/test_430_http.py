# SPDX-License-Identifier: MIT
"""preforkd-http: the pages of status-listen."""

import json
import os
import signal
import socket

import harness
from harness import is_alive, needs_root, wait_until


class Http(harness.Case):
    """preforkd-http."""

    def setUp(self):
        """One preforkd with status-listen."""
        super().setUp()
        self.port = harness.free_port()
        self.p = self.preforkd(workers=2, status_listen="127.0.0.1:%d" % self.port)
        self.p.wait_ready()
        wait_until(lambda: harness.can_connect(("127.0.0.1", self.port)))

    def page(self, path, **kw):
        """A page."""
        return harness.get(("127.0.0.1", self.port), path, **kw)

    def test_pages(self):
        """/status /metrics /livez /readyz, and nothing else."""
        s = json.loads(self.page("/status").body)
        self.assertEqual(s["pid"], self.p.pid)
        self.assertEqual(self.page("/livez").status, 200)
        answer = self.page("/readyz")
        self.assertEqual(answer.status, 200)
        self.assertIn("2 of 2", answer.body)
        answer = self.page("/metrics", headers={"Accept": "application/openmetrics-text"})
        self.assertIn("openmetrics", answer.headers["Content-Type"])
        self.assertTrue(answer.body.endswith("# EOF\n"))
        self.assertIn("text/plain", self.page("/metrics").headers["Content-Type"])
        self.assertEqual(self.page("/").status, 404)
        self.assertEqual(self.page("/status?x=y").status, 200)
        self.assertEqual(self.page("/status", method="POST", body="x").status, 405)
        self.assertEqual(self.page("/status", method="HEAD").body, "")

    def helper_pid(self):
        """The child that serves them."""
        # its name is the program's
        for pid in harness.children_of(self.p.pid):
            if "preforkd-http" in harness.command_line(pid):
                return pid
        return None

    @needs_root
    def test_unprivileged(self):
        """It does not run as root, and it has no more than it needs."""
        pid = self.helper_pid()
        self.assertNotEqual(os.stat("/proc/%d" % pid).st_uid, 0)
        with open("/proc/%d/status" % pid) as f:
            caps = [x for x in f if x.startswith("CapEff")][0].split()[1]
        self.assertEqual(int(caps, 16), 0)

    def test_readyz_turns_on_term(self):
        """At once, while requests are still finished; livez stays good."""
        with socket.create_connection(self.p.address()) as s:
            s.sendall(b"GET /sleep?2 HTTP/1.0\r\n\r\n")
            self.p.wait_status(lambda s: any(w["in_flight"] for w in s["workers"]))
            self.assertEqual(self.page("/readyz").status, 200)
            self.p.signal(signal.SIGTERM)
            self.p.wait_log("stopping: workers finish")
            answer = self.page("/readyz")
            self.assertEqual(answer.status, 503)
            self.assertIn("stopping", answer.body)
            self.assertEqual(self.page("/livez").status, 200)
            self.assertIn(b"slept", s.makefile("rb").read())
        self.assertEqual(self.p.wait(), 0)

    def test_readyz_without_a_worker(self):
        """503 while nothing is ready."""
        p = self.preforkd(files={"mine.py": "import os, time\nwhile not os.path.exists('go'):\n"
                                 "    time.sleep(0.01)\nfrom plain import app\n"},
                          wsgi="mine:app", status_listen="127.0.0.1:%d" % harness.free_port())
        address = ("127.0.0.1", int(p.settings["status_listen"].split(":")[1]))
        wait_until(lambda: harness.can_connect(address))
        self.assertEqual(harness.get(address, "/readyz").status, 503)
        self.assertEqual(harness.get(address, "/livez").status, 200)
        p.write("go", "")
        p.wait_ready()
        self.assertEqual(harness.get(address, "/readyz").status, 200)

    def test_helper_dies(self):
        """It is started again."""
        pid = self.helper_pid()
        harness.kill(pid)
        wait_until(lambda: self.helper_pid() not in (None, pid))
        self.assertEqual(wait_until(self.readyz_status), 200)
        self.assertEqual(self.p.text("/"), "hello")

    def readyz_status(self):
        """The status code, None while nobody answers."""
        try:
            return self.page("/readyz").status
        except OSError:
            return None

    def test_master_hangs(self):
        """livez turns when the master's loop stands still."""
        self.p.signal(signal.SIGSTOP)
        try:
            self.assertEqual(self.page("/livez", timeout=30).status, 503)
        finally:
            self.p.signal(signal.SIGCONT)
        self.assertEqual(wait_until(lambda: self.page("/livez").status == 200), True)

    def test_slow_clients(self):
        """Silent connections do not keep others out."""
        socks = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(50)]
        for s in socks:
            self.addCleanup(s.close)
            s.sendall(b"GET /sta")
        self.assertEqual(self.page("/readyz").status, 200)

    def test_address_changes_with_a_reload(self):
        """The old one is closed, the new one open; off when the key goes."""
        port = harness.free_port()
        self.p.write_ini(status_listen="127.0.0.1:%d" % port)
        self.assertEqual(self.p.ctl("reload")[0], 0)
        wait_until(lambda: harness.can_connect(("127.0.0.1", port)))
        wait_until(lambda: not harness.can_connect(("127.0.0.1", self.port)))
        self.p.write_ini(status_listen=None)
        self.assertEqual(self.p.ctl("reload")[0], 0)
        wait_until(lambda: not harness.can_connect(("127.0.0.1", port)))
        wait_until(lambda: self.helper_pid() is None)

    def test_gone_with_the_master(self):
        """kill -9 of the master takes it along."""
        pid = self.helper_pid()
        self.p.kill()
        # not one after the other: the leak check of a sanitizer's build runs in a process of
        # its own, which shares the descriptors and ends a moment after the one it looks at
        wait_until(lambda: not is_alive(pid) and
                   not harness.can_connect(("127.0.0.1", self.port)), 2)

    def test_address_in_use(self):
        """At start: said; the service itself is what matters."""
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            p = self.preforkd(status_listen="127.0.0.1:%d" % s.getsockname()[1])
            p.wait_log("status-listen|another process")


if __name__ == "__main__":
    harness.main()
