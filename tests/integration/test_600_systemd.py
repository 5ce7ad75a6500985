# SPDX-License-Identifier: MIT
"""preforkd as a service of a real systemd: start, reload, stop, with the units as they ship."""

import os
import time

import harness
from systemd_service import MISSING, Request, Service, SystemdCase, boot_box

BROKEN = "def broken(:"
SLOW_BOOT = 36                  # longer than the one extension that a start alone would give
SLOW = {}


def setUpModule():
    """Boots the systems, and begins what takes long beside the other tests."""
    if MISSING is not None:
        return
    boot_box()
    # A system of its own: with daemon-reload systemd forgets that it was asked for more time.
    box = boot_box()
    limits = "TimeoutStartSec=2\nTimeoutStopSec=2"
    SLOW["reload"] = Service(box, "slowreload", limits, boot_timeout=120)
    SLOW["start"] = Service(box, "slowstart", limits, boot_timeout=120)
    SLOW["reload"].start()
    SLOW["begun"] = time.monotonic()
    for name in ("reload", "start"):
        SLOW[name].write_app("two", "import time; time.sleep(%d)" % SLOW_BOOT)
        SLOW[name].job = box.popen(["systemctl", name, SLOW[name].unit])


class Life(SystemdCase):
    """Start, reload, stop."""

    def test_units_are_clean(self):
        """systemd-analyze finds nothing to say about the units."""
        done = self.box.run(["systemd-analyze", "verify", "--man=no", "preforkd@x.service",
                             "preforkd@x.socket"])
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_started_means_serving(self):
        """systemctl start returns when a worker is ready, not before, and not much later."""
        s = self.service("start", start=False)
        s.write_app("one", "import time; time.sleep(1.5)")
        begun = time.monotonic()
        s.start()
        self.assertGreater(time.monotonic() - begun, 1.5)
        self.assertEqual(s.text("/version"), "one")
        self.assertRegex(s.prop("StatusText"), r"\d+.* worker|ready")
        serving = [e for e in s.journal() if "serving: first worker" in str(e["MESSAGE"])]
        self.assertEqual(len(serving), 1)
        self.assertLessEqual(int(serving[0]["_SOURCE_REALTIME_TIMESTAMP"]),
                             int(self.box.run(["date", "+%s%6N"]).stdout))

    def test_status_line(self):
        """The service manager shows workers, rate and memory."""
        s = self.service("line", workers=2)
        s.wait_log("serving: first worker")
        harness.wait_until(lambda: "2 workers" in s.prop("StatusText"), 20, "status line")
        self.assertRegex(s.prop("StatusText"), r"^2 workers, \d+ requests/s, \d+")

    def test_reload(self):
        """systemctl reload replaces the code, not the master, and no client notices."""
        s = self.service("reload", workers=2)
        old = s.main_pid()
        s.write_app("two")
        with harness.Load(("127.0.0.1", s.port), clients=1, pause=0.01) as load:
            s.reload()
            harness.wait_until(lambda: s.text("/version") == "two", what="the new code")
        self.assertEqual(load.failed, 0, load.result)
        self.assertEqual(s.main_pid(), old)
        self.assertEqual(s.status()["generation"], 2)
        self.assertEqual(s.show("ActiveState", "SubState"),
                         {"ActiveState": "active", "SubState": "running"})

    def test_reload_is_complete(self):
        """When systemctl reload returns, only the new code answers: deployments test then."""
        s = self.service("complete", workers=2)
        for version in range(8):
            s.write_app(str(version))
            s.reload()
            self.assertEqual([s.text("/version") for _ in range(4)], [str(version)] * 4)

    def test_reload_of_broken_code(self):
        """It fails and says why, the old code serves on; mended code can be reloaded."""
        s = self.service("broken", workers=2)
        old = s.main_pid()
        s.write_app("two", BROKEN)
        with harness.Load(("127.0.0.1", s.port), clients=2, pause=0.01) as load:
            done = s.reload(check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(s.text("/version"), "one")
        self.assertEqual(load.failed, 0, load.result)
        now = s.show("ActiveState", "SubState", "NRestarts", "StatusText")
        self.assertEqual((now["ActiveState"], now["SubState"], now["NRestarts"]),
                         ("active", "running", "0"))
        self.assertIn("last reload failed", now["StatusText"])
        self.assertIn("SyntaxError", s.log())
        said = [str(e["MESSAGE"]) for e in s.journal() if e.get("_COMM") == "preforkctl"]
        self.assertTrue(any("SyntaxError" in line for line in said), said)
        self.assertEqual(s.status()["last_reload"]["state"], "failed")
        s.write_app("three")
        # However bad the code is known to be: an order of an operator does not wait.
        s.reload()
        harness.wait_until(lambda: s.text("/version") == "three", what="the mended code")
        self.assertEqual(s.main_pid(), old)
        self.assertNotIn("failed", s.prop("StatusText"))

    def test_reload_of_broken_settings(self):
        """The mistakes are said with their lines; nothing changes."""
        s = self.service("settings")
        s.write_ini(workres=3)
        done = s.reload(check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(s.log(), r"settings\.ini:\d+: .*workres.*workers")
        self.assertIn("workres", s.prop("StatusText"))
        self.assertEqual(s.prop("ActiveState"), "active")
        self.assertEqual(s.text("/version"), "one")

    def test_reload_by_signal(self):
        """SIGHUP shows as a reload and ends as a running service, good or bad."""
        s = self.service("hup")
        s.write_app("two", BROKEN)
        self.box.systemctl("kill", "--kill-who=main", "--signal=HUP", s.unit)
        s.wait_status(lambda st: st["last_reload"]["state"] == "failed")
        s.wait_prop("ActiveState", "active")
        s.write_app("two")
        self.box.systemctl("kill", "--kill-who=main", "--signal=HUP", s.unit)
        s.wait_status(lambda st: st["last_reload"]["state"] == "ok")
        s.wait_prop("ActiveState", "active")
        harness.wait_until(lambda: s.text("/version") == "two", what="the new code")

    def test_stop(self):
        """A request under way is answered, nobody is left, the folder is gone."""
        # Longer than the unit allows without asking for more.
        s = self.service("stop", "TimeoutStopSec=2", graceful_timeout="25s")
        self.assertTrue(os.path.exists(self.box.path("/run/preforkd/stop/control")))
        with Request(s, "/sleep?6") as request:
            s.wait_status(lambda st: st["workers"][0]["in_flight"] == 1)
            s.stop()
        self.assertEqual(request.answer, "slept")
        self.assertEqual(s.show("ActiveState", "Result", "ExecMainStatus"), {
            "ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"})
        self.assertFalse(os.path.exists(self.box.path("/run/preforkd/stop")))
        self.assertFalse(harness.can_connect(("127.0.0.1", s.port)))

    def test_bad_settings(self):
        """Exit code 78, the reason in the journal, no further attempt."""
        s = self.service("bad", start=False, max_requets=5)
        done = s.start(check=False)
        self.assertNotEqual(done.returncode, 0)
        now = s.show("ActiveState", "SubState", "ExecMainStatus", "NRestarts", "Result",
                     "StatusText")
        self.assertEqual((now["ActiveState"], now["SubState"], now["ExecMainStatus"],
                          now["NRestarts"]), ("failed", "failed", "78", "0"))
        self.assertIn("max-requets", now["StatusText"])
        self.assertRegex(s.log(), r"bad\.ini:\d+: .*max-requets.*max-requests")

    def test_first_start_fails(self):
        """Code that does not boot fails the start; it is tried until it does."""
        s = self.service("later", "RestartSec=200ms", start=False, boot_attempts=1)
        s.write_app("one", BROKEN)
        done = s.start(check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(s.prop("ExecMainStatus"), "1")
        self.assertIn("SyntaxError", s.log())
        # More often than systemd's own limit would let it.
        harness.wait_until(lambda: int(s.prop("NRestarts")) >= 6, 30, "six attempts")
        s.write_app("one")
        s.wait_prop("ActiveState", "active")
        self.assertEqual(s.text("/version"), "one")


class WorthWaiting(SystemdCase):
    """Begun first, looked at last: slower than TimeoutStartSec, and than one extension."""

    def check(self, name):
        """It succeeded, and took as long as it should."""
        s = SLOW[name]
        self.services.append(s)
        out, _ = s.job.communicate(timeout=harness.stretched(90))
        self.assertGreaterEqual(time.monotonic() - SLOW["begun"], SLOW_BOOT)
        self.assertEqual(s.job.returncode, 0, out)
        harness.wait_until(lambda: s.text("/version") == "two", what="the new code")
        self.assertEqual(s.show("ActiveState", "NRestarts"),
                         {"ActiveState": "active", "NRestarts": "0"})

    def test_slow_reload(self):
        """A reload that takes longer than TimeoutStartSec succeeds."""
        self.check("reload")

    def test_slow_start(self):
        """So does a start."""
        self.check("start")


if __name__ == "__main__":
    harness.main()
