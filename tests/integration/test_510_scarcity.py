# SPDX-License-Identifier: MIT
"""Running out of descriptors, processes and memory: survived, said, recovered from."""

import os
import resource
import socket
import unittest

import harness
from harness import needs_root, wait_until

HAVE_PRLIMIT = hasattr(resource, "prlimit")


def open_descriptors(pid):
    """How many a process has."""
    return len(os.listdir("/proc/%d/fd" % pid))


@unittest.skipIf(not HAVE_PRLIMIT, "no prlimit here")
class Descriptors(harness.Case):
    """The master has none left."""

    def exhaust(self, p):
        """Nothing more can be opened."""
        _, hard = resource.prlimit(p.pid, resource.RLIMIT_NOFILE)
        fds = [int(n) for n in os.listdir("/proc/%d/fd" % p.pid)]
        # numbers below the limit may be free still: those are used up by what comes first
        resource.prlimit(p.pid, resource.RLIMIT_NOFILE, (min(max(fds) + 1, len(fds)), hard))
        return hard

    def relax(self, p, hard):
        """All is well again."""
        resource.prlimit(p.pid, resource.RLIMIT_NOFILE, (hard, hard))

    def test_recycle(self):
        """No successor can be started: the old worker serves on; tried again later."""
        p = self.preforkd(workers=2, max_requests=20, max_requests_jitter=0, min_worker_lifetime=0)
        p.wait_ready()
        before = p.pids()
        hard = self.exhaust(p)
        try:
            with p.load(clients=2) as load:
                p.wait_log(r"slot \d.*(cannot be started|descriptor|Too many open files)")
                p.wait_log(r"Too many open files")
        finally:
            self.relax(p, hard)
        self.assertEqual(load.failed, 0, load.result)
        self.assertEqual(p.pids(), before)
        self.assertEqual(p.ctl("reload")[0], 0)
        p.wait_ready(2)
        self.assertFalse(set(before) & set(p.pids()))

    def test_death(self):
        """A dead worker's slot is tried again until there are descriptors."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        address = p.address()
        hard = self.exhaust(p)
        try:
            resource.prlimit(p.pid, resource.RLIMIT_NOFILE, (4, hard))
            harness.kill(p.pids_by_proc()[0])
            p.wait_log(r"slot \d pid.*Too many open files|slot \d.*cannot be started: .*"
                       r"Too many open files.*tried again in")
            self.assertEqual(harness.get(address).body, "hello")
        finally:
            self.relax(p, hard)
        p.wait_ready(2)

    def test_control_socket(self):
        """Clients wait until descriptors are back; the log says it, the loop does not spin."""
        p = self.preforkd()
        p.wait_ready()
        address = p.address()
        _, hard = resource.prlimit(p.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(p.pid, resource.RLIMIT_NOFILE, (3, hard))
        try:
            c = p.ctl_start("--timeout", "15", "--json", "status")
            p.wait_log("Too many open files")
            self.assertEqual(harness.get(address).body, "hello")
            before = harness.cpu_ticks(p.pid)
            p.wait_log("Too many open files")
            self.assertLess(harness.cpu_ticks(p.pid) - before, 50)
        finally:
            self.relax(p, hard)
        out, err = c.communicate()
        self.assertEqual(c.returncode, 0, err)

    def test_reload(self):
        """A reload fails with the reason; the old generation serves on."""
        p = self.preforkd(workers=1)
        p.wait_ready()
        before = p.pids()
        hard = resource.prlimit(p.pid, resource.RLIMIT_NOFILE)[1]
        # room for the connection of preforkctl, not for a worker's sockets
        n = max(int(f) for f in os.listdir("/proc/%d/fd" % p.pid)) + 2
        resource.prlimit(p.pid, resource.RLIMIT_NOFILE, (n, hard))
        try:
            code, _, err = p.ctl("reload")
        finally:
            self.relax(p, hard)
        if code != 3:
            self.assertEqual(code, 1, err)
            self.assertIn("Too many open files", err)
        self.assertEqual(p.pids(), before)
        self.assertEqual(p.ctl("reload")[0], 0)

    def test_worker_runs_out(self):
        """limit-nofile reached in a worker: its own trouble, which reload-on-fds prevents."""
        p = self.preforkd(limit_nofile=64, workers=1)
        p.wait_ready()
        pid = p.pids()[0]
        try:
            p.get("/leakfds?100")
        except (OSError, harness.http.client.HTTPException):
            pass
        # whatever the server makes of it: the master is well and can replace it
        self.assertEqual(p.ctl("recycle")[0], 0)
        self.assertEqual(p.text("/"), "hello")
        self.assertNotIn(pid, p.pids())


@needs_root
@unittest.skipIf(not HAVE_PRLIMIT, "no prlimit here")
class Processes(harness.Case):
    """fork() fails in the master, which runs as an ordinary user here."""

    UID = 54321

    def become(self):
        """That user."""
        os.setgroups([])
        os.setgid(self.UID)
        os.setuid(self.UID)

    def limit(self, p, n):
        """Sets the soft limit, as that user: for another's process it takes a capability."""
        code = ("import resource, sys\npid, n = map(int, sys.argv[1:])\n"
                "hard = resource.prlimit(pid, resource.RLIMIT_NPROC)[1]\n"
                "resource.prlimit(pid, resource.RLIMIT_NPROC, (n if n >= 0 else hard, hard))\n")
        code, _, err = harness.run(harness.PYTHON, "-c", code, p.pid, n, preexec_fn=self.become)
        self.assertEqual(code, 0, err)

    def test_no_process_left(self):
        """EAGAIN: said, tried again, recovered from."""
        p = self.preforkd(workers=2, start=False, preload="no")
        os.chown(p.dir, self.UID, self.UID)
        for name in os.listdir(p.dir):
            os.chown(p.path(name), self.UID, self.UID)

        p.preexec = self.become
        p.start()
        p.wait_ready(2)
        before = p.pids()
        self.limit(p, 1)
        try:
            code, _, err = p.ctl("reload")
            self.assertEqual(code, 1)
            self.assertIn("limit of processes", err)
            harness.kill(before[0])
            p.wait_log(r"slot 1.*cannot be started: .*limit of processes.*"
                       r"tried again in")
            self.assertEqual(p.text("/"), "hello")
            self.assertEqual(p.pids(), before[1:])
        finally:
            self.limit(p, -1)
        p.wait_ready(2)
        self.assertEqual(p.ctl("reload")[0], 0)


@unittest.skipIf(not HAVE_PRLIMIT, "no prlimit here")
@unittest.skipIf(harness.MULTIPLIER > 1, "a sanitizer ends the program when memory is out")
class Memory(harness.Case):
    """No memory for the master itself."""

    def test_no_memory(self):
        """It lives, serves on, and comes back."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        before = p.pids()
        with open("/proc/%d/statm" % p.pid) as f:
            size = int(f.read().split()[0]) * resource.getpagesize()
        hard = resource.prlimit(p.pid, resource.RLIMIT_AS)[1]
        resource.prlimit(p.pid, resource.RLIMIT_AS, (size, hard))
        try:
            with p.load(clients=2) as load:
                for _ in range(3):
                    p.ctl("--timeout", "5s", "recycle", "1")
                    p.ctl("--timeout", "5s", "scale", "4000")
                    p.ctl("--timeout", "5s", "reload")
                    p.ctl("--timeout", "5s", "--json", "status")
        finally:
            resource.prlimit(p.pid, resource.RLIMIT_AS, (hard, hard))
        self.assertEqual(load.failed, 0, load.result)
        self.assertIsNone(p.process.poll())
        p.ctl("scale", "2")
        self.assertEqual(p.ctl("reload")[0], 0)
        p.wait_ready(2)
        self.assertFalse(set(before) & set(p.pids()))


class Backlog(harness.Case):
    """More clients than the service can take."""

    def test_full_queue(self):
        """Many idle connections keep neither master nor control socket busy."""
        p = self.preforkd(workers=1, threads=1, backlog=8)
        p.wait_ready()
        socks = []
        for _ in range(50):
            s = socket.socket()
            self.addCleanup(s.close)
            s.setblocking(False)
            s.connect_ex(p.address())
            socks.append(s)
        self.assertIsNotNone(p.status())
        for s in socks:
            s.close()
        wait_until(lambda: p.get("/").status == 200)


if __name__ == "__main__":
    harness.main()
