#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What the application starts inherits neither the channel, nor variables, nor signals."""

import fcntl
import json
import os
import signal
import socket
import struct
import termios
import time

from support import Case, for_each_kind, get, main, until


class Isolation:
    """One server of each family."""

    def test_exec(self):
        """A program that the application runs, even with close_fds=False."""
        worker = self.worker()
        worker.ready()
        fds, environ, ignored = json.loads(get(worker.address, "/children")[1])
        # 0, 1, 2 and the descriptor of the listing itself.
        self.assertLessEqual(len(fds), 4, fds)
        for name in environ:
            self.assertFalse(name.startswith("LISTEN_"), name)
        self.assertNotIn("PREFORKD_CHANNEL", environ)
        self.assertNotIn("PREFORKD_SETTINGS", environ)
        self.assertNotIn("PREFORKD_STDERR", environ)
        self.assertEqual(ignored, [0, 0, 0, 0])

    def _forked(self):
        """A worker, and the pid of a child that its application has forked."""
        if self.kind.name.startswith("gevent"):
            self.skipTest("gevent's fork")
        worker = self.worker()
        worker.ready()
        child = int(get(worker.address, "/forked?60")[1])
        self.addCleanup(self._kill, child)
        return worker, child

    def test_fork(self):
        """A forked child that outlives the worker does not keep the channel open."""
        worker, child = self._forked()
        worker.kill(signal.SIGKILL)
        worker.wait()
        until(lambda: worker.eof, "end of the channel")
        os.kill(child, 0)

    def test_fork_term(self):
        """SIGTERM ends a forked child, as Process.terminate() expects, and not its parent."""
        worker, child = self._forked()
        # The interpreter forgets the signals that come while it is being forked.
        until(lambda: not self._catches(child, signal.SIGTERM), "a default for SIGTERM")
        os.kill(child, signal.SIGTERM)
        until(lambda: self._status(child, "State").startswith("Z"), "the child's end")
        self.assertEqual(get(worker.address), (200, "hello"))
        self.assertIsNone(worker.first("STOPPING"))
        worker.drain(1)
        self.assertEqual(worker.wait(), 0)

    def _catches(self, pid, number):
        """Whether a process has a handler for a signal."""
        return int(self._status(pid, "SigCgt"), 16) >> (number - 1) & 1

    def _status(self, pid, key):
        """A line of /proc/PID/status, proc(5)."""
        with open("/proc/%d/status" % pid) as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith(key))

    def _kill(self, pid):
        """Ends the forked child."""
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


for_each_kind(globals(), Isolation, lambda kind: kind.name in (
    "sync", "gthread", "gevent", "waitress", "stdlib", "uvicorn", "hypercorn", "uvicorn_worker"))


class Channel(Case):
    """The channel itself."""

    def test_full(self):
        """A master that does not read blocks nothing, and gets the final state when it does."""
        worker = self.start("plain:app", worker_class="stdlib", beat=0.001)
        worker.ready()
        served = 0
        # While this lock is held the master's side does not read.
        with worker._condition:
            begin = time.monotonic()
            while time.monotonic() - begin < 2:
                self.assertEqual(get(worker.address), (200, "hello"))
                served += 1
            pending = struct.unpack("i", fcntl.ioctl(
                worker.channel.fileno(), termios.FIONREAD, b"\0" * 4))[0]
            self.assertGreater(pending, 0)
        worker.requests(served)

    def test_no_channel(self):
        """Without a channel the worker serves; errors go to standard error."""
        worker = self.start("plain:app", worker_class="stdlib", env={"PREFORKD_CHANNEL": "-1"})
        until(lambda: self._answers(worker), "an answer")
        worker.kill(signal.SIGTERM)
        self.assertEqual(worker.wait(), 0)
        worker = self.start("plain:nothing", worker_class="stdlib", env={"PREFORKD_CHANNEL": "-1"})
        self.assertEqual(worker.wait(), 1)
        self.assertIn("preforkd: plain has no attribute 'nothing'", worker.output())

    def _answers(self, worker):
        """True when a request is answered."""
        try:
            return get(worker.address) == (200, "hello")
        except (OSError, socket.timeout):
            return False


if __name__ == "__main__":
    main()
