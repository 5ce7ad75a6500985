# SPDX-License-Identifier: MIT
"""One worker's trouble stays its own: the others serve on, the slot recovers, the log says why."""

import os
import socket
import time

import harness
from harness import is_alive, needs_module, wait_until


class Trouble(harness.Case):
    """Helpers."""

    def victim(self, p, path):
        """Asks something that brings trouble; the pid in whose slot it ended, if told."""
        s = socket.create_connection(p.address())
        self.addCleanup(s.close)
        s.sendall(b"GET %s HTTP/1.0\r\n\r\n" % path.encode())
        return s

    def fake(self, words, **kw):
        """A preforkd with fakeworkers; those that need no other word become ready by channel."""
        settings = dict(workers=2, ready="notify")
        settings.update(kw)
        return self.preforkd(command="%s %s" % (harness.helper("fakeworker"), words), **settings)


class Deaths(Trouble):
    """Workers that end unasked."""

    def test_crash(self):
        """SIGSEGV in a request: who, why, what next, in one line; only that request is lost."""
        p = self.preforkd(workers=3)
        p.wait_ready()
        before = set(p.pids())
        with p.load(clients=2, path="/pid") as load:
            p.wait_status(lambda s: all(w["requests"] > 0 for w in s["workers"]))
            s = self.victim(p, "/crash")
            self.assertEqual(s.makefile("rb").read(), b"")
            p.wait_log(r"slot \d pid \d+ gen 1: ended unasked: killed by SIGSEGV.*"
                       r"after \d+ requests and .*; a new one starts")
            p.wait_ready(3)
        self.assertEqual(len(before & set(p.pids())), 2)
        # what the crashing process had accepted is lost with it, nothing else
        self.assertEqual(load.result["refused"] + load.result["timeout"] + load.result["bad"], 0)
        self.assertEqual(p.status()["crashes"], 1)

    def test_exit_0(self):
        """A clean exit that nobody asked for is a crash too."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        p.text("/")
        self.victim(p, "/exit?0").makefile("rb").read()
        p.wait_log(r"ended unasked: exit status 0")
        p.wait_ready(2)

    def test_exit_before_ready(self):
        """A boot failure whatever its status; the slot backs off, longer each time."""
        p = self.fake("after=20 exit=0", boot_attempts=3, workers=1)
        self.assertEqual(p.wait(), 1)
        self.assertEqual(p.log().count("ended before it was ready: exit status 0"), 3)

    def test_backoff_grows(self):
        """0.5 s x 1.5^n; a worker that dies before its first request counts."""
        p = self.preforkd(files={"mine.py": "from plain import app\n"}, wsgi="mine:app", workers=2)
        p.wait_ready()
        p.write("mine.py", "import os\nos._exit(7)\n")
        harness.kill(p.pids()[0])
        delays = []
        for n in range(1, 4):
            m = p.wait_log(r"slot 1.*ended before it was ready: exit status 7.*"
                           r"next attempt in ([\d.]+)(ms|s)$", count=n)
            delays.append(float(m.group(1)) / (1000 if m.group(2) == "ms" else 1))
        self.assertLess(delays[0], delays[1])
        self.assertLess(delays[1], delays[2])
        self.assertEqual(p.text("/"), "hello")
        p.write("mine.py", "from plain import app\n")
        p.wait_ready(2)

    def test_dies_right_after_ready(self):
        """Before its first request: delayed as well, so that it cannot become a loop."""
        p = self.preforkd(files={"mine.py": "from plain import app\n"}, wsgi="mine:app", workers=2)
        p.wait_ready()
        p.write("mine.py", "import threading, os\nthreading.Timer(0.2, os._exit, [5]).start()\n"
                "from plain import app\n")
        harness.kill(p.pids()[0])
        p.wait_log(r"slot 1.*ended unasked: exit status 5 after 0 requests.*next attempt in",
                   count=2)
        p.write("mine.py", "from plain import app\n")
        p.wait_ready(2)

    def test_never_ready(self):
        """boot-timeout, while the others serve."""
        p = self.preforkd(files={"mine.py": "from plain import app\n"}, wsgi="mine:app", workers=2,
                          boot_timeout="1s")
        p.wait_ready()
        p.write("mine.py", "import time\ntime.sleep(100)\n")
        pid = p.pids()[0]
        harness.kill(pid)
        with p.load(clients=2) as load:
            p.wait_log(r"slot 1 pid \d+ gen 1: not ready within boot-timeout.*killed")
            p.wait_log(r"slot 1.*ended before it was ready.*next attempt in")
        self.assertEqual(load.failed, 0, load.result)
        p.wait_status(lambda s: s["recycles"]["boot-timeout"] >= 1)

    def test_killed_while_starting(self):
        """SIGKILL from outside."""
        p = self.preforkd(files={"mine.py": "from plain import app\n"}, wsgi="mine:app", workers=2)
        p.wait_ready()
        p.write("mine.py", "import time\ntime.sleep(100)\n")
        harness.kill(p.pids()[0])
        s = p.wait_status(lambda s: any(w["state"] == "starting" for w in s["workers"]))
        pid = [w["pid"] for w in s["workers"] if w["state"] == "starting"][0]
        p.write("mine.py", "from plain import app\n")
        harness.kill(pid)
        p.wait_log(r"slot 1 pid %d.*ended before it was ready: killed by SIGKILL.*next attempt"
                   % pid)
        p.wait_ready(2)

    def test_killed_while_serving(self):
        """SIGKILL from outside; a worker that has served is replaced at once."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        for _ in range(10):
            p.text("/")
        s = p.wait_status(lambda s: s["requests_total"] == 10)
        busy = max(s["workers"], key=lambda w: w["requests"])
        harness.kill(busy["pid"])
        p.wait_log(r"slot %d pid %d.*ended unasked: killed by SIGKILL.*a new one starts"
                   % (busy["slot"], busy["pid"]))
        p.wait_ready(2)

    def test_killed_while_draining(self):
        """Nothing but its request is lost."""
        p = self.preforkd(workers=1)
        p.wait_ready()
        s = self.victim(p, "/sleep?30")
        p.wait_status(lambda s: s["workers"][0]["in_flight"])
        old = p.pids()[0]
        self.assertEqual(p.ctl("recycle")[0], 0)
        p.wait_status(lambda s: any(w["state"] == "draining" for w in s["workers"]))
        harness.kill(old)
        self.assertEqual(s.makefile("rb").read(), b"")
        p.wait_log(r"slot 1 pid %d.*ended.*SIGKILL" % old)
        p.wait_ready(1)
        self.assertEqual(p.text("/"), "hello")
        self.assertEqual(p.status()["recycles"]["request"], 1)

    def test_killed_in_a_row(self):
        """All workers at once, three times over."""
        p = self.preforkd(workers=3)
        for _ in range(3):
            p.wait_ready(3)
            for _ in range(12):
                p.text("/")
            for pid in p.pids():
                harness.kill(pid)
            wait_until(lambda: p.get("/").status == 200 if self.answers(p) else False)
        p.wait_ready(3)

    def answers(self, p):
        """Whether a request succeeds now."""
        try:
            return p.get("/").status == 200
        except (OSError, harness.http.client.HTTPException):
            return False


class Hangs(Trouble):
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
        self.assertLess(time.monotonic() - begun, harness.stretched(6))

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


class Babble(Trouble):
    """What comes in on channel and notify socket is rumour."""

    def check(self, p, want=None):
        """Everybody lives, the master answers quickly, counts make sense."""
        begun = time.monotonic()
        status = p.status()
        self.assertLess(time.monotonic() - begun, harness.stretched(1))
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
        wait_until(lambda: not is_alive(pid) or p.workers()[0]["agent_lost"])
        p.wait_log(r"slot 1 pid %d" % pid, since=mark)
        p.wait_ready(1)
        self.assertEqual(p.text("/"), "hello")
        self.assertEqual(p.ctl("recycle")[0], 0)
        self.assertEqual(p.stop(), 0)

    def test_command_closes_its_channel(self):
        """A command that does not want it is fine."""
        p = self.fake("ready close-channel requests")
        p.wait_ready()
        kept = p.pids()
        self.assertEqual(p.text("/pid") in [str(k) for k in kept], True)
        self.assertEqual(p.ctl("recycle", "all")[0], 0)
        self.assertEqual(p.stop(), 0)


class SharedSockets(Trouble):
    """What one process can do to the sockets of all."""

    def test_shutdown_of_the_listener(self):
        """The master notices, says it, repairs it; nobody has to be restarted by hand."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        address = p.address()
        p.text("/shutdown")
        p.wait_log(r"WARN.*shut 127\.0\.0\.1:\d+ down; it listens again|listening socket")
        wait_until(lambda: harness.can_connect(address), 10)
        wait_until(lambda: self.good(p), 10)
        p.wait_ready(2)

    def good(self, p):
        """Ten requests in a row."""
        try:
            return all(p.get("/", timeout=2).status == 200 for _ in range(10))
        except (OSError, harness.http.client.HTTPException):
            return False

    def test_shutdown_by_a_command(self):
        """The same of a plain program."""
        p = self.fake("ready")
        p.wait_ready()
        self.victim(p, "/shutdown").makefile("rb").read()
        wait_until(lambda: self.good(p), 15)

    def test_shutdown_at_its_end(self):
        """A worker that shuts the socket down and dies."""
        p = self.fake("ready")
        p.wait_ready()
        self.victim(p, "/shutdown").makefile("rb").read()
        for pid in p.pids():
            harness.kill(pid)
        wait_until(lambda: self.good(p), 15)
        p.wait_ready(2)

    def test_blocking_listener(self):
        """O_NONBLOCK taken away is put back, or the others stand still."""
        p = self.fake("ready")
        p.wait_ready()
        self.victim(p, "/blocking").makefile("rb").read()
        self.assertEqual(p.ctl("recycle", "all")[0], 0)
        wait_until(lambda: self.good(p), 10)

    @needs_module("gunicorn", "uvicorn")
    def test_two_kinds_on_one_socket(self):
        """Servers that set the sockets' modes differently, one after the other by reloads."""
        p = self.preforkd(worker_class="sync", workers=2)
        p.wait_ready()
        for change in (dict(wsgi=None, asgi="plain:asgi", worker_class="uvicorn"),
                       dict(wsgi="plain:app", asgi=None, worker_class="stdlib"),
                       dict(worker_class="gthread"), dict(worker_class="sync")):
            with p.load(clients=2) as load:
                p.write_ini(**change)
                self.assertEqual(p.ctl("reload")[0], 0)
                p.wait_ready(2)
            self.assertEqual(load.failed, 0, load.result)


class Grandchildren(Trouble):
    """Processes of workers."""

    def test_end_with_their_worker(self):
        """They are in its process group, which is killed when the leader is dead."""
        p = self.preforkd(workers=1)
        p.wait_ready()
        children = [int(p.text("/fork?600")) for _ in range(3)]
        for pid in children:
            self.addCleanup(harness.kill, pid)
        harness.kill(p.pids()[0])
        wait_until(lambda: not any(is_alive(pid) for pid in children))
        p.wait_ready(1)

    def test_end_with_a_recycle(self):
        """Also when the worker ended as planned."""
        p = self.preforkd(workers=1)
        p.wait_ready()
        child = int(p.text("/fork?600"))
        self.addCleanup(harness.kill, child)
        self.assertEqual(p.ctl("recycle")[0], 0)
        wait_until(lambda: not is_alive(child))

    def test_hold_nothing_up(self):
        """Grandchildren with copies of everything; the worker's end is seen all the same."""
        p = self.fake("fork ready", worker_log="prefix")
        p.wait_ready()
        pids = p.pids()
        self.assertEqual(p.ctl("recycle", "all")[0], 0)
        wait_until(lambda: not any(is_alive(pid) for pid in pids))
        self.assertEqual(p.stop(), 0)

    def test_escaped_one(self):
        """A daemon in a session of its own is left in peace and reaped without a word."""
        p = self.fake("setsid fork ready", workers=1)
        p.wait_ready()
        pid = p.pids()[0]
        child = wait_until(lambda: harness.children_of(pid))[0]
        self.addCleanup(harness.kill, child)
        harness.kill(pid)
        wait_until(lambda: harness.parent_of(child) not in (pid, None))
        p.wait_ready(1)
        harness.kill(child)
        wait_until(lambda: not os.path.exists("/proc/%d" % child) or
                   harness.parent_of(child) != p.pid)
        self.assertEqual(p.text("/pid"), str(p.pids()[0]))


if __name__ == "__main__":
    harness.main()
