# SPDX-License-Identifier: MIT
"""What status and metrics show."""

import json

import harness
from harness import needs_module


class Status(harness.Case):
    """status and metrics."""

    def test_fixed_names(self):
        """--json has every name that was promised."""
        p = self.preforkd(workers=2, max_requests=1000)
        p.wait_ready()
        p.text("/")
        p.wait_status(lambda s: s["requests_total"] == 1)
        code, out, err = p.ctl("--json", "status")
        self.assertEqual((code, err), (0, ""))
        s = json.loads(out)
        for name in ("version pid state generation uptime_seconds listen workers recycles crashes "
                     "oom_kills last_reload governor").split():
            self.assertIn(name, s)
        self.assertEqual((s["pid"], s["state"], s["generation"]), (p.pid, "running", 1))
        self.assertEqual(len(s["workers"]), 2)
        for w in s["workers"]:
            for name in ("slot pid serial generation state requests in_flight rss_bytes uss_bytes "
                         "pss_bytes age_seconds max_requests last_reason").split():
                self.assertIn(name, w)
            self.assertTrue(1000 <= w["max_requests"] <= 1100)
            self.assertEqual(w["state"], "ready")
        for reason in ("max-requests max-worker-lifetime reload-on-rss reload-on-as reload-on-fds "
                       "evil-reload-on-rss boot-timeout timeout request-timeout oom reload scale "
                       "request").split():
            self.assertEqual(s["recycles"][reason], 0)
        self.assertNotIn("stop", s["recycles"])
        self.assertNotIn("crash", s["recycles"])

    def test_table(self):
        """80 columns, everything that matters."""
        p = self.preforkd(workers=3, name="a-rather-long-name-of-a-service",
                          listen=["127.0.0.1:0", "[::1]:0", "unix:some/longish/path.sock"],
                          files={"some/longish/x": ""})
        p.wait_ready()
        code, out, err = p.ctl("status")
        self.assertEqual((code, err), (0, ""))
        self.assertLessEqual(max(map(len, out.splitlines())), 80)
        for pid in p.pids():
            self.assertRegex(out, r"(?m)^ *\d +%d ready" % pid)
        self.assertIn("3 of 3 workers ready", out)
        self.assertIn("a-rather-long-name-of-a-service: running", out)

    def test_trouble_shows(self):
        """Back-off, a failed reload and bad code are seen by a person."""
        p = self.preforkd(files={"mine.py": "from plain import app\n"},
                          wsgi="mine:app", preload="no", workers=2)
        p.wait_ready()
        p.write("mine.py", "raise OSError('no')\n")
        p.ctl("reload")
        harness.kill(p.pids()[0])
        p.wait_status(lambda s: any(w["state"] == "backoff" for w in s["workers"]))
        out = p.ctl("status")[1]
        self.assertRegex(out, r"the last reload failed")
        self.assertRegex(out, r"backoff")
        self.assertRegex(out, r"the code on disk does not boot")

    def test_last_reason(self):
        """Why the worker before ended."""
        p = self.preforkd()
        p.wait_ready()
        p.text("/")
        p.ctl("recycle")
        self.assertEqual(p.wait_ready()["workers"][0]["last_reason"], "request")
        p.text("/")
        p.wait_status(lambda s: s["requests_total"] == 2)
        harness.kill(p.pids()[0])
        p.wait_status(lambda s: s["crashes"] == 1)
        self.assertEqual(p.wait_ready()["workers"][0]["last_reason"], "crash")

    def test_metrics(self):
        """OpenMetrics: types, # EOF, slot as label, never a pid."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        p.text("/")
        p.wait_status(lambda s: s["requests_total"] == 1)
        code, out, _ = p.ctl("metrics")
        self.assertEqual(code, 0)
        self.assertTrue(out.endswith("# EOF\n"))
        self.assertRegex(out, r'(?m)^preforkd_\w+\{.*slot="1".*\} ')
        self.assertNotIn("pid=", out)
        self.assertRegex(out, r"(?m)^preforkd_requests_total(\{\})? 1$")
        for line in out.splitlines():
            self.assertRegex(line, r"^(# (TYPE|HELP|UNIT|EOF)|[a-z_]+(\{[^}]*\})? [0-9.e+-]+$)")

    @needs_module("gunicorn")
    def test_counts(self):
        """Requests of ended workers stay in the total."""
        p = self.preforkd(worker_class="gthread", workers=2)
        p.wait_ready()
        for i in range(1, 4):
            for _ in range(5):
                p.text("/")
            p.wait_status(lambda s: s["requests_total"] == 5 * i)
            self.assertEqual(p.ctl("recycle", "all")[0], 0)
        self.assertEqual(p.wait_ready()["requests_total"], 15)


if __name__ == "__main__":
    harness.main()
