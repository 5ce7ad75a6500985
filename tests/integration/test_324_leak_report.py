# SPDX-License-Identifier: MIT
"""leak-report and preforkctl report --memory: who allocates what is not freed."""

import json
import os
import re
import signal

import harness
from harness import needs_module

LEAKING = """\
import json
from plain import app as plain
KEPT = {}


def remember(environ):
    \"\"\"Forgets nothing.\"\"\"
    key = len(KEPT)
    KEPT[key] = ("x" * 100000) + str(key)  # LEAK


def busy(environ):
    \"\"\"Allocates a lot and keeps nothing.\"\"\"
    return [json.dumps({"a": [n]}) for n in range(500)]


def app(environ, start):
    busy(environ)
    if environ["PATH_INFO"] == "/remember":
        remember(environ)
        environ["PATH_INFO"] = "/"
    return plain(environ, start)


async def asgi(scope, receive, send):
    if scope["type"] == "http":
        busy(scope)
        if scope["path"] == "/remember":
            remember(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
"""
LINE = next(n for n, line in enumerate(LEAKING.splitlines(), 1) if "# LEAK" in line)
LEAK_SITE = r" +\+\d+\.\dM in +\+\d+  \S*/leaking\.py:%d  KEPT\[key\] = " % LINE


class Case(harness.Case):
    """That application."""

    def leaking(self, n=1, **kw):
        """n ready workers whose memory is looked at often."""
        settings = dict(wsgi="leaking:app", workers=n, memory_interval="100ms",
                        min_worker_lifetime=0, files={"leaking.py": LEAKING})
        if "asgi" in kw:
            del settings["wsgi"]
        settings.update(kw)
        p = self.preforkd(**settings)
        p.wait_ready(n)
        return p

    def reports(self, p):
        """Reports in the log: lists of lines, by pid."""
        found = {}
        for line in p.log().splitlines():
            match = re.search(r"slot \d+ pid (\d+) gen \d+: leak-report: (.*)", line)
            if match and re.match(r"worker \d+, | |\(more|the process|most of", match.group(2)):
                found.setdefault(int(match.group(1)), []).append(match.group(2))
        return found


class LeakReport(Case):
    """The setting."""

    def check(self, limit=70, **kw):
        """A leaking worker is replaced, its report is logged before and names the line."""
        p = self.leaking(reload_on_rss="%dM" % limit, leak_report=True, **kw)
        before = p.pids()
        with p.load(clients=2, path="/remember") as load:
            p.wait_log(r"leak-report: \S+ of \S+; it traces its allocations", timeout=60)
            p.wait_status(lambda s: s["recycles"]["reload-on-rss"] >= 1, timeout=60)
            harness.wait_until(lambda: self.reports(p), 20, "report")
        self.assertEqual(load.failed, 0, load.result)
        pid, lines = min(self.reports(p).items())
        self.assertIn(pid, before)
        self.assertRegex(lines[0], r"^worker %d, \S+ .* allocated and kept in \d+\.\d s" % pid)
        sites = [line for line in lines if re.match(r" +\+", line)]
        self.assertRegex(sites[0], LEAK_SITE)
        self.assertLessEqual(len(sites), 11)
        self.assertNotIn("preforkd/tracing", "".join(lines))
        # the share of the growth that the line explains
        size = float(re.search(r"\+([\d.]+)M", sites[0]).group(1))
        self.assertGreater(size, limit / 8)
        self.assertIn("leak-report", p.log().split("reload-on-rss: ")[0])
        return p

    def test_exec(self):
        """Workers that are exec'd."""
        self.check(preload="no")

    def test_mold(self):
        """Workers that a mold forks, whose successor serves at once."""
        self.check(preload="yes")

    @needs_module("uvicorn")
    def test_uvicorn(self):
        """An event loop."""
        self.check(limit=100, asgi="leaking:asgi", worker_class="uvicorn")

    @needs_module("gunicorn")
    def test_sync(self):
        """A worker that has no time for anything but requests."""
        self.check(worker_class="sync", limit=80)

    def test_one_at_a_time(self):
        """Of several workers that leak at most one traces."""
        p = self.leaking(n=3, reload_on_rss="70M", leak_report=True, preload="no")
        seen = set()

        def count(status):
            """Workers that trace and that nobody replaces."""
            traces = [w for w in status["workers"] if w["traces"] and w["reason"] is None]
            seen.add(len(traces))
            return status["recycles"]["reload-on-rss"] >= 4
        with p.load(clients=6, path="/remember") as load:
            p.wait_status(count, timeout=90)
        self.assertEqual(load.failed, 0, load.result)
        self.assertEqual(seen - {0, 1}, set())
        self.assertIn(1, seen)

    def test_off(self):
        """Without it nobody traces."""
        p = self.leaking(reload_on_rss="70M")
        with p.load(clients=2, path="/remember"):
            p.wait_status(lambda s: s["recycles"]["reload-on-rss"] >= 2, timeout=60)
        self.assertNotIn("leak-report", p.log())

    def test_cost_does_not_count(self):
        """What tracing takes is not counted as the worker's memory: the limit is no nearer."""
        limit = 88
        small = (LEAKING + "\nBALLAST = 'x' * (20 << 20)\nSMALL = []\n"
                 "def small(environ, start):\n"
                 "    SMALL.extend([n] for n in range(int(environ.get('QUERY_STRING') or 0)))\n"
                 "    return app(environ, start)\n")
        p = self.leaking(reload_on_rss="%dM" % limit, preload="no", memory_interval="500ms",
                         memory_samples=3, files={"leaking.py": small}, wsgi="leaking:small")
        pid = p.pids()[0]
        with harness.Varlink(p.control) as caller:
            caller.send("io.preforkd.Manager.Report", {"slot": 1, "what": "memory", "seconds": 60})
            p.wait_status(lambda s: s["workers"][0]["traced_bytes"])
            # little by little, since the cost is told four times a second
            for n in range(1, 11):
                p.text("/?13000")
                p.wait_status(lambda s, n=n: s["workers"][0]["traced_bytes"] > n << 20)

            def is_above(status):
                """Resident memory is, by far, and that is what tracing takes."""
                w = status["workers"][0]
                return w["rss_bytes"] > limit + 2 << 20 and w["traced_bytes"] > 10 << 20
            age = p.wait_status(is_above)["workers"][0]["age_seconds"]
            # six samples more
            w = p.wait_status(lambda s: s["workers"][0]["age_seconds"] > age + 3)["workers"][0]
            self.assertEqual((w["pid"], w["reason"]), (pid, None))
            self.assertEqual(p.status()["recycles"]["reload-on-rss"], 0)
            self.assertRegex(p.ctl("status")[1], "traces allocations")

    def test_reload(self):
        """Switched off by a reload, and on again."""
        p = self.leaking(reload_on_rss="60M", leak_report=True, preload="no", files={
            "leaking.py": LEAKING + "\nBALLAST = 'x' * (15 << 20)\n"})
        p.wait_status(lambda s: s["workers"][0]["traces"])
        p.write_ini(leak_report=False)
        self.assertEqual(p.ctl("reload")[0], 0)
        p.wait_status(lambda s: len(s["workers"]) == 1 and not s["workers"][0]["traces"])

    def test_a_worker_that_does_not_answer(self):
        """It is replaced all the same, and as soon."""
        p = self.leaking(reload_on_rss="70M", leak_report=True, preload="no",
                         graceful_timeout="5s", files={
                             "leaking.py": LEAKING + "import time, tracemalloc\n"
                             "tracemalloc.take_snapshot = lambda: time.sleep(3600)\n"})
        with p.load(clients=2, path="/remember") as load:
            p.wait_status(lambda s: s["recycles"]["reload-on-rss"] >= 2, timeout=60)
        self.assertEqual(load.failed, 0, load.result)
        harness.wait_until(lambda: len(p.workers()) == 1, 10, "the end of the old one")
        self.assertNotIn("graceful-timeout", p.log())
        self.assertEqual(self.reports(p), {})


class OnRequest(Case):
    """preforkctl report --memory"""

    def ask(self, p, *more):
        """The lines of the report of slot 1."""
        code, out, err = p.ctl("report", "1", "--memory", *more, timeout=60)
        self.assertEqual(code, 0, err)
        return out.splitlines()

    def test_report(self):
        """It traces for the time that was asked for, and no longer."""
        p = self.leaking()
        with p.load(clients=2, path="/remember", pause=0.01) as load:
            lines = self.ask(p, "--seconds", "2")
        self.assertEqual(load.failed, 0, load.result)
        self.assertRegex(lines[0], r"allocated and kept in 2\.\d s, \d+ requests")
        self.assertRegex([line for line in lines if re.match(r" +\+", line)][0], LEAK_SITE)
        self.assertRegex(lines[-1], r"^the process has grown by \d+\.\dM meanwhile")
        p.wait_status(lambda s: not s["workers"][0]["traces"] and
                      s["workers"][0]["traced_bytes"] == 0)

    def test_json(self):
        """The same as JSON."""
        p = self.leaking()
        code, out, err = p.ctl("--json", "report", "1", "--memory", "--seconds", "1", timeout=60)
        self.assertEqual(code, 0, err)
        self.assertIn("allocated and kept in 1.", json.loads(out)["text"])

    def test_at_once(self):
        """A worker that traces already answers at once."""
        p = self.leaking(reload_on_rss="80M", leak_report=True, preload="no", files={
            "leaking.py": LEAKING + "\nBALLAST = 'x' * (25 << 20)\n"})
        p.wait_log("it traces its allocations")
        for _ in range(20):
            p.text("/remember")
        lines = self.ask(p, "--seconds", "600")
        self.assertRegex([line for line in lines if re.match(r" +\+", line)][0], LEAK_SITE)
        self.assertTrue(p.status()["workers"][0]["traces"])

    def test_refused(self):
        """Usage, a plain command, another report, a worker that ends, one that stands still."""
        p = self.leaking()
        for words in (("report", "1", "--seconds", "5"), ("status", "--memory"),
                      ("report", "1", "--memory", "--seconds", "601"),
                      ("report", "1", "--memory", "--seconds", "0")):
            self.assertEqual(p.ctl(*words)[0], 2, words)
        q = self.preforkd(command=harness.helper("fakeworker") + " ready")
        q.wait_ready()
        code, _, err = q.ctl("report", "1", "--memory")
        self.assertEqual(code, 1)
        self.assertIn("plain command", err)
        with harness.Varlink(p.control) as first:
            first.send("io.preforkd.Manager.Report", {"slot": 1, "what": "memory", "seconds": 60})
            p.wait_status(lambda s: s["workers"][0]["traces"])
            code, _, err = p.ctl("report", "1")
            self.assertEqual(code, 1)
            self.assertIn("another report", err)
            os.kill(p.pids()[0], signal.SIGKILL)
            answer = first.receive()
            self.assertIn("ended before", answer["parameters"]["reason"])
        p.wait_ready(1)


if __name__ == "__main__":
    harness.main()
