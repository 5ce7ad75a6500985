# SPDX-License-Identifier: MIT
"""Prometheus itself scrapes preforkd-http: what it keeps is what counts."""

import json
import os
import shutil
import subprocess
import tempfile
import urllib.parse

import harness

CONFIG = """\
global:
  scrape_interval: 200ms
  scrape_timeout: 200ms
scrape_configs:
- job_name: preforkd
  static_configs:
  - targets: ["127.0.0.1:%d"]
"""
LABELS = {"__name__", "instance", "job", "slot", "state", "reason", "version",
          "address"}


class Prometheus:
    """A prometheus with a configuration and data of its own. Context manager."""

    def __init__(self, target):
        """target: the port to scrape."""
        self.dir = tempfile.mkdtemp(prefix="pfd-prometheus-")
        self.port = harness.free_port()
        self.log_path = os.path.join(self.dir, "log")
        config = os.path.join(self.dir, "prometheus.yml")
        with open(config, "w", encoding="ascii") as file:
            file.write(CONFIG % target)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                ["prometheus", "--config.file=" + config,
                 "--storage.tsdb.path=" + os.path.join(self.dir, "data"),
                 "--web.listen-address=127.0.0.1:%d" % self.port],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir)

    def __enter__(self):
        """Returns when it answers."""
        try:
            harness.wait_until(self.is_ready, 30, "prometheus")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        """Ends it, by its process number."""
        self.process.terminate()
        try:
            self.process.wait(harness.stretched(10))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def is_ready(self):
        """Whether it answers; fails when it has ended."""
        if self.process.poll() is not None:
            with open(self.log_path, encoding="utf-8", errors="replace") as log:
                raise AssertionError("prometheus ended:\n" + log.read()[-3000:])
        try:
            return harness.get(("127.0.0.1", self.port), "/-/ready", 5).status == 200
        except OSError:
            return False

    def api(self, path, **query):
        """The data of an answer of its API."""
        path = "/api/v1/%s?%s" % (path, urllib.parse.urlencode(query))
        answer = json.loads(harness.get(("127.0.0.1", self.port), path).body)
        if answer["status"] != "success":
            raise AssertionError("%s: %s" % (path, answer))
        return answer["data"]

    def query(self, expression):
        """An instant query: [(labels, value)]."""
        result = self.api("query", query=expression)["result"]
        return [(r["metric"], float(r["value"][1])) for r in result]

    def by(self, label, expression):
        """An instant query as a dict of one label's values."""
        return {labels.get(label): value for labels, value in self.query(expression)}

    def wait(self, expression, good, timeout=20):
        """Waits until the values of a query are good; these."""
        def check():
            """The values, or None."""
            values = sorted(value for _, value in self.query(expression))
            return values if good(values) else None
        return harness.wait_until(check, timeout, expression)


@harness.needs_program("prometheus")
class Scrape(harness.Case):
    """One preforkd, one Prometheus."""

    def start(self, **settings):
        """Both, and the port of preforkd-http."""
        port = harness.free_port()
        p = self.preforkd(workers=2, status_listen="127.0.0.1:%d" % port, **settings)
        p.wait_ready(2)
        return p, port

    def test_series(self):
        """The scrape is taken whole; series are told apart by slot, never by pid."""
        p, port = self.start()
        with Prometheus(port) as prom:
            prom.wait("preforkd_up", lambda v: v == [1])
            target = prom.api("targets")["activeTargets"][0]
            self.assertEqual((target["health"], target["lastError"]), ("up", ""))
            rss = {w["slot"]: w["rss_bytes"] for w in p.status()["workers"]}
            found = prom.by("slot", "preforkd_worker_rss_bytes")
            self.assertEqual(set(found), {"1", "2"})
            for slot, value in found.items():
                self.assertAlmostEqual(value, rss[int(slot)], delta=16 << 20)
            self.assertEqual(prom.by("state", "preforkd_workers == 2"), {"ready": 2})
            self.assertEqual(prom.by("state", "preforkd_state == 1"), {"running": 1})
            series = prom.api("series", **{"match[]": '{__name__=~"preforkd_.+"}'})
            self.assertGreater(len(series), 30)
            self.assertEqual(set().union(*series) - LABELS, set())
            versions = {labels["version"] for labels, _ in prom.query("preforkd_build_info")}
            self.assertEqual(versions, {p.status()["version"]})

    def test_counters(self):
        """Requests and recycles are counters that a recycle does not turn back."""
        p, port = self.start()
        with Prometheus(port) as prom:
            types = {}

            def known():
                """Whether the metadata are there."""
                types.update({m["metric"]: m["type"] for m in prom.api("targets/metadata")})
                return "preforkd_requests" in types or "preforkd_requests_total" in types
            harness.wait_until(known, 20, "metadata")
            wrong = {name: kind for name, kind in types.items() if name.startswith("preforkd_") and
                     (kind == "counter") != (name in COUNTERS or name + "_total" in COUNTERS)}
            self.assertEqual(wrong, {})
            for _ in range(50):
                p.text("/")
            prom.wait("preforkd_requests_total", lambda v: v == [50])
            self.assertEqual(p.ctl("recycle", "all")[0], 0)
            prom.wait('preforkd_recycles_total{reason="request"}', lambda v: v == [2])
            for _ in range(10):
                p.text("/")
            prom.wait("preforkd_requests_total", lambda v: v == [60])
            self.assertEqual(prom.query("resets(preforkd_requests_total[1m]) > 0"), [])
            # The successors are series of the same two slots.
            prom.wait("preforkd_worker_rss_bytes", lambda v: len(v) == 2)

    @harness.needs_program("promtool")
    def test_promtool(self):
        """Prometheus's own checker has no complaint about the page."""
        _, port = self.start()
        page = harness.get(("127.0.0.1", port), "/metrics").body
        done = subprocess.run(["promtool", "check", "metrics"], input=page.encode(),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual((done.returncode, done.stdout.decode()), (0, ""))


COUNTERS = {
    "preforkd_requests_total", "preforkd_recycles_total", "preforkd_crashes_total",
    "preforkd_oom_kills_total", "preforkd_boot_failures_total",
    "preforkd_dry_run_recycles_total", "preforkd_trims_total", "preforkd_trimmed_bytes_total"}


if __name__ == "__main__":
    harness.main()
