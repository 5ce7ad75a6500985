#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Workers that a mold forks, with every server: ready soon, like exec'd ones, nothing left over."""

import json
import os
import statistics
import subprocess
import sys
import unittest

from fake_master import APPS, free_tcp, has_module
from fake_mold import MoldCase, descriptors_of
from support import for_each_kind, get, main, Client, connect

# Milliseconds from FORK to READY that a quiet machine needs at most half of.
_SOON = 60


class Molded(MoldCase):
    """The life of a mold and of two workers."""

    def ask(self, worker, path):
        """A JSON answer."""
        status, text = get(worker.address, path)
        self.assertEqual(status, 200)
        return json.loads(text)

    def pair(self, mold):
        """Two ready workers, each with a socket of its own so that both can be asked."""
        workers = []
        for slot in (1, 2):
            listener = free_tcp()
            self.addCleanup(listener.close)
            workers.append(mold.fork(slot, listeners=[listener]))
        for worker in workers:
            worker.ready()
        return workers

    def test_life(self):
        """From the mold's start to its end."""
        mold = self.forking(after_fork="molded:after_fork", before_fork="molded:before_fork")
        before = descriptors_of(mold.pid)
        workers = self.pair(mold)
        numbers = set()
        for worker in workers:
            self.assertEqual(get(worker.address, "/pid"), (200, str(worker.pid)))
            self.assertEqual(worker.first("READY")["SERVER"], mold.first("READY")["SERVER"])
            self.assertEqual(worker.first("READY")["_pid"], worker.pid)
            number, *who = self.ask(worker, "/random")
            numbers.add(number)
            slot = worker.slot
            self.assertEqual(who, [str(slot), str(slot + 10), str(slot)])
            self.check_calls(self.ask(worker, "/calls"), mold, worker)
            self.check_process(mold, worker)
        self.assertEqual(len(numbers), 2)
        self.assertEqual(descriptors_of(mold.pid), before)
        self.assertEqual(mold.children(), [])
        for worker in workers:
            worker.requests(3)
            worker.drain()
            self.assertEqual(worker.wait(), 0, worker.output())
        mold.hang_up()
        self.assertEqual(mold.wait(), 0)
        self.assertEqual(mold.boot_output(), "")

    def check_calls(self, calls, mold, worker):
        """Functions ran once, where they belong."""
        of_mold = [name for name, pid in calls if pid == mold.pid]
        self.assertEqual(of_mold, ["before_fork"] * (1 + worker.slot))
        of_worker = [name for name, pid in calls if pid == worker.pid]
        self.assertEqual(of_worker, ["at_fork_child", "after_fork"])
        # The process between is a copy, and says what it did before it forked.
        self.assertEqual([name for name, pid in calls if pid not in (mold.pid, worker.pid)],
                         ["at_fork_before"])

    def check_process(self, mold, worker):
        """Parent, group, title, descriptors."""
        with open("/proc/%d/stat" % worker.pid) as stat:
            fields = stat.read().rpartition(")")[2].split()
        self.assertEqual((int(fields[1]), int(fields[2])), (os.getpid(), worker.pid))
        with open("/proc/%d/cmdline" % worker.pid) as line:
            self.assertEqual(line.read().rstrip("\0"), "preforkd: test worker %d" % worker.slot)
        with open("/proc/%d/comm" % worker.pid) as line:
            self.assertEqual(line.read().strip(), "preforkd-w%d" % worker.slot)
        mine = descriptors_of(worker.pid)
        for fd, what in descriptors_of(mold.pid).items():
            if fd > 2 and not what.startswith("anon_inode:"):
                self.assertNotIn(what, mine.values(), "descriptor %d of the mold" % fd)
        others = {descriptors_of(os.getpid())[sock.fileno()] for other in mold.workers
                  if other is not worker for sock in other.listeners}
        self.assertFalse(others & set(mine.values()))
        self.assertEqual(mine[2], descriptors_of(mold.pid)[2])

    def test_no_import(self):
        """Everything was imported in the mold: a module that workers import is no shared memory."""
        mold = self.forking(after_fork="molded:after_fork")
        worker = mold.fork()
        worker.ready()
        for path in ("/", "/stream", "/env", "/fail"):
            try:
                get(worker.address, path)
            except OSError:
                self.assertEqual(path, "/fail")
        get(worker.address, "/echo", body="hi")
        if self.kind.keepalive:
            client = Client(worker.address)
            self.assertEqual([client.get()[0] for _ in range(2)], [200, 200])
            client.close()
        with connect(worker.address) as sock:
            sock.sendall(b"rubbish\r\n\r\n")
            sock.recv(1000)
        if self.kind.kind == "asgi":
            with connect(worker.address) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                             b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                             b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
                sock.recv(1000)
        worker.report(1)
        self.assertEqual(self.ask(worker, "/modules"), [])

    def test_soon(self):
        """Ready within milliseconds; the number is printed where somebody measures."""
        mold = self.forking()
        times = []
        for _ in range(7):
            worker = mold.fork()
            worker.ready()
            times.append(worker.ready_seconds * 1000)
            worker.close()
        if "PREFORKD_TEST_SHOW" in os.environ:
            print("%s: ready after %.1f ms" % (self.kind.name, statistics.median(times)))
        self.assertLess(min(times), _SOON)

    def test_master_gone(self):
        """The end of a worker's channel ends that worker alone; the mold's ends no worker."""
        mold = self.forking()
        first, second = self.pair(mold)
        mold.hang_up()
        self.assertEqual(mold.wait(), 0)
        first.hang_up()
        self.assertEqual(first.wait(), 1)
        self.assertEqual(get(second.address, "/pid"), (200, str(second.pid)))
        second.drain()
        self.assertEqual(second.wait(), 0)


for_each_kind(globals(), Molded)
del Molded


class End(MoldCase):
    """A worker ends without the interpreter's own end."""

    def test_exit_functions(self):
        """They run, what was printed is not lost, and a thread that is no daemon is awaited."""
        folder = self.folder()
        self.write(folder, "atend.py", "import atexit, os, sys, threading\n"
                   "atexit.register(sys.stdout.write, 'so long')\n"
                   "def late():\n    threading.main_thread().join()\n"
                   "    sys.stdout.write('thread, ')\n"
                   # CPython 3.13.0 cannot start a thread that was made before a fork.
                   "begin = lambda: threading.Thread(target=late).start()\n"
                   "os.register_at_fork(after_in_child=begin)\n"
                   "def app(environ, start_response):\n"
                   "    start_response('200 OK', [])\n    return [b'hi']\n")
        mold = self.forking("atend:app", worker_class="stdlib", cwd=folder)
        worker = mold.fork(stdout=True)
        worker.ready()
        worker.drain()
        self.assertEqual(worker.wait(), 0)
        self.assertEqual(worker.piped("STDOUT")[0], "thread, so long")


_HOOKS = """
import os, sys
note = lambda name: print(name, os.getpid(), file=sys.stdout, flush=True)
pre_fork = lambda server, worker: note("pre_fork")
def post_fork(server, worker):
    note("post_fork")
    assert server.address == [str(sock) for sock in worker.sockets], server.address
    assert worker.age == 11 and worker.pid == os.getpid()
post_worker_init = lambda worker: note("post_worker_init")
worker_exit = lambda server, worker: note("worker_exit")
raw_env = ["FROM_GUNICORN=yes"]
note("read")
"""


@unittest.skipUnless(has_module("gunicorn"), "gunicorn is not installed")
class Gunicorn(MoldCase):
    """What is gunicorn's own."""

    def test_hooks(self):
        """Its file is read once; hooks of a worker run in each; those of the master are named."""
        folder = self.folder()
        config = self.write(folder, "conf.py", _HOOKS)
        self.write(folder, "envy.py", "import os\nWORD = os.environ['FROM_GUNICORN']\n"
                   "SOFTWARE = os.environ['SERVER_SOFTWARE']\n"
                   "def after():\n    print('after_fork', os.getpid())\n"
                   "def app(environ, start_response):\n"
                   "    start_response('200 OK', [])\n    return [WORD.encode()]\n")
        mold = self.forking("envy:app", worker_class="gthread", cwd=folder,
                            gunicorn_config=config, after_fork="envy:after")
        wanted = ["read %d" % mold.pid]
        for _ in range(2):
            worker = mold.fork()
            worker.ready()
            self.assertEqual(get(worker.address), (200, "yes"))
            worker.drain()
            self.assertEqual(worker.wait(), 0)
            wanted += ["%s %d" % (name, worker.pid) for name in (
                "post_fork", "after_fork", "post_worker_init", "worker_exit")]
            self.assertEqual(worker.piped("STDERR")[0], "")
        self.assertEqual(mold.printed().split("\n"), wanted + [""])
        self.assertEqual(mold.boot_output().count("do not apply: pre_fork (it is a hook of "
                                                  "gunicorn's master"), 1, mold.output())

    def test_entry_points(self):
        """pkg_resources is not imported by gunicorn's wish alone, and can be by the application."""
        folder = self.folder()
        self.write(folder, "points.py", "import sys\nfrom gunicorn import util\n"
                   "def app(environ, start_response):\n"
                   "    start_response('200 OK', [])\n    before = 'pkg_resources' in sys.modules\n"
                   "    found = getattr(util, 'pkg_resources', None)\n"
                   "    works = found is None or callable(found.load_entry_point)\n"
                   "    return [b'%d%d' % (before, works)]\n")
        mold = self.forking("points:app", worker_class="gthread", cwd=folder)
        worker = mold.fork()
        worker.ready()
        self.assertEqual(get(worker.address), (200, "01"))


class Density(MoldCase):
    """What is free in a mold is not among what its workers share."""

    CODE = ("import gc, sys; sys.path.insert(0, sys.argv[1])\n"
            "from preforkd import memory\n"
            "kept = [bytes(64 - 33) for _ in range(100000)]\n"
            "del kept[::200]\n"
            "if sys.argv[2] == 'yes': memory.settle()\n"
            "new = [bytes(64 - 33) for _ in range(300)]\n"
            "print(len({id(one) >> 12 for one in new}))\n")

    def pages(self, settled):
        """Over how many pages 300 new objects are spread that would fit into 5."""
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "python")
        return int(subprocess.check_output([sys.executable, "-c", self.CODE, path, settled]))

    def test_holes(self):
        """New objects lie together instead of where others were freed."""
        if self.pages("no") < 100:
            self.skipTest("another allocator")
        self.assertLess(self.pages("yes"), 20)

    def test_free_memory(self):
        """What the import has freed, malloc has not kept."""
        folder = self.folder()
        self.write(folder, "freed.py", "from plain import app\n"
                   "blocks = [b'x' * 50000 for _ in range(1000)]\n"
                   "last = b'x' * 60000\ndel blocks\n")
        mold = self.mold("freed:app", worker_class="stdlib", cwd=folder, pythonpath=[APPS])
        self.assertEqual(mold.verdict().get("FORKS"), "1")
        with open("/proc/%d/status" % mold.pid) as lines:
            sizes = dict(line.split(":", 1) for line in lines)
        self.assertGreater(int(sizes["VmPeak"].split()[0]), 50000)
        self.assertLess(int(sizes["RssAnon"].split()[0]), 40000)


if __name__ == "__main__":
    main(parts=True)
