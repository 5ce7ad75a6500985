# SPDX-License-Identifier: MIT
"""Plays the master for a mold and for the workers that it forks.

This process adopts orphans, as the master does: so a worker's end can be waited for here.
"""

import array
import ctypes
import os
import signal
import socket
import time

from fake_master import Peer, Worker, unescape
from support import Case, until

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans():
    """From now on workers of a mold become children of this process."""
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError("prctl")


class Mold(Worker):
    """A launcher in the role of the mold."""

    def __init__(self, app, preload="auto", master=None, **settings):
        """Starts it at once. master: another pid than this process's."""
        adopt_orphans()
        self._serial = 0
        self.workers = []
        super().__init__(app, role="mold", preload=preload, master=master or os.getpid(),
                         title="preforkd: test mold", worker_title="preforkd: test worker %d",
                         **settings)

    def fork(self, slot=1, limit=0, stderr=1, stdout=False, listeners=None, wait=True):
        """Asks for a worker; waits until it was born."""
        self._serial += 1
        worker = Forked(self, slot, self._serial, limit, stderr, stdout, listeners)
        self.workers.append(worker)
        if wait:
            worker.born()
        return worker

    def verdict(self):
        """Waits for READY or ERROR; the message, with its texts as they were."""
        message = self.wait_for(lambda m: m.first("READY") or m.first("ERROR"), "READY or ERROR")
        return {key: unescape(value) if isinstance(value, str) else value
                for key, value in message.items()}

    def children(self):
        """Pids of the mold's own children, dead ones included."""
        with open("/proc/%d/task/%d/children" % (self.pid, self.pid)) as children:
            return [int(pid) for pid in children.read().split()]

    def close(self):
        """The workers as well."""
        for worker in self.workers:
            worker.close()
        super().close()


def descriptors_of(pid):
    """Open descriptors of a process: number -> what it is."""
    found, folder = {}, "/proc/%d/fd" % pid
    for name in os.listdir(folder):
        try:
            found[int(name)] = os.readlink(os.path.join(folder, name))
        except FileNotFoundError:
            # Of this process: the one of the listing.
            pass
    return found


def sends_rollup(pid):
    """True until a process has closed the descriptor that it sends with READY."""
    return any("smaps" in path for path in descriptors_of(pid).values())


class Forked(Peer):
    """A worker that a mold forks."""

    def __init__(self, mold, slot, serial, limit, stderr, stdout, listeners):
        """Sends FORK. stderr: 0, 1 or 2 as in the protocol."""
        self.mold = mold
        self.slot = slot
        self.listeners = listeners or mold.listeners
        channel, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        super().__init__(channel)
        self.pipes = {}
        fds, lines = [child.fileno()], ["FORK=%d,%d,%d" % (slot, serial, slot + 10)]
        lines.append("LIMITS=%d" % limit)
        writers = []
        for name, wanted in (("STDERR", stderr), ("STDOUT", int(stdout))):
            if wanted:
                self.pipes[name], writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
                lines.append("%s=%d" % (name, wanted))
                writers.append(writer)
        fds += writers + [sock.fileno() for sock in self.listeners]
        self.asked = time.monotonic()
        mold.channel.sendmsg(["\n".join(lines).encode()], [
            (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
        child.close()
        for writer in writers:
            os.close(writer)

    def born(self):
        """Waits for BORN; the pid by the kernel's word."""
        self.pid = self.wait_for(lambda w: w.first("BORN"), "BORN")["_pid"]
        return self.pid

    @property
    def ready_seconds(self):
        """From FORK to READY."""
        return self.first("READY")["_time"] - self.asked

    def piped(self, name):
        """What came through a pipe, and whether it has ended: (text, bool)."""
        text = b""
        while True:
            try:
                data = os.read(self.pipes[name], 65536)
            except BlockingIOError:
                return text.decode("utf-8", "replace"), False
            if not data:
                return text.decode("utf-8", "replace"), True
            text += data

    @property
    def address(self):
        """Of the first listener."""
        return self.listeners[0].getsockname()

    def output(self):
        """For the text of a failure."""
        return self.mold.output() + "".join(self.piped(name)[0] for name in self.pipes)

    def close(self):
        """Ends the worker however it can."""
        if self.pid is not None and self.status is None:
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
            self.status = -signal.SIGKILL
        self.hang_up()
        while self.pipes:
            os.close(self.pipes.popitem()[1])


class MoldCase(Case):
    """A test that starts molds."""

    def mold(self, app="molded:app", **settings):
        """A mold, ended with the test."""
        if self.kind is not None:
            settings = dict(self.kind.settings, **settings)
            app = "molded:" + ("app" if self.kind.kind == "wsgi" else "asgi")
            settings.update(kind=self.kind.kind, worker_class=self.kind.worker_class)
            if self.kind.server:
                settings["server"] = self.kind.server
        settings.setdefault("worker_class", "stdlib")
        mold = Mold(app, **settings)
        self.addCleanup(mold.close)
        return mold

    def forking(self, *args, **settings):
        """A mold that will fork."""
        mold = self.mold(*args, **settings)
        self.assertEqual(mold.verdict().get("FORKS"), "1", mold.messages)
        until(lambda: not sends_rollup(mold.pid), "the end of the descriptor that READY brings")
        return mold


__all__ = ["Forked", "Mold", "MoldCase", "descriptors_of", "sends_rollup"]
