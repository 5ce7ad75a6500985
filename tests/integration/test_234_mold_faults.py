# SPDX-License-Identifier: MIT
"""preload: what goes wrong between an order and the worker's first word, and in a reload."""

import os
import re
import signal
import sys

import harness
from harness import kill, wait_until
from molded import Molded

# In a forked process, as long as the file "fault" is there.
IN_CHILD = """import os, time
from plain import app
def fault():
    while os.path.exists("fault"):
        %s
os.register_at_fork(after_in_child=fault)
"""

BEFORE = """import os
from plain import app
def hook():
    if os.path.exists("once"):
        raise RuntimeError("closed already")
    open("once", "w").close()
"""

# Fails in a mold, as long as the file "broken" is there.
FRAGILE = """import os
if os.path.exists("broken") and "PREFORKD_SLOT" not in os.environ:
    raise OSError("the mold is broken")
from plain import app
"""

# The next worker is a while in coming.
SLOW_ONCE = """import os, time
from plain import app
def hook():
    if os.path.exists("slow"):
        os.unlink("slow")
        time.sleep(0.7)
"""


class Unborn(Molded):
    """Workers that never say a word."""

    def test_death_before_the_first_word(self):
        """Counted, delayed and said like any failure to boot."""
        p = self.serve(files={"mine.py": IN_CHILD % "os._exit(3)"}, wsgi="mine:app")
        p.write("fault", "")
        kill(p.pids()[0], signal.SIGKILL)
        p.wait_log(r"slot 1 gen 1: ended before it was ready: no process has shown itself .*; "
                   r"next attempt in", count=2)
        self.assertEqual(p.text("/"), "hello")
        os.unlink(p.path("fault"))
        p.wait_ready()

    def test_stop_while_one_hangs(self):
        """Nobody knows its pid, and nobody has to wait for it."""
        p = self.serve(files={"mine.py": IN_CHILD % "time.sleep(0.01)"}, wsgi="mine:app")
        known = set(harness.children_of(p.pid))
        p.write("fault", "")
        kill(p.pids()[0], signal.SIGKILL)
        hanging = wait_until(lambda: set(harness.children_of(p.pid)) - known)
        self.assertEqual(p.stop(timeout=5), 0)
        wait_until(lambda: not any(harness.is_alive(pid) for pid in hanging))

    def test_before_fork_fails(self):
        """At the first start boot-attempts count, for --check-app the first is enough."""
        settings = dict(files={"mine.py": BEFORE}, wsgi="mine:app", before_fork="mine:hook")
        p = self.preforkd(boot_attempts=2, **settings)
        self.assertEqual(p.wait(), 1)
        p.wait_log(r"slot 1 gen 1: ended before it was ready: .*cannot fork: .*closed already.*"
                   r"it was the last attempt")
        q = self.preforkd(args=["--check-app"], **settings)
        self.assertEqual(q.wait(), 1)
        q.wait_log("closed already")

    def test_recycle_is_answered(self):
        """... with the reason, when the successor cannot be forked."""
        p = self.serve(files={"mine.py": BEFORE.replace('"once"', '"twice"', 1)},
                       wsgi="mine:app", before_fork="mine:hook", workers=1)
        p.write("twice", "")
        before = p.pids()
        code, _, err = p.ctl("recycle", "1")
        self.assertEqual(code, 1)
        self.assertIn("closed already", err)
        self.assertEqual(p.pids(), before)
        p.wait_log(r"cannot fork: .*closed already.*the old worker serves on, next attempt in")

    def test_many_at_once(self):
        """More than a mold is asked for at a time."""
        p = self.serve(workers=150)
        self.assertEqual(self.mold(p)["forked"], 150)
        self.assertNotRegex(p.log(), "ERROR|WARN")


class Left(Molded):
    """What stays behind, or does not."""

    def test_processes_of_the_import(self):
        """They end with their mold."""
        module = ("import subprocess\nfrom plain import app\n"
                  "CHILD = subprocess.Popen([%r, '-c', 'import time; time.sleep(600)'])\n"
                  % sys.executable)
        p = self.serve(files={"mine.py": module}, wsgi="mine:app", preload="yes")
        old = harness.children_of(self.mold(p)["pid"])
        self.assertEqual(len(old), 1)
        self.assertEqual(p.ctl("reload")[0], 0)
        wait_until(lambda: not harness.is_alive(old[0]))
        new = harness.children_of(self.mold(p)["pid"])
        self.assertEqual(p.stop(), 0)
        wait_until(lambda: not harness.is_alive(new[0]))

    def test_molds_do_not_pile_up(self):
        """Reloads upon a roll that takes its time."""
        p = self.serve(workers=3, recycle_spacing="60s")
        for generation in range(2, 6):
            p.signal(signal.SIGHUP)
            p.wait_status(lambda s, g=generation: s["generation"] == g)
        s = p.wait_status(lambda s: len(s["molds"]) <= 2)
        self.assertEqual(max(m["generation"] for m in s["molds"]), s["generation"])

    def test_temporary_directory(self):
        """The first worker to end would take it away from all: they are exec'd."""
        module = ("import os, tempfile\nfrom plain import app\n"
                  "FOLDER = tempfile.TemporaryDirectory()\n")
        p = self.serve(files={"mine.py": module}, wsgi="mine:app")
        p.wait_log("preload: no, .*temporary directory /.* ends with the process that made it")


class Roll(Molded):
    """A reload whose mold goes."""

    def test_mold_does_not_come_back(self):
        """The reload has stalled, and whoever waits is told."""
        p = self.serve(files={"mine.py": FRAGILE}, wsgi="mine:app", workers=3,
                       recycle_spacing="60s")
        reload = p.ctl_start("reload")
        p.wait_status(lambda s: s["generation"] == 2)
        p.write("broken", "")
        kill(self.mold(p)["pid"], signal.SIGKILL)
        err = reload.communicate()[1]
        self.assertEqual(reload.returncode, 1)
        self.assertIn("the mold is broken", err)
        p.wait_log("reload stalled: generation 2 is current, but its mold ended")
        self.assertEqual(p.text("/"), "hello")
        self.assertEqual(p.status()["state"], "running")

    def test_successor_is_late(self):
        """A worker that leaks on above its limit does not wait for it; its requests do."""
        p = self.serve(files={"mine.py": SLOW_ONCE}, wsgi="mine:app", after_fork="mine:hook",
                       workers=1, memory_interval="100ms", memory_samples=1,
                       min_worker_lifetime=0, reload_on_rss="60M", log_level="debug")
        late = r"reload-on-rss: .*; its successor is not ready yet; it finishes now"

        def is_let_go():
            """Whether the one slow start was not waited for; the usual ones have to be short."""
            mark = p.mark()
            for _ in range(12):
                self.assertEqual(p.ctl("recycle")[0], 0)
            usual.append(max(float(ms) for ms in re.findall(r"ready after (\d+)ms", p.log(mark))))
            p.write("slow", "")
            mark = p.mark()
            with p.load(clients=2, path="/leak?0.5") as load:
                p.wait_log(r"ready after [7-9]\d\dms|ready after \d[.\d]*s", since=mark)
            self.assertEqual(load.failed, 0, load.result)
            return re.search(late, p.log(mark))
        usual = []
        try:
            wait_until(is_let_go, 30, "a worker that does not wait")
        except harness.Late:
            if min(usual) > 40:
                self.skipTest("a start takes %s ms here: all are waited for" % usual)
            raise


if __name__ == "__main__":
    harness.main()
