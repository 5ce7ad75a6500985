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

import fake_master
from fake_master import Peer, Worker

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans():
    """From now on workers of a mold become children of this process."""
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError("prctl")


class Mold(Worker):
    """A launcher in the role of the mold."""

    def __init__(self, app, preload="auto", **settings):
        """Starts it at once."""
        adopt_orphans()
        settings.setdefault("beat", 0.2)
        self._serial = 0
        super().__init__(app, role="mold", preload=preload, master=os.getpid(),
                         title="preforkd: test mold", worker_title="preforkd: test worker %d",
                         **settings)

    def fork(self, slot=1, limit=0, stderr=1, stdout=False, listeners=None, wait=True):
        """Asks for a worker; waits until it was born."""
        self._serial += 1
        worker = Forked(self, slot, self._serial, limit, stderr, stdout, listeners)
        if wait:
            worker.born()
        return worker

    def descriptors(self):
        """What is open in the mold: number -> what it is."""
        return descriptors_of(self.pid)


def descriptors_of(pid):
    """Open descriptors of a process: number -> what it is."""
    folder = "/proc/%d/fd" % pid
    return {int(name): os.readlink(os.path.join(folder, name)) for name in os.listdir(folder)}


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
        self.hang_up()
        for fd in self.pipes.values():
            os.close(fd)


__all__ = ["Forked", "Mold", "adopt_orphans", "descriptors_of", "fake_master"]
