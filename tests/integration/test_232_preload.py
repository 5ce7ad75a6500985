# SPDX-License-Identifier: MIT
"""preload = auto, yes, no: what is decided, and the functions around it."""

import re

import harness
from molded import Molded


class Decisions(Molded):
    """preload = auto, yes, no; before-fork, after-fork, warm-up."""

    THREAD = ("import threading, time\nfrom plain import app\n"
              "threading.Thread(target=time.sleep, args=(600,), name='exporter',\n"
              "                 daemon=True).start()\n")

    def test_auto_finds_a_thread(self):
        """Workers are exec'd; log and status say why."""
        p = self.serve(files={"mine.py": self.THREAD}, wsgi="mine:app")
        p.wait_log(r"mold has looked .*preload: no, workers are exec'd: thread 'exporter' runs")
        s = p.wait_status(lambda s: not s["molds"])
        self.assertEqual(s["preload"]["how"], "exec")
        self.assertIn("exporter", p.ctl("status")[1])
        self.assertEqual(p.ctl("reload")[0], 0)
        p.wait_ready()
        self.assertNotRegex(p.log(), "ERROR")

    def test_yes_in_spite_of_a_thread(self):
        """A warning, and forks."""
        p = self.serve(files={"mine.py": self.THREAD}, wsgi="mine:app", preload="yes")
        self.assertEqual(self.mold(p)["forked"], 2)
        p.wait_log(r"preload: yes, in spite of: thread 'exporter' runs")

    def test_connection(self):
        """auto falls back, yes refuses, before-fork helps."""
        with harness.socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            peer = "127.0.0.1:%d" % server.getsockname()[1]
            module = ("import socket\nfrom plain import app\n"
                      "conn = socket.create_connection(('127.0.0.1', %s))\n"
                      "def close():\n    conn.close()\n" % peer.split(":")[1])
            p = self.serve(files={"mine.py": module}, wsgi="mine:app")
            p.wait_log("preload: no, .*a connection to %s is open" % re.escape(peer))
            p.write_ini(preload="yes")
            code, _, err = p.ctl("reload")
            self.assertEqual(code, 1)
            self.assertIn(peer, err)
            self.assertIn("before-fork", err)
            p.write_ini(preload="yes", before_fork="mine:close")
            self.assertEqual(p.ctl("reload")[0], 0)
            self.assertGreaterEqual(self.mold(p)["forked"], 1)

    def test_after_fork(self):
        """In each worker, forked or not, before it serves."""
        module = ("import os\nfrom plain import app\n"
                  "def hook():\n"
                  "    open('hook.%s' % os.environ['PREFORKD_SLOT'], 'a').write('x')\n")
        for preload in ("auto", "no"):
            p = self.serve(files={"mine.py": module}, wsgi="mine:app", after_fork="mine:hook",
                           preload=preload)
            self.assertEqual([p.read("hook.1"), p.read("hook.2")], ["x", "x"])

    def test_after_fork_fails(self):
        """A failure to boot, like any other."""
        p = self.preforkd(files={"mine.py": "from plain import app\ndef hook():\n    1 / 0\n"},
                          wsgi="mine:app", after_fork="mine:hook", boot_attempts=1)
        self.assertEqual(p.wait(), 1)
        p.wait_log("ZeroDivisionError")

    def test_warm_up(self):
        """Requests and functions, once, in the mold."""
        module = ("import os\nimport plain\n"
                  "def note(what):\n"
                  "    if 'PREFORKD_SLOT' not in os.environ:\n"
                  "        open('warm', 'a').write(what + '\\n')\n"
                  "def app(environ, start_response):\n"
                  "    note(environ['HTTP_HOST'] + environ['PATH_INFO'])\n"
                  "    return plain.app(environ, start_response)\n"
                  "def function():\n    note('function')\n")
        p = self.serve(files={"mine.py": module}, wsgi="mine:app",
                       warm_up="/ mine:function https://example.com/pid")
        self.assertEqual(p.read("warm").split(),
                         ["localhost/", "function", "example.com/pid"])
        self.assertEqual(p.text("/"), "hello")
        p.write_ini(warm_up="/fail")
        code, _, err = p.ctl("reload")
        self.assertEqual(code, 1)
        self.assertIn("warm-up = /fail", err)


if __name__ == "__main__":
    harness.main()
