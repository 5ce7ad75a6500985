# SPDX-License-Identifier: MIT
"""What workers say on channel and notify socket is rumour."""

import os
import time

import harness
from harness import is_alive, wait_until


class Babble(harness.Case):
    """What comes in on channel and notify socket is rumour."""

    def check(self, p, want=None):
        """Everybody lives, the master answers quickly, counts make sense."""
        begun = time.monotonic()
        status = p.status()
        self.assertLess(harness.elapsed(begun), harness.stretched(1))
        self.assertEqual(len([w for w in status["workers"] if w["state"] == "ready"]),
                         status["target_workers"])
        self.assertLess(status["requests_total"], 100000)
        if want:
            p.wait_log(want)

    def test_garbage_on_the_channel(self):
        """Logged once, rate-limited, ignored."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        pids = p.pids()
        for _ in range(20):
            self.assertEqual(p.text("/channel?garbage"), "done")
        self.check(p, r"WARN.*slot \d pid \d+.*ignored")
        self.assertEqual(p.pids(), pids)
        self.assertLessEqual(p.log().count("on its channel; ignored"), 4)
        self.assertEqual(p.text("/"), "hello")

    def test_too_long_a_datagram(self):
        """Cut and told."""
        p = self.preforkd()
        p.wait_ready()
        self.assertEqual(p.text("/channel?huge"), "done")
        self.check(p)

    def test_garbage_of_a_command(self):
        """On both sockets, before READY and after."""
        p = self.fake("garbage after=50 garbage ready-notify")
        p.wait_ready()
        self.victim(p, "/garbage").makefile("rb").read()
        self.check(p, r"WARN.*slot \d pid \d+.*ignored")

    def flood(self, p, order):
        """While it lasts others are served and the master's loop turns."""
        p.wait_ready()
        pids = p.pids()
        order()
        p.wait_log(r"WARN.*slot \d pid \d+.*flood")
        with p.load(clients=2) as load:
            slowest = 0
            for _ in range(10):
                begun = time.monotonic()
                p.status()
                slowest = max(slowest, time.monotonic() - begun)
            code = p.ctl("recycle", "2")[0]
        self.assertEqual(code, 0)
        self.assertLess(slowest, harness.stretched(0.5))
        self.assertEqual(load.failed, 0, load.result)
        self.assertEqual(p.pids()[0], pids[0])
        self.assertLessEqual(p.log().count("flood"), 3)

    def test_flood_of_the_channel(self):
        """By a child of the application."""
        p = self.preforkd(workers=2, timeout="60s")
        self.flood(p, lambda: p.text("/channel?flood"))

    def test_flood_of_both(self):
        """By a command; the other's READY is not held up."""
        p = self.fake("ready-notify", timeout="60s")
        self.flood(p, lambda: self.victim(p, "/flood=3000").makefile("rb").read())

    def test_descriptors_along(self):
        """Descriptors that are sent along are closed."""
        p = self.fake("ready-notify")
        p.wait_ready()

        def count():
            """The master's descriptors."""
            return len(os.listdir("/proc/%d/fd" % p.pid))
        before = count()
        for _ in range(5):
            self.victim(p, "/fds").makefile("rb").read()
        p.wait_status(lambda s: any(w["status"] for w in s["workers"]))
        wait_until(lambda: count() <= before, 5)

    def test_closes_its_channel(self):
        """Agent lost: treated like a plain command, said once, still recycled and stopped."""
        p = self.preforkd(workers=1)
        p.wait_ready()
        pid = p.pids()[0]
        mark = p.mark()
        p.text("/channel?close")
        # the agent takes it for the master's end and ends itself; or it lives on, agent lost
        wait_until(lambda: not is_alive(pid) or any(
            w["pid"] == pid and w["agent_lost"] for w in p.workers()))
        p.wait_log(r"slot 1 pid %d" % pid, since=mark)
        p.wait_ready(1)
        self.assertEqual(p.text("/"), "hello")
        self.assertEqual(p.ctl("recycle")[0], 0)
        self.assertEqual(p.stop(), 0)

    def test_loses_its_channel(self):
        """Who lives on without noticing is told of once, and replaced when asked for."""
        p = self.preforkd(workers=1, memory_interval="100ms")
        p.wait_ready()
        pid, mark = p.pids()[0], p.mark()
        p.text("/channel?replace")
        p.wait_log("slot 1 pid %d .*: closed its channel but lives: no counts and heartbeats any "
                   "more" % pid, since=mark)
        self.assertTrue(p.workers()[0]["agent_lost"])
        for _ in range(3):
            self.assertEqual(p.text("/pid"), str(pid))
        self.assertEqual(p.ctl("recycle")[0], 0)
        p.wait_ready(1)
        self.assertNotEqual(p.text("/pid"), str(pid))
        self.assertEqual(p.stop(), 0)
        self.assertEqual(p.log().count("but lives"), 1)

    def test_command_closes_its_channel(self):
        """A command that does not want it is fine."""
        p = self.fake("ready close-channel requests")
        p.wait_ready()
        kept = p.pids()
        self.assertEqual(p.text("/pid") in [str(k) for k in kept], True)
        self.assertEqual(p.ctl("recycle", "all")[0], 0)
        self.assertEqual(p.stop(), 0)


if __name__ == "__main__":
    harness.main()
