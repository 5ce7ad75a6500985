# SPDX-License-Identifier: MIT
"""Code that breaks after the commit point, and reloads upon reloads."""

import os
import random
import signal
import threading
import time

import harness
from harness import wait_until

GOOD = "from plain import app\n"
VERSION = """VERSION = %r
def app(environ, start_response):
    data = VERSION.encode()
    start_response("200 OK", [("Content-Length", str(len(data)))])
    return [data]
"""


class AfterCommit(harness.Case):
    """Code that breaks while the roll is under way."""

    FLAKY = ("import os, time\nn = len(os.listdir('boots'))\n"
             "open('boots/%d' % time.monotonic_ns(), 'w').close()\n"
             "if os.path.exists('broken') and n >= 1:\n    raise OSError('the disk is full')\n"
             + GOOD)

    def test_roll_stalls(self):
        """The first new worker is good, the second not: the rest serve on, status says so."""
        p = self.preforkd(files={"mine.py": GOOD, "boots/.keep": ""},
                          wsgi="mine:app", preload="no", workers=3)
        os.unlink(p.path("boots/.keep"))
        p.wait_ready()
        old = p.pids()
        p.write("mine.py", self.FLAKY)
        p.write("broken", "")
        with p.load(clients=3, path="/pid") as load:
            code, _, err = p.ctl("reload")
            self.assertEqual(code, 1, err)
            self.assertRegex(err, "generation 2 is current")
            self.assertIn("the disk is full", err)
            status = p.status()
            self.assertEqual(status["generation"], 2)
            generations = sorted(w["generation"] for w in status["workers"]
                                 if w["state"] == "ready")
            self.assertEqual(generations, [1, 1, 2])
            self.assertTrue(status["governor"]["code_bad"])
            self.assertTrue(status["governor"]["roll_stalled"])
            self.assertEqual(len(set(old) & set(p.pids())), 2)
            p.wait_log("reload stalled")
            # mended: the next reload goes through
            os.unlink(p.path("broken"))
            self.assertEqual(p.ctl("reload")[0], 0)
        self.assertEqual(load.failed, 0, load.result)
        status = p.wait_ready()
        self.assertEqual([w["generation"] for w in status["workers"]], [3, 3, 3])
        self.assertFalse(status["governor"]["code_bad"])

    def test_code_bad_holds_recycles(self):
        """While the code on disk is bad, voluntary recycles wait; status says for what."""
        p = self.preforkd(files={"mine.py": GOOD}, wsgi="mine:app", preload="no", workers=2)
        p.wait_ready()
        before = p.pids()
        p.write("mine.py", "raise OSError('bad on disk')\n")
        code, _, err = p.ctl("recycle", "all")
        self.assertEqual(code, 1)
        self.assertIn("bad on disk", err)
        status = p.status()
        self.assertTrue(status["governor"]["code_bad"])
        self.assertGreater(status["governor"]["next_probe_seconds"], 5)
        self.assertEqual(p.pids(), before)
        self.assertEqual(p.text("/"), "hello")

    def test_death_while_code_bad(self):
        """The slot goes into back-off; it recovers once the code is mended."""
        p = self.preforkd(files={"mine.py": GOOD}, wsgi="mine:app", preload="no", workers=2)
        p.wait_ready()
        p.write("mine.py", "raise OSError('bad on disk')\n")
        harness.kill(p.pids()[0])
        status = p.wait_status(lambda s: any(w["state"] == "backoff" for w in s["workers"]))
        waiting = [w for w in status["workers"] if w["state"] == "backoff"][0]
        self.assertGreater(waiting["next_attempt_seconds"], 0)
        self.assertEqual(p.text("/"), "hello")
        p.wait_log(r"slot 1.*ended before it was ready.*next attempt in")
        p.write("mine.py", GOOD)
        status = p.wait_ready()
        self.assertFalse(status["governor"]["code_bad"])


class Many(harness.Case):
    """Reloads upon reloads."""

    def test_25_reloads(self):
        """At growing intervals, some during others: ends in the last settings, loses nothing."""
        p = self.preforkd(files={"mine.py": VERSION % "v0"}, wsgi="mine:app", workers=2)
        p.wait_ready()
        with p.load(clients=3) as load:
            for i in range(1, 26):
                p.write("mine.py", VERSION % ("v%d" % i))
                p.write_ini(workers=1 + i % 3)
                p.signal(signal.SIGHUP)
                # the interval is what is tested: from far below to above a reload's length
                time.sleep(0.002 * i * i / 2)
            p.wait_status(lambda s: s["state"] == "running" and s["target_workers"] == 2)
            p.wait_ready(2)
            for _ in range(10):
                self.assertEqual(p.text("/"), "v25")
        self.assertEqual(load.failed, 0, load.result)
        self.assertEqual(p.stop(), 0)

    def test_a_second_hup_queues_one_more(self):
        """However many come during a reload, the last settings hold in the end."""
        p = self.preforkd(files={"mine.py": "import time\ntime.sleep(0.4)\n" + VERSION % "a"},
                          wsgi="mine:app")
        p.wait_ready()
        p.signal(signal.SIGHUP)
        p.wait_status(lambda s: s["state"] == "reloading")
        p.write("mine.py", VERSION % "b")
        for _ in range(5):
            p.signal(signal.SIGHUP)
            p.status()
        p.wait_status(lambda s: s["state"] == "running" and s["generation"] >= 3)
        p.wait_ready()
        self.assertEqual(p.text("/"), "b")
        self.assertLessEqual(p.status()["generation"], 4)

    def test_several_preforkctls(self):
        """All that wait get an answer, and it is about settings that they had written."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        waiting = []
        for _ in range(6):
            waiting.append(p.ctl_start("reload"))
            time.sleep(random.random() * 0.05)
        for c in waiting:
            out, err = c.communicate(timeout=harness.stretched(30))
            self.assertEqual(c.returncode, 0, err)
            self.assertIn("generation", out)
        p.wait_ready()

    def test_descriptors_do_not_leak(self):
        """Ten reloads, good and bad, leave the master with as many as before."""
        p = self.preforkd(files={"mine.py": GOOD}, wsgi="mine:app", worker_log="./w.log",
                          status_listen="127.0.0.1:%d" % harness.free_port(),
                          listen=["127.0.0.1:0", "unix:a.sock"], memory_interval="100ms")
        p.wait_ready()

        def count():
            """Open descriptors of the master."""
            return len(os.listdir("/proc/%d/fd" % p.pid))

        def settle():
            """The master opens what it reads of a process when it first measures it."""
            p.wait_status(lambda s: s["state"] == "running" and
                          all(one["pss_bytes"] for one in s["workers"] + s["molds"]))
        self.assertEqual(p.ctl("reload")[0], 0)
        settle()
        before = count()
        for i in range(10):
            p.write("mine.py", GOOD if i % 2 else "raise OSError\n")
            p.ctl("reload")
        settle()
        wait_until(lambda: count() <= before, 5, "descriptors: %d" % before)

    def test_load_from_threads(self):
        """Status, recycle and reload from several clients at once."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        codes = []

        def order(*words):
            """One client."""
            for _ in range(4):
                codes.append(p.ctl(*words)[0])
        threads = [threading.Thread(target=order, args=words) for words in (
            ("reload",), ("recycle", "all"), ("status",), ("--json", "status"),
            ("recycle", "1"))]
        with p.load(clients=2) as load:
            for t in threads:
                t.start()
            for t in threads:
                t.join()
        self.assertEqual(load.failed, 0, load.result)
        self.assertTrue(set(codes) <= {0, 1}, codes)
        p.wait_ready()


if __name__ == "__main__":
    harness.main()
