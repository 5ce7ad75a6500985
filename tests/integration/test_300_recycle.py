# SPDX-License-Identifier: MIT
"""Recycling: the limits, the governor's promises, capacity that never dips."""

import os
import re
import signal
import socket
import time

import harness
from harness import needs_module, wait_until


class Watch:
    """Looks at the status as often as it can and keeps the extremes."""

    def __init__(self, p):
        """Nothing seen."""
        self.p, self.most_starting, self.fewest_ready, self.limits = p, 0, 1000, {}
        self.status = None

    def look(self):
        """Once more; the status."""
        self.status = s = self.p.status()
        states = [w["state"] for w in s["workers"]]
        self.most_starting = max(self.most_starting, states.count("starting"))
        self.fewest_ready = min(self.fewest_ready, states.count("ready"))
        for w in s["workers"]:
            if w["max_requests"]:
                self.limits.setdefault(w["serial"], set()).add(w["max_requests"])
        return s

    def until(self, predicate, timeout=harness.PATIENCE):
        """Looks until the status is as wanted; that status."""
        wait_until(lambda: predicate(self.look()), timeout, every=0)
        return self.status


class MaxRequests(harness.Case):
    """max-requests and its jitter."""

    def test_exact(self):
        """Without jitter a lone worker is replaced after so many requests."""
        p = self.preforkd(max_requests=10, max_requests_jitter=0, min_worker_lifetime=0)
        p.wait_ready()
        first = p.pids()[0]
        for _ in range(9):
            p.text("/")
        p.wait_status(lambda s: s["requests_total"] == 9)
        self.assertEqual(p.pids(), [first])
        p.text("/")
        p.wait_status(lambda s: s["recycles"]["max-requests"] == 1)
        p.wait_ready()
        self.assertNotIn(first, p.pids())
        p.wait_log(r"slot 1 pid %d.*max-requests: 10 requests of 10; a successor is forked" % first)
        p.wait_log(r"slot 1 pid %d.*ended: exit status 0 after 10 requests" % first)
        self.assertEqual(p.status()["workers"][0]["last_reason"], "max-requests")

    def test_jitter_is_drawn_once(self):
        """Limits of workers differ, keep within the jitter, and stay for a worker's life."""
        p = self.preforkd(workers=6, max_requests=100, max_requests_jitter="50%")
        p.wait_ready()
        first = {w["serial"]: w["max_requests"] for w in p.workers()}
        for _ in range(5):
            p.text("/")
            again = {w["serial"]: w["max_requests"] for w in p.workers()}
            self.assertEqual(first, again)
        for limit in first.values():
            self.assertTrue(100 <= limit <= 150, first)
        self.assertGreater(len(set(first.values())), 1, first)

    @needs_module("gunicorn")
    def test_under_full_load(self):
        """2 gthread workers: zero refused or failed, capacity never dips, one at a time."""
        p = self.preforkd(worker_class="gthread", workers=2, max_requests=500,
                          max_requests_jitter=100, min_worker_lifetime=0)
        p.wait_ready()
        watch = Watch(p)
        with p.load(clients=8, path="/pid", pause=0) as load:
            watch.until(lambda s: s["recycles"]["max-requests"] >= 6, 60)
        self.assertEqual(load.failed, 0, load.result)
        self.assertGreater(load.ok, 2500)
        self.assertGreaterEqual(watch.fewest_ready, 2)
        self.assertLessEqual(watch.most_starting, 1)
        self.assertTrue(all(len(v) == 1 for v in watch.limits.values()))
        self.assertTrue(all(500 <= min(v) <= 600 for v in watch.limits.values()))

    @needs_module("uvicorn")
    def test_uvicorn_under_load(self):
        """The same with uvicorn."""
        p = self.preforkd(asgi="plain:asgi", worker_class="uvicorn", workers=2, max_requests=300,
                          min_worker_lifetime=0)
        p.wait_ready()
        with p.load(clients=8, path="/pid", pause=0) as load:
            p.wait_status(lambda s: s["recycles"]["max-requests"] >= 6, 60)
        self.assertEqual(load.failed, 0, load.result)

    def test_many_at_once(self):
        """Five workers that hit the limit together are replaced one after another."""
        p = self.preforkd(files={"mine.py": "import time\ntime.sleep(0.2)\n"
                                 "from plain import app\n"}, wsgi="mine:app", workers=5,
                          max_requests=40, max_requests_jitter=0, min_worker_lifetime=0)
        p.wait_ready()
        watch = Watch(p)
        with p.load(clients=5, path="/pid", pause=0) as load:
            watch.until(lambda s: s["recycles"]["max-requests"] >= 5)
        self.assertEqual(load.failed, 0, load.result)
        self.assertLessEqual(watch.most_starting, 1)
        self.assertGreaterEqual(watch.fewest_ready, 5)

    def test_min_lifetime(self):
        """Young workers are spared."""
        p = self.preforkd(max_requests=5, max_requests_jitter=0, min_worker_lifetime="3s")
        p.wait_ready()
        first, begun = p.pids()[0], time.monotonic()
        for _ in range(20):
            p.text("/")
        p.wait_status(lambda s: s["requests_total"] == 20)
        self.assertEqual(p.pids(), [first])
        p.wait_status(lambda s: s["recycles"]["max-requests"] == 1)
        self.assertGreater(time.monotonic() - begun, 2.5)

    def test_spacing(self):
        """recycle-spacing between starts."""
        p = self.preforkd(workers=2, recycle_spacing="1500ms")
        p.wait_ready()
        self.assertEqual(p.ctl("--no-wait", "recycle", "all")[0], 0)
        p.wait_status(lambda s: s["recycles"]["request"] == 1)
        s = p.status()
        if s["recycles"]["request"] == 1:
            self.assertEqual(s["governor"]["waiting"], "recycle-spacing")
            self.assertEqual(s["governor"]["queued"], 1)
        begun = time.monotonic()
        p.wait_status(lambda s: s["recycles"]["request"] == 2)
        self.assertGreater(time.monotonic() - begun, 0.8)


class Lifetime(harness.Case):
    """max-worker-lifetime."""

    def test_lifetime(self):
        """Idle workers are replaced for their age, jitter apart."""
        p = self.preforkd(workers=3, max_worker_lifetime="1s", min_worker_lifetime=0,
                          max_worker_lifetime_jitter="50%")
        p.wait_ready()
        ages = {w["serial"]: w["max_lifetime_seconds"] for w in p.workers()}
        self.assertTrue(all(1.0 <= a <= 1.5 for a in ages.values()), ages)
        self.assertGreater(len(set(ages.values())), 1)
        s = p.wait_status(lambda s: s["recycles"]["max-worker-lifetime"] >= 3)
        self.assertEqual(s["crashes"], 0)
        p.wait_log(r"max-worker-lifetime: age 1\.\d+s of 1\.\d+s|age 1s of 1s")


class Memory(harness.Case):
    """reload-on-rss, -as, -fds, evil-reload-on-rss."""

    def rss_limit(self, p, more):
        """The size of a fresh worker plus so many MiB, as a setting."""
        s = p.wait_status(lambda s: s["workers"] and s["workers"][0]["rss_bytes"])
        return (s["workers"][0]["rss_bytes"] >> 20) + more

    def start(self, more=40, **kw):
        """A preforkd whose reload-on-rss is a bit above what a worker needs."""
        limit = 24 + more
        settings = dict(reload_on_rss="%dM" % limit, memory_interval="100ms",
                        min_worker_lifetime=0)
        settings.update(kw)
        p = self.preforkd(**settings)
        p.wait_ready()
        return p

    def test_rss(self):
        """A worker that grows is replaced; clients notice nothing; the log has numbers."""
        p = self.start(workers=2)
        with p.load(clients=2) as load:
            p.text("/leak?50")
            p.wait_status(lambda s: s["recycles"]["reload-on-rss"] == 1)
        self.assertEqual(load.failed, 0, load.result)
        self.assertRegex(p.log(), r"reload-on-rss: \d+(\.\d+)?M of 64(\.0)?M after \d+ requests; ")
        s = p.wait_ready()
        self.assertTrue(all(w["rss_bytes"] is None or w["rss_bytes"] < 64 << 20
                            for w in s["workers"]))

    def test_descendants_count(self):
        """A child process's memory is the worker's."""
        p = self.start()
        own = p.workers()[0]["rss_bytes"] or 0
        child = int(p.text("/childleak?60"))
        self.addCleanup(harness.kill, child)
        p.wait_status(lambda s: s["recycles"]["reload-on-rss"] == 1)
        self.assertLess(own, 60 << 20)
        # the group goes with its leader
        wait_until(lambda: not harness.is_alive(child))

    def test_as(self):
        """Address space, which is not memory."""
        p = self.preforkd(reload_on_as="1G", memory_interval="100ms")
        p.wait_ready()
        p.text("/leakas?1500")
        p.wait_status(lambda s: s["recycles"]["reload-on-as"] == 1)

    def test_fds(self):
        """Descriptors."""
        p = self.preforkd(reload_on_fds=100, memory_interval="100ms")
        p.wait_ready()
        p.text("/leakfds?50")
        p.wait_status(lambda s: (s["workers"][0]["fds"] or 0) > 50)
        self.assertEqual(p.status()["recycles"]["reload-on-fds"], 0)
        p.text("/leakfds?60")
        p.wait_status(lambda s: s["recycles"]["reload-on-fds"] == 1)
        self.assertRegex(p.log(), r"reload-on-fds: 1\d\d descriptors of 100")

    def test_short_peak(self):
        """memory-samples: one sample above the limit is not enough."""
        p = self.start(memory_samples=1000)
        p.text("/leak?60")
        p.wait_status(lambda s: (s["workers"][0]["rss_bytes"] or 0) > 70 << 20)
        time.sleep(0.5)
        self.assertEqual(p.status()["recycles"]["reload-on-rss"], 0)

    def test_evil(self):
        """SIGKILL at once, counted under its own name; a new one starts."""
        p = self.preforkd(evil_reload_on_rss="80M", memory_interval="100ms", workers=2)
        p.wait_ready()
        try:
            p.text("/leak?100")
        except (OSError, harness.http.client.HTTPException):
            pass
        s = p.wait_status(lambda s: s["recycles"]["evil-reload-on-rss"] == 1)
        p.wait_log(r"evil-reload-on-rss: \d+(\.\d+)?M of 80(\.0)?M; SIGKILL")
        p.wait_ready(2)
        self.assertEqual(s["crashes"], 0)

    def test_evil_while_busy(self):
        """A request that eats quickly is caught within it."""
        p = self.preforkd(evil_reload_on_rss="150M", files={"mine.py": (
            "from plain import app as plain\nKEPT = []\n"
            "def app(environ, start):\n"
            "    if environ['PATH_INFO'] == '/eat':\n"
            "        import time\n"
            "        while True:\n"
            "            KEPT.append(bytearray(b'x') * (4 << 20))\n"
            "            time.sleep(0.005)\n"
            "            assert len(KEPT) < 500\n"
            "    return plain(environ, start)\n")}, wsgi="mine:app")
        p.wait_ready()
        p.text("/")
        p.wait_status(lambda s: s["workers"][0]["rss_bytes"])
        with socket.create_connection(p.address()) as s:
            s.sendall(b"GET /eat HTTP/1.0\r\n\r\n")
            match = p.wait_log(r"evil-reload-on-rss: (\d+)(?:\.\d+)?M of 150(?:\.0)?M")
        self.assertLess(int(match.group(1)), 400)

    def test_futile(self):
        """A limit below what a fresh worker needs: a warning with numbers, never a loop."""
        p = self.preforkd(reload_on_rss="5M", memory_interval="100ms", min_worker_lifetime=0)
        p.wait_ready()
        before = p.pids()
        match = p.wait_log(r"reload-on-rss = 5\S*M is futile: a fresh worker needs (\d+\S*M),.*"
                           r"at least (\d+\S*M)")
        self.assertGreater(float(match.group(2)[:-1]), float(match.group(1)[:-1]))
        for _ in range(20):
            p.text("/")
        s = p.status()
        self.assertEqual(s["governor"]["futile"]["key"], "reload-on-rss")
        self.assertEqual(s["governor"]["futile"]["limit_bytes"], 5 << 20)
        self.assertGreater(s["governor"]["futile"]["fresh_bytes"], 5 << 20)
        self.assertEqual(s["recycles"]["reload-on-rss"], 0)
        self.assertEqual(p.pids(), before)
        # said once, and seen by a person too
        self.assertEqual(p.log().count("is futile"), 1)
        self.assertIn("reload-on-rss = 5.0M cannot help", p.ctl("status")[1])

    def test_futile_after_reload(self):
        """A better limit after a reload works."""
        p = self.preforkd(reload_on_rss="5M", memory_interval="100ms", min_worker_lifetime=0)
        p.wait_ready()
        p.wait_log("is futile")
        p.write_ini(reload_on_rss="70M")
        self.assertEqual(p.ctl("reload")[0], 0)
        self.assertIsNone(p.wait_ready()["governor"]["futile"])
        p.text("/leak?60")
        p.wait_status(lambda s: s["recycles"]["reload-on-rss"] == 1)

    def test_limit_as(self):
        """limit-as makes the worker's own allocation fail: its request, not its life."""
        p = self.preforkd(limit_as="1G")
        p.wait_ready()
        pid = p.pids()[0]
        self.assertEqual(p.get("/leak?2000").status, 500)
        self.assertEqual(p.pids(), [pid])


class DryRun(harness.Case):
    """recycle-dry-run."""

    def test_only_told(self):
        """What would be done is logged once per reason and counted; nothing is done."""
        p = self.preforkd(recycle_dry_run=True, max_requests=5, max_requests_jitter=0,
                          min_worker_lifetime=0, reload_on_rss="64M", memory_interval="100ms")
        p.wait_ready()
        before = p.pids()
        for _ in range(8):
            p.text("/")
        p.text("/leak?60")
        p.wait_log(r"recycle-dry-run: would be replaced now, max-requests: \d+ requests of 5")
        p.wait_log(r"recycle-dry-run: would be replaced now, reload-on-rss")
        s = p.status()
        self.assertTrue(s["governor"]["dry_run"])
        self.assertEqual(s["governor"]["dry_run_would"], 2)
        self.assertEqual(sum(s["recycles"].values()), 0)
        self.assertEqual(p.pids(), before)
        # what a person asks for is done
        self.assertEqual(p.ctl("recycle", "1")[0], 0)
        self.assertNotEqual(p.pids(), before)


class Governor(harness.Case):
    """Who, when, how many."""

    def test_max_draining(self):
        """More old workers than that: the oldest ends first."""
        p = self.preforkd(workers=1, max_draining=1, graceful_timeout="60s", timeout=0)
        p.wait_ready()
        hung = [0]

        def hang():
            """A hanging request; the ready worker has one then."""
            s = socket.create_connection(p.address())
            self.addCleanup(s.close)
            s.sendall(b"GET /hang HTTP/1.0\r\n\r\n")
            p.wait_status(lambda s: sum(w["in_flight"] for w in s["workers"]) > hung[0])
            hung[0] += 1
            return any(w["in_flight"] for w in p.workers())

        for _ in range(3):
            wait_until(hang)
            self.assertEqual(p.ctl("recycle", "1")[0], 0)
            hung[0] = sum(w["in_flight"] for w in p.workers(None))
        p.wait_log(r"more than max-draining \(1\)")
        p.wait_status(lambda s: [w["state"] for w in s["workers"]].count("draining") <= 1)

    def test_two_reasons_one_recycle(self):
        """A worker is replaced once, whatever has come together."""
        p = self.preforkd(workers=1, preload="no", max_requests=5, max_requests_jitter=0,
                          min_worker_lifetime=0, max_worker_lifetime="1s",
                          max_worker_lifetime_jitter=0)
        p.wait_ready()
        for _ in range(6):
            p.text("/")
        p.ctl("--no-wait", "recycle", "1")
        p.wait_status(lambda s: sum(s["recycles"].values()) == 1)
        p.wait_ready()
        self.assertEqual(len(re.findall(r"successor pid \d+ starts", p.log())), 1)

    def test_successor_that_fails(self):
        """The old worker serves on; a successor is tried again later."""
        p = self.preforkd(files={"mine.py": "from plain import app\n"},
                          wsgi="mine:app", preload="no",
                          max_requests=5, max_requests_jitter=0, min_worker_lifetime=0)
        p.wait_ready()
        before = p.pids()
        p.write("mine.py", "raise OSError('not today')\n")
        with p.load(clients=2, path="/pid") as load:
            p.wait_log(r"ended before it was ready.*the old worker serves on, next attempt in")
        self.assertEqual(load.failed, 0, load.result)
        self.assertEqual(p.pids(), before)
        self.assertTrue(p.status()["governor"]["code_bad"])

    def test_old_worker_dies_while_successor_boots(self):
        """The successor takes its place."""
        p = self.preforkd(files={"mine.py": (
            "import os, time\nwhile os.path.exists('wait'):\n    time.sleep(0.01)\n"
            "from plain import app\n")}, wsgi="mine:app", preload="no")
        p.wait_ready()
        old = p.pids()[0]
        p.text("/")
        p.write("wait", "")
        p.ctl("--no-wait", "recycle", "1")
        s = p.wait_status(lambda s: any(w["state"] == "starting" for w in s["workers"]))
        new = [w["pid"] for w in s["workers"] if w["state"] == "starting"][0]
        harness.kill(old)
        p.wait_log(r"pid %d.*ended unasked.*pid %d, starting already, takes its place" % (old, new))
        os.unlink(p.path("wait"))
        p.wait_ready()
        self.assertEqual(p.pids(), [new])

    def test_successor_is_killed(self):
        """From outside, while it starts: the old one serves on."""
        p = self.preforkd(files={"mine.py": (
            "import os, time\nwhile os.path.exists('wait'):\n    time.sleep(0.01)\n"
            "from plain import app\n")}, wsgi="mine:app", preload="no")
        p.wait_ready()
        old = p.pids()[0]
        p.write("wait", "")
        p.ctl("--no-wait", "recycle", "1")
        s = p.wait_status(lambda s: any(w["state"] == "starting" for w in s["workers"]))
        new = [w["pid"] for w in s["workers"] if w["state"] == "starting"][0]
        harness.kill(new, signal.SIGKILL)
        p.wait_log(r"pid %d.*SIGKILL.*the old worker serves on" % new)
        self.assertEqual(p.pids(), [old])
        self.assertEqual(p.text("/"), "hello")


if __name__ == "__main__":
    harness.main()
