# SPDX-License-Identifier: MIT
"""preforkctl's commands, its exit codes, and where it finds the master."""

import grp
import json
import os
import signal
import socket
import stat
import time

import harness
from harness import PREFORKCTL, needs_root, run


class Commands(harness.Case):
    """What changes something."""

    def test_recycle_waits(self):
        """It comes back when the new worker serves."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        before = p.pids()
        code, out, _ = p.ctl("recycle", "2")
        self.assertEqual((code, out), (0, "recycled\n"))
        after = p.pids()
        self.assertEqual(after[0], before[0])
        self.assertNotEqual(after[1], before[1])
        code, out, _ = p.ctl("recycle")
        self.assertEqual(code, 0)
        self.assertFalse(set(after) & set(p.pids()))
        self.assertEqual(p.ctl("--no-wait", "recycle", "all")[:2], (0, "recycle asked for\n"))
        p.wait_status(lambda s: s["recycles"]["request"] == 5)

    def test_recycle_refused(self):
        """A slot that is none; a word that is none."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        code, _, err = p.ctl("recycle", "3")
        self.assertEqual(code, 1)
        self.assertIn("slot 3", err)
        for bad in ("0", "-1", "x", "1.5", "99999999999999"):
            self.assertEqual(p.ctl("--", "recycle", bad)[0], 2, bad)

    def test_scale(self):
        """At once, until the next reload."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        kept = p.pids()
        with p.load(clients=2) as load:
            self.assertEqual(p.ctl("scale", "4")[0], 0)
            p.wait_ready(4)
            self.assertEqual(p.ctl("scale", "1")[0], 0)
            p.wait_ready(1)
            self.assertEqual(p.ctl("scale", "2")[0], 0)
            p.wait_ready(2)
        self.assertEqual(load.failed, 0, load.result)
        self.assertEqual(p.pids()[0], kept[0])
        self.assertEqual(p.status()["recycles"]["scale"], 3)
        for bad in ("0", "x", ""):
            self.assertEqual(p.ctl("scale", bad)[0], 2, bad)
        code, _, err = p.ctl("scale", "100000000")
        self.assertEqual(code, 1)
        self.assertIn("workers", err)
        p.ctl("scale", "3")
        p.ctl("reload")
        p.wait_ready(2)

    def test_scale_there_and_back(self):
        """Before the first has taken effect."""
        p = self.preforkd(workers=1)
        p.wait_ready()
        kept = p.pids()
        for n in (5, 1, 6, 2, 1, 3):
            self.assertEqual(p.ctl("scale", n)[0], 0)
        p.wait_ready(3)
        self.assertEqual(p.pids()[0], kept[0])

    def test_stop(self):
        """It waits for the end."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        code, out, err = p.ctl("stop")
        self.assertEqual((code, out), (0, "stopped\n"), err)
        self.assertEqual(p.wait(2), 0)
        code, _, err = p.ctl("status")
        self.assertEqual(code, 3)

    def test_stop_quick(self):
        """--quick does not wait for requests."""
        p = self.preforkd(graceful_timeout="60s")
        p.wait_ready()
        with socket.create_connection(p.address()) as s:
            s.sendall(b"GET /hang HTTP/1.0\r\n\r\n")
            p.wait_status(lambda s: s["workers"][0]["in_flight"])
            begun = time.monotonic()
            self.assertEqual(p.ctl("stop", "--quick")[0], 0)
            self.assertLess(harness.elapsed(begun), harness.stretched(8))
        self.assertEqual(p.wait(2), 0)

    def test_stop_no_wait_then_others(self):
        """While it stops, orders are refused and status says stopping."""
        p = self.preforkd(graceful_timeout="60s")
        p.wait_ready()
        with socket.create_connection(p.address()) as s:
            s.sendall(b"GET /hang HTTP/1.0\r\n\r\n")
            p.wait_status(lambda s: s["workers"][0]["in_flight"])
            self.assertEqual(p.ctl("--no-wait", "stop")[0], 0)
            self.assertEqual(p.wait_status(lambda s: s["state"] == "stopping")["pid"], p.pid)
            for words in (("reload",), ("recycle",), ("scale", "3")):
                code, _, err = p.ctl(*words)
                self.assertEqual(code, 1, words)
                self.assertIn("stopping", err)
            self.assertEqual(p.ctl("--timeout", "300ms", "stop", "--no-wait")[0], 0)
        p.wait()

    def test_timeout(self):
        """Exit code 4."""
        p = self.preforkd(files={"mine.py": "from plain import app\n"}, wsgi="mine:app")
        p.wait_ready()
        p.write("mine.py", "import time\ntime.sleep(5)\nfrom plain import app\n")
        begun = time.monotonic()
        self.assertEqual(p.ctl("--timeout", "500ms", "reload")[0], 4)
        self.assertLess(harness.elapsed(begun), harness.stretched(4))

    def test_hung_master(self):
        """Also for a command that would wait for ever; exit code 4."""
        p = self.preforkd()
        p.wait_ready()
        p.signal(signal.SIGSTOP)
        try:
            self.assertEqual(p.ctl("--timeout", "500ms", "status")[0], 4)
            self.assertEqual(p.ctl("--timeout", "500ms", "stop")[0], 4)
        finally:
            p.signal(signal.SIGCONT)

    def test_usage(self):
        """Exit code 2 and a word why."""
        p = self.preforkd()
        for words in ((), ("nonsense",), ("status", "1"), ("scale",), ("report",), ("report", "x"),
                      ("--quick", "status"), ("--timeout", "soon", "status"), ("--nonsense",)):
            with self.subTest(words):
                code, out, err = p.ctl(*words)
                self.assertEqual((code, out), (2, ""))
                self.assertNotEqual(err, "")
        code, _, err = run(PREFORKCTL, "--socket", "x", "--file", "y", "status")
        self.assertEqual(code, 2)
        code, out, _ = run(PREFORKCTL, "help")
        self.assertEqual(code, 0)
        for word in "status reload recycle stop scale report metrics".split():
            self.assertIn(word, out)
        self.assertEqual(run(PREFORKCTL, "--version")[0], 0)

    def test_not_reachable(self):
        """Exit code 3."""
        code, _, err = run(PREFORKCTL, "--socket", "/no/such/socket", "status")
        self.assertEqual(code, 3)
        self.assertIn("/no/such/socket", err)
        p = self.preforkd()
        p.wait_ready()
        p.kill()
        self.assertEqual(p.ctl("status")[0], 3)

    def test_by_file(self):
        """--file finds the socket of the ini."""
        p = self.preforkd()
        p.wait_ready()
        code, out, _ = run(PREFORKCTL, "--file", p.ini, "--json", "status")
        self.assertEqual(code, 0)
        self.assertEqual(json.loads(out)["pid"], p.pid)

    def test_default_places(self):
        """Without `control`: $RUNTIME_DIRECTORY, and preforkctl finds the only instance."""
        p = self.preforkd(control=None, start=False)
        runtime = p.path("run")
        os.mkdir(runtime)
        p.environ["RUNTIME_DIRECTORY"] = runtime
        p.control = os.path.join(runtime, "control")
        p.start()
        p.wait_ready()
        # as systemd does for ExecReload
        code, out, err = run(PREFORKCTL, "--json", "status", env=p.environ)
        if code == 0:
            self.assertEqual(json.loads(out)["pid"], p.pid)
        code, out, err = run(PREFORKCTL, "--file", p.ini, "--json", "status", env=p.environ)
        self.assertEqual(code, 0, err)
        self.assertEqual(json.loads(out)["pid"], p.pid)

    def test_xdg_runtime_dir(self):
        """As an ordinary user; the folder is private."""
        p = self.preforkd(control=None, start=False, name="mine")
        xdg = p.path("xdg")
        os.mkdir(xdg, 0o700)
        if os.geteuid() == 0:
            # root may write to /run: look there instead
            p.environ["XDG_RUNTIME_DIR"] = xdg
            p.control = "/run/preforkd/mine/control"
            if os.path.exists(p.control):
                self.skipTest("an instance called mine runs here")
        else:
            p.environ["XDG_RUNTIME_DIR"] = xdg
            p.control = os.path.join(xdg, "preforkd", "mine", "control")
        p.start()
        p.wait_ready()
        code, out, err = run(PREFORKCTL, "--file", p.ini, "--json", "status", env=p.environ)
        self.assertEqual(code, 0, err)
        self.assertEqual(p.stop(), 0)
        self.assertFalse(os.path.exists(p.control))

    def test_mode(self):
        """0600 by default; control-mode and control-group."""
        p = self.preforkd()
        p.wait_ready()
        self.assertEqual(stat.S_IMODE(os.stat(p.control).st_mode), 0o600)
        q = self.preforkd(control_mode="0660")
        q.wait_ready()
        self.assertEqual(stat.S_IMODE(os.stat(q.control).st_mode), 0o660)

    @needs_root
    def test_group(self):
        """control-group."""
        p = self.preforkd(control_group="daemon", control_mode="0660")
        p.wait_ready()
        self.assertEqual(os.stat(p.control).st_gid, grp.getgrnam("daemon").gr_gid)


if __name__ == "__main__":
    harness.main()
