# SPDX-License-Identifier: MIT
"""Workers that hang or will not end."""

import time

import harness
from harness import is_alive, needs_module, wait_until


class Hangs(harness.Case):
    """Workers that do not answer."""

    def test_ignores_term(self):
        """A command that ignores SIGTERM is killed after graceful-timeout."""
        p = self.fake("ignore-term ready", graceful_timeout="500ms")
        p.wait_ready()
        before = p.pids()
        self.assertEqual(p.ctl("recycle", "1")[0], 0)
        p.wait_log(r"slot 1 pid %d.*graceful-timeout.*SIGKILL|slot 1 pid %d.*ignored SIGTERM"
                   % (before[0], before[0]))
        wait_until(lambda: not is_alive(before[0]))
        p.wait_ready(2)
        begun = time.monotonic()
        self.assertEqual(p.stop(), 0)
        self.assertLess(harness.elapsed(begun), harness.stretched(6))

    def test_slow_to_end(self):
        """One that takes its time within graceful-timeout is left alone."""
        p = self.fake("slow-term=700 ready", graceful_timeout="20s")
        p.wait_ready()
        before = p.pids()
        self.assertEqual(p.ctl("recycle", "1")[0], 0)
        p.wait_log(r"slot 1 pid %d.*ended: exit status 0" % before[0])

    def test_python_that_ignores_term(self):
        """An application that installs its own handlers cannot escape."""
        p = self.preforkd(files={"mine.py": (
            "import signal, atexit, time\nfrom plain import app\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "atexit.register(time.sleep, 60)\n")}, wsgi="mine:app", graceful_timeout="500ms")
        p.wait_ready()
        self.assertEqual(p.stop(timeout=15), 0)

    @needs_module("gunicorn")
    def test_sync_request_timeout(self):
        """sync: `timeout` holds for requests; its stacks are printed before it dies."""
        p = self.preforkd(worker_class="sync", workers=2, timeout="1s")
        p.wait_ready()
        with p.load(clients=1, path="/pid") as load:
            self.victim(p, "/hang")
            p.wait_log(r"slot \d pid \d+.*a request runs for 1(\.\d+)?s \(request-timeout\)")
            p.wait_log("stuck_in_this_function")
            p.wait_status(lambda s: s["recycles"]["request-timeout"] == 1)
            p.wait_ready(2)
        self.assertEqual(load.result["refused"] + load.result["bad"], 0, load.result)
        self.assertEqual(p.status()["crashes"], 0)

    def test_request_timeout(self):
        """For threads only when it is set."""
        p = self.preforkd(workers=1, request_timeout="700ms", threads=4)
        p.wait_ready()
        self.victim(p, "/hang")
        p.wait_log(r"slot 1 pid \d+.*a request runs for .*\(request-timeout\)")
        p.wait_ready(1)
        self.assertEqual(p.text("/"), "hello")

    def test_a_hung_thread_is_no_hung_worker(self):
        """A pool with free threads goes on; nobody kills it."""
        p = self.preforkd(workers=1, timeout="700ms", threads=4)
        p.wait_ready()
        pid = p.pids()[0]
        self.victim(p, "/hang")
        p.wait_status(lambda s: s["workers"][0]["in_flight"] == 1)
        for _ in range(10):
            self.assertEqual(p.text("/sleep?0.15"), "slept")
        self.assertEqual(p.pids(), [pid])

    def test_all_threads_hang(self):
        """A pool without progress stops its heartbeat."""
        p = self.preforkd(workers=1, timeout="1s", threads=2)
        p.wait_ready()
        for _ in range(3):
            self.victim(p, "/hang")
        p.wait_log(r"slot 1 pid \d+.*no heartbeat for .*\(timeout\); it hangs, is killed")
        p.wait_log("stuck_in_this_function")
        p.wait_ready(1)

    @needs_module("uvicorn")
    def test_blocked_loop(self):
        """An async worker whose loop is blocked."""
        p = self.preforkd(asgi="plain:asgi", worker_class="uvicorn", workers=2, timeout="1s")
        p.wait_ready()
        self.victim(p, "/hang")
        p.wait_log(r"slot \d pid \d+.*no heartbeat for .*it hangs, is killed")
        p.wait_log("stuck_in_this_function")
        p.wait_ready(2)
        self.assertEqual(p.status()["recycles"]["timeout"], 1)

    @needs_module("uvicorn")
    def test_polite_hang_is_no_hang(self):
        """A request that waits politely harms nobody."""
        p = self.preforkd(asgi="plain:asgi", worker_class="uvicorn", workers=1, timeout="600ms")
        p.wait_ready()
        pid = p.pids()[0]
        self.victim(p, "/hangpolitely")
        p.wait_status(lambda s: s["workers"][0]["in_flight"] == 1)
        time.sleep(harness.stretched(1.5))
        self.assertEqual(p.text("/"), "hello")
        self.assertEqual(p.pids(), [pid])

    def test_stops_its_heartbeat(self):
        """A command is held to heartbeats once it has sent one."""
        p = self.fake("ready beat=100", timeout="1s")
        p.wait_ready()
        kept = p.pids()
        time.sleep(harness.stretched(1.5))
        self.assertEqual(p.pids(), kept)
        self.victim(p, "/no-beat").makefile("rb").read()
        p.wait_log(r"slot \d pid \d+.*no heartbeat for")
        p.wait_ready(2)
        self.assertEqual(len(set(kept) & set(p.pids())), 1)

    def test_never_beats(self):
        """A command that never beats is not asked to."""
        p = self.fake("ready", timeout="500ms")
        p.wait_ready()
        kept = p.pids()
        time.sleep(harness.stretched(1.2))
        self.assertEqual(p.pids(), kept)

    def test_frozen_while_draining(self):
        """A stopped process cannot end: SIGKILL does it."""
        p = self.preforkd(graceful_timeout="500ms", timeout=0)
        p.wait_ready()
        old = p.pids()[0]
        harness.freeze(old)
        self.assertEqual(p.ctl("recycle")[0], 0)
        wait_until(lambda: not is_alive(old))
        self.assertEqual(p.text("/"), "hello")


if __name__ == "__main__":
    harness.main()
