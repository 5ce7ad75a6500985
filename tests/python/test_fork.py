#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The fork itself: what a worker gets, what the mold keeps, what happens when it fails."""

import array
import json
import os
import signal
import socket
import unittest

from fake_master import APPS, free_tcp
from fake_mold import MoldCase, descriptors_of
from support import get, main, until


class Orders(MoldCase):
    """FORK and what comes with it."""

    def test_many(self):
        """Twenty workers one after another leave nothing behind in the mold."""
        mold = self.forking()
        before = descriptors_of(mold.pid)
        for number in range(20):
            worker = mold.fork(number + 1)
            worker.ready()
            worker.close()
        # The worker may be ready before its mold has cleared up.
        until(lambda: descriptors_of(mold.pid) == before, "descriptors closed")
        self.assertEqual(mold.children(), [])

    def test_queued(self):
        """Two orders that wait together: no worker has the other's descriptors."""
        mold = self.forking()
        os.kill(mold.pid, signal.SIGSTOP)
        listeners = [self.listener() for _ in range(2)]
        workers = [mold.fork(slot, listeners=[listener], wait=False)
                   for slot, listener in enumerate(listeners, 1)]
        names = [os.readlink("/proc/self/fd/%d" % sock.fileno()) for sock in listeners]
        os.kill(mold.pid, signal.SIGCONT)
        for worker in workers:
            worker.ready()
            worker.born()
            seen = descriptors_of(worker.pid).values()
            self.assertEqual([name in seen for name in names],
                             [name == names[worker.slot - 1] for name in names])

    def listener(self):
        """A listening socket, closed with the test."""
        sock = free_tcp()
        self.addCleanup(sock.close)
        return sock

    def test_sockets(self):
        """A worker may have many listening sockets."""
        mold = self.forking()
        listeners = [self.listener() for _ in range(64)]
        worker = mold.fork(listeners=listeners, stdout=True)
        worker.ready()
        for sock in (listeners[0], listeners[-1]):
            self.assertEqual(get(sock.getsockname(), "/pid"), (200, str(worker.pid)))

    def test_limit(self):
        """LIMITS comes with FORK; without it there is none."""
        folder = self.folder()
        self.write(folder, "counted.py", "from preforkd.counting import Counter\n"
                   "from plain import app\nset_limit = Counter.set_limit\n"
                   "def noted(self, limit):\n    print('limit', limit)\n"
                   "    set_limit(self, limit)\nCounter.set_limit = noted\n")
        mold = self.forking("counted:app", cwd=folder,
                            pythonpath=[APPS])
        for limit in (3, 0):
            worker = mold.fork(limit=limit)
            worker.ready()
        self.assertEqual(mold.printed(), "limit 3\nlimit 0\n")

    def test_output(self):
        """Standard error is a pipe until READY, or for ever; so is standard output if wanted."""
        mold = self.forking("noisy:app", cwd=self.noisy(), after_fork="noisy:after")
        worker = mold.fork(stderr=1, stdout=True)
        worker.ready()
        said = []

        def is_over():
            """The worker may be ready before its mold has closed what it sent along."""
            text, over = worker.piped("STDERR")
            said.append(text)
            return over
        until(is_over, "the end of the pipe")
        self.assertEqual("".join(said), "booting\n")
        get(worker.address)
        self.assertEqual(mold.late_output(), "asked\n")
        until(lambda: worker.piped("STDOUT")[0] == "answered\n", "output")
        worker.close()
        worker = mold.fork(stderr=2)
        worker.ready()
        get(worker.address)
        self.assertEqual(worker.piped("STDERR"), ("booting\nasked\n", False))
        worker.close()
        worker = mold.fork(stderr=0)
        worker.ready()
        self.assertEqual(mold.late_output(), "asked\nbooting\n")

    def noisy(self):
        """The folder of an application that writes."""
        folder = self.folder()
        self.write(folder, "noisy.py", "import sys\n"
                   "def after():\n    print('booting', file=sys.stderr)\n"
                   "def app(environ, start_response):\n"
                   "    print('asked', file=sys.stderr)\n    print('answered')\n"
                   "    start_response('200 OK', [])\n    return [b'']\n")
        return folder

    def test_buffered(self):
        """What the application has left in a buffer is not written by every worker."""
        folder = self.folder()
        self.write(folder, "buffered.py", "import io, os, sys\n"
                   "sys.stdout = io.TextIOWrapper(open(1, 'wb', closefd=False))\n"
                   "numbers = iter(range(10))\n"
                   "def before():\n    sys.stdout.write('once%d' % next(numbers))\n"
                   "from plain import app\n")
        mold = self.forking("buffered:app", cwd=folder, before_fork="buffered:before",
                            pythonpath=[APPS])
        for slot in (1, 2):
            worker = mold.fork(slot)
            worker.ready()
            worker.drain()
            worker.wait()
        self.assertEqual(mold.printed(), "once0once1once2")

    def test_reopen(self):
        """A log file that was opened anew is used by the mold and by workers forked from then."""
        mold = self.forking("noisy:app", cwd=self.noisy(), after_fork="noisy:after")
        path = os.path.join(self.folder(), "new")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        mold.channel.sendmsg([b"REOPEN=1"], [
            (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
        os.close(fd)
        until(lambda: descriptors_of(mold.pid)[2] == path, "reopening")
        self.assertEqual(descriptors_of(mold.pid)[1], path)
        self.assertEqual(list(descriptors_of(mold.pid).values()).count(path), 2)
        worker = mold.fork()
        worker.ready()
        get(worker.address)
        with open(path) as log:
            self.assertEqual(sorted(log.read().split()), ["answered", "asked"])

    def test_rubbish(self):
        """An order that makes no sense is told, and its descriptors are closed."""
        mold = self.forking()
        before = descriptors_of(mold.pid)
        for text in (b"FORK=1,2", b"FORK=a,b,c", b"FORK=1,1,1\nSTDERR=1"):
            with open(os.devnull) as some:
                mold.channel.sendmsg([text], [
                    (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [some.fileno()]))])
        mold.send("FORK=1,1,1")
        mold.send("SOMETHING=new")
        mold.fork().ready()
        # The worker may be ready before its mold has cleared up.
        until(lambda: descriptors_of(mold.pid) == before, "descriptors closed")
        self.assertEqual(mold.late_output().count("not understood: FORK="), 4)

    def test_dies_with_master(self):
        """The kernel ends a worker whose master is gone, whatever the worker does."""
        mold = self.forking("mortal:app", cwd=self.mortal(), after_fork="mortal:after")
        worker = mold.fork()
        worker.ready()
        self.assertEqual(get(worker.address), (200, str(int(signal.SIGKILL))))

    def mortal(self):
        """The folder of an application that knows its parent death signal."""
        folder = self.folder()
        # The main thread's.
        self.write(folder, "mortal.py", "import ctypes\nnumber = ctypes.c_int()\n"
                   "def after():\n    ctypes.CDLL(None).prctl(2, ctypes.byref(number), 0, 0, 0)\n"
                   "def app(environ, start_response):\n"
                   "    start_response('200 OK', [])\n"
                   "    return [str(number.value).encode()]\n")
        return folder

    def test_without_ctypes(self):
        """Then functions of register_at_fork() run more often, and all else is the same."""
        folder = self.folder()
        self.write(folder, "ctypes.py", "raise ImportError('not here')\n")
        mold = self.forking(env={"PYTHONPATH": folder})
        for slot in (1, 2):
            worker = mold.fork(slot)
            worker.ready()
            self.assertEqual(get(worker.address, "/pid"), (200, str(worker.pid)))
            worker.drain()
            self.assertEqual(worker.wait(), 0)
        self.assertEqual(mold.children(), [])


class Failures(MoldCase):
    """Forks and workers that fail."""

    def refusal(self, worker):
        """The error on a worker's own channel."""
        text = worker.error()
        self.assertIsNone(worker.first("READY"))
        return text.split("\n")[0]

    def gone(self, worker):
        """Waits for the end of a worker's channel."""
        until(lambda: worker.eof, "end of the channel")

    def test_before_fork(self):
        """A function that fails later fails that fork; the mold lives on."""
        folder = self.folder()
        self.write(folder, "moody.py", "import os\nfrom plain import app\n"
                   "def before():\n    if os.path.exists('angry'):\n"
                   "        raise OSError('not now')\n")
        mold = self.forking("moody:app", cwd=folder, before_fork="moody:before",
                            pythonpath=[APPS])
        angry = self.write(folder, "angry", "")
        before = descriptors_of(mold.pid)
        worker = mold.fork(wait=False)
        self.assertEqual(self.refusal(worker), "cannot fork: before-fork = moody:before failed: "
                         "OSError: not now (%s:5)" % os.path.join(folder, "moody.py"))
        self.gone(worker)
        os.unlink(angry)
        mold.fork().ready()
        # The worker may be ready before its mold has cleared up.
        until(lambda: descriptors_of(mold.pid) == before, "descriptors closed")

    def test_fork_fails(self):
        """No process for the one between, or for the worker."""
        for place in ("first", "second"):
            with self.subTest(place=place):
                folder = self.folder()
                self.write(folder, "poor.py", _POOR)
                mold = self.forking("poor:app", cwd=folder, before_fork="poor:%s" % place,
                                    pythonpath=[APPS])
                self.write(folder, "poor", "")
                worker = mold.fork(wait=False)
                self.assertEqual(self.refusal(worker),
                                 "cannot fork: Resource temporarily unavailable")
                self.gone(worker)
                self.assertEqual(mold.children(), [])
                os.unlink(os.path.join(folder, "poor"))
                mold.fork().ready()

    @unittest.skipIf(os.geteuid(), "only root can become another user, whose processes are limited")
    def test_no_processes(self):
        """RLIMIT_NPROC, which the kernel looks at."""
        folder = self.folder()
        os.chmod(folder, 0o755)
        self.write(folder, "limited.py", "import os, resource\nfrom plain import app\n"
                   "os.setgid(54321)\nos.setuid(54321)\n"
                   "def before():\n    if os.path.exists('none'):\n"
                   "        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))\n")
        mold = self.forking("limited:app", cwd=folder, before_fork="limited:before",
                            pythonpath=[APPS])
        self.write(folder, "none", "")
        worker = mold.fork(wait=False)
        self.assertIn("cannot fork: ", self.refusal(worker))
        self.assertEqual(mold.children(), [])

    def test_after_fork(self):
        """A worker that fails before READY says so itself, and exits with 1."""
        folder = self.folder()
        self.write(folder, "bad.py", "from plain import app\n"
                   "def after():\n    raise ValueError('no luck')\n"
                   "async def later():\n    pass\n")
        for name, text in (("after", "after-fork = bad:after failed: ValueError: no luck"),
                           ("later", "after-fork = bad:later is a coroutine function")):
            with self.subTest(function=name):
                settings = {"cwd": folder, "after_fork": "bad:" + name, "worker_class": "stdlib",
                            "pythonpath": [APPS]}
                mold = self.forking("bad:app", **settings)
                worker = mold.fork()
                self.assertIn(text, self.refusal(worker))
                self.assertEqual(worker.wait(), 1)
                self.assertIn(text, worker.piped("STDERR")[0])
                self.assertEqual(mold.late_output(), "")
                # The same for a worker that was not forked.
                worker = self.start("bad:app", **settings)
                self.assertIn(text, worker.error())
                self.assertEqual(worker.wait(), 1)

    def test_bad_socket(self):
        """Any other failure."""
        mold = self.forking()
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with one, other:
            worker = mold.fork(listeners=[one])
            self.assertIn("is not a stream socket", self.refusal(worker))
            self.assertEqual(worker.wait(), 1)

    def test_not_adopted(self):
        """A worker that does not become the master's child ends with its channel, if not before."""
        mold = self.forking(master=1)
        strangers = self.children()
        worker = mold.fork(wait=False)
        until(lambda: self.children() - strangers, "the worker")
        worker.hang_up()
        # Long before it would give up by itself.
        until(lambda: self.children() == strangers, "its end", 5)

    def children(self):
        """Own children; dead ones of the mold are reaped, as by the master."""
        found = set()
        with open("/proc/self/task/%d/children" % os.getpid()) as children:
            for pid in children.read().split():
                with open("/proc/%s/stat" % pid) as stat:
                    if stat.read().rpartition(")")[2].split()[0] == "Z":
                        os.waitpid(int(pid), 0)
                    else:
                        found.add(int(pid))
        return found


class AfterFork(MoldCase):
    """The function that is called in every worker."""

    def test_both(self):
        """Once, in the process that serves, forked or not."""
        mold = self.forking(after_fork="molded:after_fork")
        forked = mold.fork()
        forked.ready()
        plain = self.start("molded:app", worker_class="stdlib", after_fork="molded:after_fork")
        plain.ready()
        for worker in (forked, plain):
            calls = json.loads(get(worker.address, "/calls")[1])
            self.assertEqual([pid for name, pid in calls if name == "after_fork"], [worker.pid])


_POOR = """
import errno, os
import preforkd.forking as forking
from plain import app

fork = os.fork
class Libc:
    def __init__(self, real):
        self.real = real
    def fork(self):
        if os.path.exists('poor'):
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return self.real.fork()
    def die_with_parent(self):
        self.real.die_with_parent()

def first():
    import gc
    for forker in gc.get_objects():
        if isinstance(forker, forking.Forker) and not isinstance(forker._libc, Libc):
            forker._libc = Libc(forker._libc)

def limited():
    if os.path.exists('poor'):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()

def second():
    os.fork = limited
"""


if __name__ == "__main__":
    main()
