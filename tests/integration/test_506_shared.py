# SPDX-License-Identifier: MIT
"""What one worker can do to shared sockets, and its grandchildren."""

import os

import harness
from harness import is_alive, needs_module, wait_until


class SharedSockets(harness.Case):
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

    def test_shutdown_of_a_unix_socket(self):
        """It cannot be revived: a new one at its path, and new workers."""
        p = self.preforkd(workers=2, listen="unix:run.sock")
        p.wait_ready()
        old = set(p.pids())
        p.text("/shutdown")
        p.wait_log(r"WARN.*shut unix:\S+ down; a new one is open in its place")
        wait_until(lambda: self.good(p), 10)
        wait_until(lambda: len(p.pids()) == 2 and not old & set(p.pids()), 10)

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


class Grandchildren(harness.Case):
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
        # its successor has one, too
        self.addCleanup(harness.kill, wait_until(lambda: harness.children_of(p.pids()[0]))[0])
        harness.kill(child)
        wait_until(lambda: not os.path.exists("/proc/%d" % child) or
                   harness.parent_of(child) != p.pid)
        self.assertEqual(p.text("/pid"), str(p.pids()[0]))


if __name__ == "__main__":
    harness.main()
