# SPDX-License-Identifier: MIT
"""Workers that die: the others serve on, the slot recovers, the log says why."""

import harness
from harness import wait_until


class Deaths(harness.Case):
    """Workers that end unasked."""

    def test_crash(self):
        """SIGSEGV in a request: who, why, what next, in one line; only that request is lost."""
        p = self.preforkd(workers=3)
        p.wait_ready()
        before = set(p.pids())
        with p.load(clients=2, path="/pid") as load:
            p.wait_status(lambda s: all(w["requests"] > 0 for w in s["workers"]))
            s = self.victim(p, "/crash")
            self.assertEqual(s.makefile("rb").read(), b"")
            p.wait_log(r"slot \d pid \d+ gen 1: ended unasked: killed by SIGSEGV.*"
                       r"after \d+ requests and .*; a new one starts")
            p.wait_ready(3)
        self.assertEqual(len(before & set(p.pids())), 2)
        # what the crashing process had accepted is lost with it, nothing else
        self.assertEqual(load.result["refused"] + load.result["timeout"] + load.result["bad"], 0)
        self.assertEqual(p.status()["crashes"], 1)

    def test_exit_0(self):
        """A clean exit that nobody asked for is a crash too."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        p.text("/")
        self.victim(p, "/exit?0").makefile("rb").read()
        p.wait_log(r"ended unasked: exit status 0")
        p.wait_ready(2)

    def test_exit_before_ready(self):
        """A boot failure whatever its status; the slot backs off, longer each time."""
        p = self.fake("after=20 exit=0", boot_attempts=3, workers=1)
        self.assertEqual(p.wait(), 1)
        self.assertEqual(p.log().count("ended before it was ready: exit status 0"), 3)

    def test_backoff_grows(self):
        """0.5 s x 1.5^n; a worker that dies before its first request counts."""
        p = self.preforkd(files={"mine.py": "from plain import app\n"},
                          wsgi="mine:app", preload="no", workers=2)
        p.wait_ready()
        p.write("mine.py", "import os\nos._exit(7)\n")
        harness.kill(p.pids()[0])
        delays = []
        for n in range(1, 4):
            m = p.wait_log(r"slot 1.*ended before it was ready: exit status 7.*"
                           r"next attempt in ([\d.]+)(ms|s)$", count=n)
            delays.append(float(m.group(1)) / (1000 if m.group(2) == "ms" else 1))
        self.assertLess(delays[0], delays[1])
        self.assertLess(delays[1], delays[2])
        self.assertEqual(p.text("/"), "hello")
        p.write("mine.py", "from plain import app\n")
        p.wait_ready(2)

    def test_dies_right_after_ready(self):
        """Before its first request: delayed as well, so that it cannot become a loop."""
        p = self.preforkd(files={"mine.py": "from plain import app\n"},
                          wsgi="mine:app", preload="no", workers=2)
        p.wait_ready()
        p.write("mine.py", "import threading, os\nthreading.Timer(0.2, os._exit, [5]).start()\n"
                "from plain import app\n")
        harness.kill(p.pids()[0])
        p.wait_log(r"slot 1.*ended unasked: exit status 5 after 0 requests.*next attempt in",
                   count=2)
        p.write("mine.py", "from plain import app\n")
        p.wait_ready(2)

    def test_never_ready(self):
        """boot-timeout, while the others serve."""
        p = self.preforkd(files={"mine.py": "from plain import app\n"},
                          wsgi="mine:app", preload="no", workers=2,
                          boot_timeout="1s")
        p.wait_ready()
        p.write("mine.py", "import time\ntime.sleep(100)\n")
        pid = p.pids()[0]
        harness.kill(pid)
        with p.load(clients=2) as load:
            p.wait_log(r"slot 1 pid \d+ gen 1: not ready within boot-timeout.*killed")
            p.wait_log(r"slot 1.*ended before it was ready.*next attempt in")
        self.assertEqual(load.failed, 0, load.result)
        p.wait_status(lambda s: s["recycles"]["boot-timeout"] >= 1)

    def test_killed_while_starting(self):
        """SIGKILL from outside."""
        p = self.preforkd(files={"mine.py": "from plain import app\n"},
                          wsgi="mine:app", preload="no", workers=2)
        p.wait_ready()
        p.write("mine.py", "import time\ntime.sleep(100)\n")
        harness.kill(p.pids()[0])
        s = p.wait_status(lambda s: any(w["state"] == "starting" for w in s["workers"]))
        pid = [w["pid"] for w in s["workers"] if w["state"] == "starting"][0]
        p.write("mine.py", "from plain import app\n")
        harness.kill(pid)
        p.wait_log(r"slot 1 pid %d.*ended before it was ready: killed by SIGKILL.*next attempt"
                   % pid)
        p.wait_ready(2)

    def test_killed_while_serving(self):
        """SIGKILL from outside; a worker that has served is replaced at once."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        for _ in range(10):
            p.text("/")
        s = p.wait_status(lambda s: s["requests_total"] == 10)
        busy = max(s["workers"], key=lambda w: w["requests"])
        harness.kill(busy["pid"])
        p.wait_log(r"slot %d pid %d.*ended unasked: killed by SIGKILL.*a new one starts"
                   % (busy["slot"], busy["pid"]))
        p.wait_ready(2)

    def test_killed_while_draining(self):
        """Nothing but its request is lost."""
        p = self.preforkd(workers=1)
        p.wait_ready()
        s = self.victim(p, "/sleep?30")
        p.wait_status(lambda s: s["workers"][0]["in_flight"])
        old = p.pids()[0]
        self.assertEqual(p.ctl("recycle")[0], 0)
        p.wait_status(lambda s: any(w["state"] == "draining" for w in s["workers"]))
        harness.kill(old)
        self.assertEqual(s.makefile("rb").read(), b"")
        p.wait_log(r"slot 1 pid %d.*ended.*SIGKILL" % old)
        p.wait_ready(1)
        self.assertEqual(p.text("/"), "hello")
        self.assertEqual(p.status()["recycles"]["request"], 1)

    def test_killed_in_a_row(self):
        """All workers at once, three times over."""
        p = self.preforkd(workers=3)
        for _ in range(3):
            p.wait_ready(3)
            for _ in range(12):
                p.text("/")
            for pid in p.pids():
                harness.kill(pid)
            wait_until(lambda: p.get("/").status == 200 if self.answers(p) else False)
        p.wait_ready(3)

    def answers(self, p):
        """Whether a request succeeds now."""
        try:
            return p.get("/").status == 200
        except (OSError, harness.http.client.HTTPException):
            return False


if __name__ == "__main__":
    harness.main()
