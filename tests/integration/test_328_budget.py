# SPDX-License-Identifier: MIT
"""The ladder of one worker's limits, and the memory that there is for all of them."""

import http.client
import os
import re
import threading
import time

import harness
from cgroup_box import Box, needs_box

MIB = 1 << 20
# Keeps `step` bytes with each request.
LEAK = ("KEPT = []\n"
        "def app(environ, start_response):\n"
        "    KEPT.append(bytearray(%d))\n"
        "    start_response('200 OK', [('Content-Length', '2')])\n"
        "    return [b'ok']\n")


# Leaks 100 kB with each request; from a moment on it does not start before it may.
SLOW = ("import os, time\n"
        "while os.path.exists('is-slow'):\n"
        "    time.sleep(0.02)\n") + LEAK % 100000
# One call of the interpreter, with its lock held all the time.
EAT = ("def app(environ, start_response):\n"
       "    bytearray(2 << 30)\n"
       "    start_response('200 OK', [('Content-Length', '2')])\n"
       "    return [b'ok']\n")
# No copy on the way.
KEEP = ("KEPT = []\n"
        "def app(environ, start_response):\n"
        "    KEPT.append(bytearray(int(environ['QUERY_STRING'] or 0)))\n"
        "    start_response('200 OK', [('Content-Length', '2')])\n"
        "    return [b'ok']\n")
# Blocks of the C library's heap that are freed, all but the one on top, which keeps them resident.
SPIKE = ("KEPT = []\n"
         "def app(environ, start_response):\n"
         "    if environ['PATH_INFO'] == '/spike':\n"
         "        KEPT.append([bytes(1000) for _ in range(80000)].pop())\n"
         "    if environ['PATH_INFO'] == '/leak':\n"
         "        KEPT.append([bytes(1000) for _ in range(80000)])\n"
         "    start_response('200 OK', [('Content-Length', '2')])\n"
         "    return [b'ok']\n")


def budget_of(status):
    """That part of a status."""
    return status["memory"]["budget"] or {}


class Limited(harness.Case):
    """Workers that are looked at often."""

    WORKERS = 1

    def start(self, **kw):
        """Ready ones."""
        settings = dict(workers=self.WORKERS, memory_interval="100ms", preload="no",
                        min_worker_lifetime=0)
        settings.update(kw)
        p = self.preforkd(**settings)
        p.wait_ready(settings["workers"])
        return p


class Ladder(Limited):
    """Limits of one worker."""

    def test_multiple_of_a_fresh_worker(self):
        """Known once a worker is ready, and shown in the log in bytes."""
        p = self.start(reload_on_rss="2.5x", wsgi="keep:app", files={"keep.py": KEEP})
        fresh = p.status()["governor"]["fresh_rss_bytes"]
        p.text("/?%d" % (fresh * 1.2))
        first = p.status()["workers"][0]["serial"]
        self.assertEqual(p.status()["recycles"]["reload-on-rss"], 0)
        p.text("/?%d" % fresh)
        p.wait_status(lambda s: s["recycles"]["reload-on-rss"] == 1 and
                      s["workers"][0]["serial"] > first)
        limit = re.search(r"reload-on-rss: \S+ of (\S+)M after", p.log()).group(1)
        self.assertAlmostEqual(float(limit), 2.5 * fresh / MIB, delta=0.2)

    def test_hard_limit_below_a_fresh_worker(self):
        """Said once, shown, not obeyed."""
        p = self.start(evil_reload_on_rss="5M", workers=2)
        p.wait_log(r"evil-reload-on-rss = 5\S*M is futile: a fresh worker needs \d+\S*M, so each "
                   r"would be killed at once; .* at least \d+\S*M")
        s = p.status()
        self.assertEqual(s["governor"]["futile"]["key"], "evil-reload-on-rss")
        self.assertEqual([f["key"] for f in s["governor"]["futile_limits"]],
                         ["evil-reload-on-rss"])
        self.assertIn("evil-reload-on-rss = 5.0M cannot help", p.ctl("status")[1])
        self.assertEqual(p.text("/"), "hello")
        self.assertEqual(p.log().count("is futile"), 1)
        self.assertNotIn("SIGKILL", p.log())

    def test_killed_for_its_own(self):
        """evil-reload-on-uss looks at what is private."""
        p = self.start(evil_reload_on_uss="100M")
        before = p.status()["workers"][0]["serial"]
        try:
            p.text("/leak?150")
        except OSError:
            pass            # the usual end: it is killed before it can answer
        p.wait_status(lambda s: s["recycles"]["evil-reload-on-uss"] == 1 and
                      s["workers"][0]["serial"] > before)
        self.assertRegex(p.log(), r"evil-reload-on-uss: \d+\.\dM of 100\.0M; SIGKILL")

    def ask_in_vain(self, p):
        """A request whose worker is killed."""
        with self.assertRaises((OSError, http.client.HTTPException)):
            p.text("/")

    def test_one_request_eats_memory(self):
        """2 GB in one call that never lets the agent run: killed before 700 MB."""
        p = self.start(evil_reload_on_rss="500M", memory_interval="1s", wsgi="eat:app",
                       worker_class="sync", files={"eat.py": EAT})
        pid, peak = p.status()["workers"][0]["pid"], 0
        asking = threading.Thread(target=self.ask_in_vain, args=(p,))
        asking.start()
        try:
            while True:
                with open("/proc/%d/status" % pid, encoding="ascii") as lines:
                    found = re.search(r"VmHWM:\s*(\d+)", lines.read())
                peak = max(peak, int(found.group(1)) >> 10 if found else 0)
        except OSError:
            pass            # it is gone
        asking.join(harness.stretched(60))
        self.assertFalse(asking.is_alive())
        self.assertGreater(peak, 400)
        self.assertLess(peak, 700)
        self.assertRegex(p.log(), r"evil-reload-on-rss: [56]\d\d\.\dM of 500\.0M; SIGKILL")

    def test_trim(self):
        """What a spike has left is given back between requests; measured and shown."""
        p = self.start(trim_on_rss="60M", wsgi="spike:app", files={"spike.py": SPIKE})
        p.text("/spike")
        s = p.wait_status(lambda s: s["memory"]["trims"]["asked"] == 1 and
                          s["workers"][0]["rss_bytes"] < 50 * MIB)
        self.assertGreater(s["memory"]["trims"]["given_back_bytes"], 50 * MIB)
        self.assertEqual(sum(s["recycles"].values()), 0)
        self.assertRegex(p.log(), r"trimmed: \d+\.\dM of its own, \d+\.\dM after the collection, "
                                  r"\d+\.\dM after malloc_trim")

    def test_useless_trims(self):
        """Memory that is in use: three are asked, then nobody for an hour."""
        p = self.start(trim_on_rss="60M", workers=4, wsgi="spike:app", worker_class="sync",
                       files={"spike.py": SPIKE})
        while p.status()["memory"]["trims"]["off_seconds"] is None:
            p.text("/leak")
        s = p.status()
        self.assertGreater(s["memory"]["trims"]["off_seconds"], 3500)
        self.assertIn(s["memory"]["trims"]["asked"], (3, 4))     # the fourth may be under way
        self.assertEqual(p.log().count("no worker is asked for"), 1)
        self.assertIn("nobody is asked for another", p.ctl("status")[1])

    def test_pss(self):
        """reload-on-pss counts the worker's share."""
        p = self.start(reload_on_pss="80M")
        p.text("/leak?90")
        p.wait_status(lambda s: s["recycles"]["reload-on-pss"] == 1)
        self.assertRegex(p.log(), r"reload-on-pss: \d+\.\dM of 80\.0M after")


class Budget(Limited):
    """memory-limit as a size of one's own, and in a real group."""

    WORKERS = 3

    def test_largest_goes_first(self):
        """One that has grown, and no other."""
        p = self.start(memory_limit="800M", memory_high="25%")
        s = p.wait_status(lambda s: budget_of(s).get("others_bytes") is not None)
        self.assertEqual(budget_of(s)["limit_bytes"], 800 * MIB)
        self.assertEqual(budget_of(s)["high_bytes"], 200 * MIB)
        serials = {w["serial"] for w in s["workers"]}
        p.text("/leak?200")
        s = p.wait_status(lambda s: s["recycles"]["memory-limit"] == 1 and
                          all(w["state"] == "ready" for w in s["workers"]))
        self.assertEqual(len(serials & {w["serial"] for w in s["workers"]}), 2)
        self.assertRegex(p.log(), r"memory-limit: \d+\.\dM of 800\.0M used(, \S+ more each second)?"
                                  r"; it has \d+\.\dM "
                                  r"more than a fresh worker after \d+ requests; successor pid")
        self.assertRegex(p.ctl("status")[1], r"(?m)^memory-limit: \S+ of 800\.0M used")
        metrics = p.ctl("metrics")[1]
        for line in ("memory_limit_bytes %d" % (800 * MIB), "memory_high_bytes %d" % (200 * MIB),
                     "memory_limit_by_others 0", "memory_limit_futile 0", "trims_total 0"):
            self.assertIn("\npreforkd_%s\n" % line, metrics)
        self.assertRegex(metrics, r"\npreforkd_memory_limit_workers_bytes \d{8,}\n")

    def test_reload_without_room(self):
        """It is tried, and the log says what is lacking."""
        p = self.start(memory_limit="800M")
        p.wait_status(lambda s: budget_of(s).get("others_bytes") is not None)
        self.assertEqual(p.ctl("reload")[0], 0)
        self.assertNotRegex(p.log(), "reload: memory-limit")
        p.wait_ready()
        s = p.wait_status(lambda s: all(w["uss_bytes"] for w in s["workers"]))
        used = sum(w["uss_bytes"] for w in s["workers"])
        p.write_ini(memory_limit="%dM" % (used // MIB + 4), memory_high="100%")
        self.assertEqual(p.ctl("reload")[0], 0)
        p.wait_ready()
        p.wait_status(lambda s: budget_of(s)["limit_bytes"] < 800 * MIB)
        mark = p.mark()
        self.assertEqual(p.ctl("reload")[0], 0)
        p.wait_log(r"reload: memory-limit = \S+M lacks about \d+\.\dM for a new worker beside "
                   r"those of now, \d+\.\dM are used; the reload goes on", since=mark)
        p.wait_ready()

    def test_workers_that_do_not_fit(self):
        """Fewer are run, the log says why, and a better limit brings them back."""
        p = self.preforkd(workers=6, memory_interval="100ms", preload="no", memory_limit="64M",
                          memory_high="100%")
        p.wait_log(r"workers = 6: only [12345] fresh workers of \d+\.\dM fit into 64\.0M "
                   r"\(memory-high\)")
        s = p.wait_status(lambda s: len([w for w in s["workers"] if w["state"] == "ready"]) ==
                          len(s["workers"]) == budget_of(s)["workers_fit"])
        self.assertLess(len(s["workers"]), 6)
        self.assertEqual(p.text("/"), "hello")
        p.write_ini(memory_limit="2G")
        self.assertEqual(p.ctl("reload")[0], 0)
        p.wait_ready(6)

    def test_no_room_for_two(self):
        """One finishes before its successor starts, and that is said; nobody is refused."""
        p = self.start(workers=2, memory_limit="70M", memory_high="100%")
        p.wait_status(lambda s: budget_of(s).get("others_bytes") is not None)
        with p.load(clients=2, pause=0, timeout=60) as load:
            p.text("/leak?30")
            p.wait_status(lambda s: budget_of(s)["used_bytes"] > 55 * MIB)
            self.assertEqual(p.ctl("recycle", "all")[0], 0)
            p.wait_status(lambda s: s["recycles"]["request"] + s["recycles"]["memory-limit"] == 2
                          and len([w for w in s["workers"] if w["state"] == "ready"]) == 2)
        self.assertEqual(load.failed, 0, load.result)
        self.assertGreater(load.ok, 10)
        self.assertRegex(p.log(), r"(request|memory-limit): .*; memory has no room for two, so it "
                                  r"finishes before "
                                  r"its successor starts")

    def let_go(self, workers, mib, pause, before):
        """Each client leaks, and successors do not start: one worker goes all the same."""
        p = self.start(workers=workers, memory_limit="%dM" % mib, memory_high="70%",
                       recycle_concurrency=1, wsgi="slow:app", files={"slow.py": SLOW})
        p.wait_status(lambda s: budget_of(s).get("others_bytes") is not None)
        p.write("is-slow", "")
        with p.load(clients=workers, pause=pause, timeout=60) as load:
            p.wait_status(before, timeout=60)
            p.wait_log(r"memory-limit: %d\.0M are nearly used up, and its successor is not ready "
                       r"yet; it finishes now" % mib, timeout=20)
            os.unlink(p.path("is-slow"))
            p.wait_log(r"ended: .*peak RSS")
            p.wait_ready(workers)
        self.assertEqual(load.failed, 0, load.result)
        self.assertEqual(p.status()["crashes"], 0)

    def test_successor_that_takes_too_long(self):
        """The old worker has grown to the limit meanwhile: it goes first, and nobody is refused."""
        self.let_go(2, 120, 0.01, lambda s: any(w["successor"] for w in s["workers"]))

    def test_successor_that_takes_too_long_with_more_in_line(self):
        """That others wait for theirs keeps nobody from going first."""
        self.let_go(4, 240, 0.005, lambda s: s["governor"]["waiting"])

    def hold(self, box, mib):
        """A neighbour in the group that has so much memory."""
        holder = box.popen(harness.PYTHON, "-c", "import sys; k = bytearray(%d << 20); "
                           "k[::4096] = b'x' * (len(k) // 4096); "
                           "print('ok', flush=True); sys.stdin.read()" % mib, stdin=-1, stdout=-1)
        self.addCleanup(holder.wait)
        self.addCleanup(holder.stdout.close)
        self.addCleanup(holder.stdin.close)
        self.assertEqual(holder.stdout.readline(), b"ok\n")

    @needs_box
    def test_others_grow(self):
        """A neighbour in the group fills it: said once, nobody is replaced."""
        box = Box(300 * MIB)
        self.addCleanup(box.remove)
        p = self.start(preexec=box.enter)
        p.wait_status(lambda s: budget_of(s).get("others_bytes") is not None)
        self.hold(box, 225)
        p.wait_log(r"memory-limit: \d+\.\dM of 300\.0M are used, but by others than the workers")
        s = p.wait_status(lambda s: budget_of(s)["by_others"])
        self.assertEqual(s["recycles"]["memory-limit"], 0)
        self.assertRegex(" ".join(p.ctl("status")[1].split()),
                         r"replaced from 291\.0M on ! memory-limit: others have filled it")

    @needs_box
    def test_leaks_in_a_group(self):
        """Four workers that leak in 400 MB under load: no kill, nothing lost.

        The long form, and that the kernel kills without memory-limit, is in tests/soak.
        """
        box = Box(400 * MIB, swap=False)
        self.addCleanup(box.remove)
        p = self.start(workers=4, wsgi="leak:app", preexec=box.enter, threads=2,
                       files={"leak.py": LEAK % 40000})
        with p.load(clients=4, pause=0, timeout=60) as load:
            s = p.wait_status(lambda s: s["recycles"]["memory-limit"] >= 6, timeout=60)
        self.assertEqual(load.failed, 0, load.result)
        self.assertGreater(load.ok, 600)
        self.assertEqual((s["oom_kills"], box.oom_kills()), (0, 0))

    @needs_box
    def test_others_grow_and_workers_leak(self):
        """The kernel would kill a worker: those that have grown go before, whoever filled it."""
        box = Box(400 * MIB, swap=False)
        self.addCleanup(box.remove)
        p = self.start(workers=4, wsgi="leak:app", preexec=box.enter, threads=2,
                       files={"leak.py": LEAK % 20000})
        p.wait_status(lambda s: budget_of(s).get("others_bytes") is not None)
        self.hold(box, 100)
        with p.load(clients=4, pause=0.001, timeout=60) as load:
            p.wait_status(lambda s: s["recycles"]["memory-limit"] >= 4, timeout=60)
        self.assertIn("but by others than the workers", p.log())
        self.assertEqual(load.failed, 0, load.result)
        self.assertEqual((p.status()["oom_kills"], box.oom_kills()), (0, 0))

    @needs_box
    def test_without_a_limit_the_kernel_kills(self):
        """So the test before can fail: attributed, and the service goes on."""
        box = Box(300 * MIB, swap=False)
        self.addCleanup(box.remove)
        p = self.start(workers=2, wsgi="leak:app", files={"leak.py": LEAK % 800000},
                       preexec=box.enter, memory_limit="no", worker_class="sync")
        deadline = time.monotonic() + 60
        while p.status()["oom_kills"] == 0 and time.monotonic() < deadline:
            try:
                p.text("/")
            except OSError:
                pass
        p.wait_status(lambda s: s["oom_kills"] >= 1 and s["recycles"]["oom"] >= 1 and
                      any(w["state"] == "ready" for w in s["workers"]))
        self.assertRegex(p.log(), r"killed by the kernel because the cgroup ran out of memory")
        self.assertEqual(p.text("/"), "ok")


if __name__ == "__main__":
    harness.main()
