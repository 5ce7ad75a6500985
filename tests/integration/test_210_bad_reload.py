# SPDX-License-Identifier: MIT
"""Reloads that fail before the commit point leave everything as it was."""

import json
import os
import socket

import harness
from harness import needs_module, wait_until

GOOD = "from plain import app\n"


class Bad(harness.Case):
    """A reload that fails before its commit point: zero failed requests, the reason told."""

    def fails(self, p, breaks, want, words=None, mends=None, may_lose=0):
        """breaks() spoils something; want must be in the log and in what preforkctl says."""
        p.wait_ready()
        before = p.pids()
        mark = p.mark()
        with p.load(clients=3, path="/pid") as load, \
                p.load(clients=2, path="/pid", keepalive=True) as kept:
            breaks()
            code, out, err = p.ctl("reload")
            p.wait_log(r"(?s)reload failed.*(%s)" % want, since=mark)
            # more requests after the failure
            for _ in range(5):
                p.text("/pid")
        self.assertEqual(code, 1, err)
        self.assertEqual(out, "")
        self.assertRegex(err, want)
        if words:
            self.assertRegex(err, words)
        self.assertRegex(err, "generation 1 serves on")
        self.assertLessEqual(load.failed, may_lose, load.result)
        self.assertLessEqual(kept.failed, may_lose, kept.result)
        status = p.wait_ready()
        self.assertEqual(status["generation"], 1)
        self.assertEqual(status["last_reload"]["state"], "failed")
        self.assertRegex(status["last_reload"]["error"], want)
        self.assertEqual(p.pids(), before)
        if mends:
            mends()
            self.assertEqual(p.ctl("reload")[0], 0)
            self.assertEqual(p.status()["generation"], 2)

    def app(self, **kw):
        """A preforkd with a module that can be broken."""
        return self.preforkd(files={"mine.py": GOOD}, wsgi="mine:app", workers=2, **kw)

    def test_broken_ini(self):
        """Every mistake is named."""
        p = self.app()
        self.fails(p, lambda: p.write_ini(workers="many", timeout="soon"),
                   r"workers: 'many'|timeout: 'soon'", r"timeout: 'soon'",
                   lambda: p.write_ini(workers=2, timeout=30))

    def test_missing_ini(self):
        """The file is gone."""
        p = self.app()
        self.fails(p, lambda: os.rename(p.ini, p.ini + ".away"), r"No such file", None,
                   lambda: os.rename(p.ini + ".away", p.ini))

    def test_missing_module(self):
        """With cwd and sys.path."""
        p = self.app()
        self.fails(p, lambda: os.rename(p.path("mine.py"), p.path("away.py")),
                   r"not (become )?ready", r"(?s)no module 'mine'.*%s" % p.dir,
                   lambda: p.write("mine.py", GOOD))

    def test_module_raises(self):
        """With the traceback's end."""
        p = self.app()
        self.fails(p, lambda: p.write("mine.py", "raise ValueError('broken release')\n"),
                   r"not (?:become )?ready: exit status 1", r"ValueError: broken release",
                   lambda: p.write("mine.py", GOOD))
        self.assertIn("ValueError: broken release", p.log())

    def test_syntax_error(self):
        """The classic."""
        p = self.app()
        self.fails(p, lambda: p.write("mine.py", "def app(:\n"), r"not (become )?ready",
                   r"SyntaxError")

    def test_exits_with_0(self):
        """An early exit is a failure whatever its status."""
        p = self.app()
        self.fails(p, lambda: p.write("mine.py", "import os\nos._exit(0)\n"),
                   r"not (?:become )?ready: exit status 0")

    def test_crashes(self):
        """A fault while importing."""
        p = self.app()
        self.fails(p, lambda: p.write("mine.py", "import ctypes\nctypes.string_at(0)\n"),
                   r"not (?:become )?ready: .*SIGSEGV")

    def test_never_ready(self):
        """boot-timeout."""
        p = self.app(boot_timeout="1s")
        self.fails(p, lambda: p.write("mine.py", "import time\ntime.sleep(99)\n"),
                   r"not (?:become )?ready: boot-timeout")

    @needs_module("uvicorn")
    def test_lifespan_failure(self):
        """ASGI's way to refuse."""
        p = self.preforkd(asgi="plain:asgi", worker_class="uvicorn", workers=2)
        self.fails(p, lambda: p.write_ini(env={"TEST_LIFESPAN": "fail"}), r"not (become )?ready",
                   r"no database today", lambda: p.write_ini(env={}))

    @needs_module("uvicorn")
    def test_lifespan_never_ends(self):
        """Startup hangs."""
        p = self.preforkd(asgi="plain:asgi", worker_class="uvicorn", boot_timeout="1500ms")
        self.fails(p, lambda: p.write_ini(env={"TEST_LIFESPAN": "never"}),
                   r"not (?:become )?ready: boot-timeout")

    def test_address_in_use(self):
        """Another process has it; also by one of the same user with SO_REUSEPORT."""
        p = self.app()
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            s.bind(("127.0.0.1", 0))
            s.listen()
            taken = "127.0.0.1:%d" % s.getsockname()[1]
            self.fails(p, lambda: p.write_ini(listen=["127.0.0.1:0", taken]),
                       r"%s: another process" % taken, None,
                       lambda: p.write_ini(listen="127.0.0.1:0"))

    def test_unknown_user(self):
        """No such user."""
        p = self.app()
        self.fails(p, lambda: p.write_ini(user="nosuchuser"), r"nosuchuser")

    def test_missing_interpreter(self):
        """No such program."""
        p = self.app()
        self.fails(p, lambda: p.write_ini(python="/no/such/python"), r"/no/such/python",
                   r"/no/such/python")

    def test_dies_within_canary_time(self):
        """Ready, then dead, and with it what it had accepted."""
        p = self.app(canary_time="2s", preload="no")
        self.fails(p, lambda: p.write("mine.py", (
            "import os, threading\n"
            "from plain import app as plain\n"
            "def app(environ, start):\n"
            "    threading.Timer(0.1, os._exit, [3]).start()\n"
            "    return plain(environ, start)\n")),
            r"ended within canary-time", may_lose=3)

    def test_a_removed_address_stays_until_the_commit(self):
        """A failed reload has closed nothing, and opened nothing for good."""
        ports = [harness.free_port() for _ in range(3)]
        addresses = ["127.0.0.1:%d" % port for port in ports]
        p = self.app(listen=addresses[:2])

        def breaks():
            """Another address, and broken code."""
            p.write_ini(listen=[addresses[0], addresses[2]])
            p.write("mine.py", "raise OSError\n")
        self.fails(p, breaks, r"not (become )?ready")
        self.assertEqual(p.status()["listen"], addresses[:2])
        self.assertTrue(harness.can_connect(("127.0.0.1", ports[1])))
        wait_until(lambda: not harness.can_connect(("127.0.0.1", ports[2])), 5)

    def test_json_error(self):
        """preforkctl --json tells it in JSON."""
        p = self.app()
        p.wait_ready()
        p.write("mine.py", "raise ValueError('broken release')\n")
        code, out, _ = p.ctl("--json", "reload")
        self.assertEqual(code, 1)
        answer = json.loads(out)
        self.assertEqual(answer["error"], "io.preforkd.Manager.ReloadFailed")
        self.assertIn("broken release", answer["parameters"]["last_words"])


if __name__ == "__main__":
    harness.main()
