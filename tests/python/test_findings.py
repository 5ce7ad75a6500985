#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What a mold finds that a fork would break, and what follows from it."""

import os
import socket
import subprocess
import sys
import unittest

from fake_master import APPS, LAUNCHER, PATIENCE, PYTHON, has_module
from fake_mold import MoldCase
from support import get, main, until

_SOURCES = os.path.dirname(os.path.dirname(os.path.abspath(LAUNCHER)))
sys.path.insert(0, _SOURCES)
sys.dont_write_bytecode = True

from preforkd import findings  # noqa: E402
from preforkd.findings import CONNECTION, DATABASE, FORK, LOOP, THREAD, Finding  # noqa: E402


class Decisions(unittest.TestCase):
    """decide(), which looks at nothing."""

    def decide(self, preload, *kinds):
        """With one finding of each kind, whose text is the kind."""
        return findings.decide(preload, [Finding(kind, "a %s" % kind) for kind in kinds])

    def test_nothing(self):
        """Both fork."""
        for preload in ("auto", "yes"):
            decision = self.decide(preload)
            self.assertTrue(decision.forks and not decision.refused)
            self.assertEqual(decision.text,
                             "preload: yes, nothing was found that a fork would break")

    def test_auto(self):
        """Anything is a reason, and is named; nothing is an error."""
        for kind in (THREAD, CONNECTION, LOOP, DATABASE, FORK):
            decision = self.decide("auto", kind)
            self.assertFalse(decision.forks or decision.refused)
            self.assertTrue(decision.text.startswith(
                "preload: no, workers are exec'd: a %s" % kind), decision.text)

    def test_hints(self):
        """No hint that would not help."""
        self.assertIn("preload = yes", self.decide("auto", THREAD).text)
        self.assertNotIn("preload = yes", self.decide("auto", THREAD, CONNECTION).text)
        self.assertIn("before-fork", self.decide("auto", CONNECTION).text)
        self.assertNotIn("before-fork", self.decide("auto", FORK).text)

    def test_yes(self):
        """In spite of most; a connection and a fork that fails are refused."""
        decision = self.decide("yes", THREAD, DATABASE)
        self.assertTrue(decision.forks and not decision.refused)
        self.assertEqual(decision.text, "preload: yes, in spite of: a thread; a database")
        for kind in (CONNECTION, FORK):
            decision = self.decide("yes", THREAD, kind)
            self.assertTrue(decision.refused and not decision.forks)
            self.assertIn("a %s" % kind, decision.text)
            self.assertNotIn("a thread", decision.text)

    def test_many(self):
        """Some are named, the rest is counted."""
        found = [Finding(THREAD, "t%d" % i) for i in range(9)] + [Finding(LOOP, "l")]
        self.assertEqual(findings.decide("yes", found).text,
                         "preload: yes, in spite of: t0; t1; t2; 6 more of these; l")


class Found(MoldCase):
    """Applications that make things when they are imported."""

    def app(self, code, **settings):
        """A mold with plain.py's application and the code."""
        folder = self.folder()
        self.write(folder, "maker.py", "from plain import app\n" + code)
        return self.mold("maker:app", cwd=folder, pythonpath=[APPS], **settings)

    def declined(self, code, text, **settings):
        """With auto the mold ends well, and says why."""
        mold = self.app(code, **settings)
        verdict = mold.verdict()
        self.assertEqual(verdict.get("READY"), "1", verdict)
        self.assertNotIn("FORKS", verdict)
        self.assertIn("preload: no, workers are exec'd: " + text, verdict["TEXT"])
        self.assertEqual(mold.wait(), 0)
        self.assertEqual(mold.output(), "")

    def refused(self, code, text, **settings):
        """With yes it is an error."""
        mold = self.app(code, preload="yes", **settings)
        self.assertIn(text, mold.verdict().get("ERROR", "no error"))
        self.assertEqual(mold.wait(), 1)

    def accepted(self, code, text="nothing was found", **settings):
        """The mold forks, and its worker serves."""
        mold = self.app(code, **settings)
        verdict = mold.verdict()
        self.assertEqual(verdict.get("FORKS"), "1", verdict)
        self.assertIn(text, verdict["TEXT"])
        worker = mold.fork()
        worker.ready()
        self.assertEqual(get(worker.address), (200, "hello"))
        return mold

    def test_thread(self):
        """A thread by its name."""
        code = ("import threading, time\n"
                "threading.Thread(target=time.sleep, args=(1000,), name='Exporter').start()\n")
        self.declined(code, "thread 'Exporter' runs")
        self.accepted(code, "in spite of: thread 'Exporter' runs", preload="yes")

    def test_thread_of_the_kernel(self):
        """A thread that the threading module does not know, or without any name."""
        self.declined("import _thread, time\n_thread.start_new_thread(time.sleep, (1000,))\n",
                      "a thread without a name runs")
        self.declined("import _thread, time\ndef run():\n"
                      "    open('/proc/thread-self/comm', 'w').write('strange')\n"
                      "    time.sleep(1000)\n_thread.start_new_thread(run, ())\n"
                      "while 'strange\\n' not in [open('/proc/self/task/%s/comm' % t).read()\n"
                      "      for t in __import__('os').listdir('/proc/self/task')]:\n"
                      "    time.sleep(0.001)\n", "thread 'strange' runs")

    def test_ending_thread(self):
        """A thread that ends by itself is none."""
        self.accepted("import threading, time\n"
                      "threading.Thread(target=time.sleep, args=(0.15,)).start()\n")

    @unittest.skipUnless(has_module("numpy"), "numpy is not installed")
    def test_numpy(self):
        """OpenBLAS ends its threads when there is a fork, and the generators differ."""
        mold = self.accepted("import numpy, threading\n"
                             "a = numpy.ones((600, 600))\n(a @ a).sum()\n"
                             "before = len(__import__('os').listdir('/proc/self/task'))\n"
                             "def after():\n    print('drawn', numpy.random.random())\n",
                             after_fork="maker:after")
        mold.fork(2).ready()
        until(lambda: mold.output().count("drawn") == 2, "two numbers")
        drawn = [line for line in mold.output().splitlines() if line.startswith("drawn")]
        self.assertEqual(len(set(drawn)), 2, drawn)

    def test_tcp(self):
        """A connection by its peer; before-fork may close it."""
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family) as server:
                try:
                    server.bind((host, 0))
                except OSError as exc:
                    self.skipTest("%s: %s" % (host, exc))
                server.listen(5)
                port = server.getsockname()[1]
                code = ("import socket\nconn = socket.create_connection(('%s', %d))\n"
                        "def before():\n    conn.close()\n" % (host, port))
                name = ("[%s]:%d" if ":" in host else "%s:%d") % (host, port)
                text = "a connection to %s is open" % name
                self.declined(code, text + " (before-fork = module:function could close it)")
                self.refused(code, "preload = yes, but %s: all workers would use it at once "
                             "(before-fork = module:function could close it)" % text)
                self.accepted(code, before_fork="maker:before")

    def test_unix(self):
        """Named, abstract and unnamed ones; a worker's listener is no connection."""
        path = os.path.join(self.folder(), "s")
        for name, text in ((path, "unix:" + path), ("\0prefork-%d" % os.getpid(),
                                                    "unix:@prefork-%d" % os.getpid())):
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(name)
                server.listen(1)
                code = ("import socket\nconn = socket.socket(socket.AF_UNIX)\n"
                        "conn.connect(%r)\n" % name)
                self.declined(code, "a connection to %s is open" % text)
                self.refused(code, "a connection to %s is open" % text)
        code = "import socket\npair = socket.socketpair()\n"
        self.declined(code, "an unnamed unix socket (socketpair) is open")
        self.accepted(code, "in spite of: an unnamed unix socket", preload="yes")

    def test_harmless(self):
        """Datagrams, listeners, sockets that are not connected, pipes, files."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            self.accepted("import os, socket\nd = socket.socket(type=socket.SOCK_DGRAM)\n"
                          "d.connect(%r)\nu = socket.socketpair(type=socket.SOCK_DGRAM)\n"
                          "s = socket.socket()\nl = socket.socket()\nl.bind(('127.0.0.1', 0))\n"
                          "l.listen(1)\np = os.pipe()\nf = open(__file__)\n"
                          % (server.getsockname(),))

    def test_flags(self):
        """Looking changes nothing of what a socket shares with other processes."""
        self.declined("import os, socket\nsocket.setdefaulttimeout(5)\n"
                      "server = socket.create_server(('127.0.0.1', 0))\n"
                      "conn = socket.socket()\nconn.settimeout(None)\n"
                      "conn.connect(server.getsockname())\n"
                      "import preforkd.findings as findings\nlook = findings.look\n"
                      "def watched(ours):\n    found = look(ours)\n"
                      "    assert os.get_blocking(conn.fileno())\n"
                      "    assert socket.getdefaulttimeout() == 5\n    return found\n"
                      "findings.look = watched\n", "a connection to 127.0.0.1:")

    def test_loop(self):
        """An event loop, whose sockets are not told besides."""
        code = "import asyncio\nloop = asyncio.new_event_loop()\n"
        mold = self.app(code)
        text = mold.verdict()["TEXT"]
        self.assertRegex(text, r"exec'd: an event loop was made \(descriptor \d+, epoll\) \(before")
        self.accepted(code, "in spite of: an event loop was made", preload="yes")

    def test_closed_loop(self):
        """What was closed again is none."""
        self.accepted("import asyncio\nasyncio.run(asyncio.sleep(0))\n")

    def test_gevent(self):
        """gevent's own loop is made anew in a fork; another one is not."""
        if not (has_module("gevent") and has_module("gunicorn")):
            self.skipTest("gevent or gunicorn is not installed")
        self.accepted("import gevent, os, socket\ngevent.sleep(0.001)\n"
                      "socket.getaddrinfo('localhost', 80)\n"
                      "assert len(os.listdir('/proc/self/task')) > 1\n"
                      "def after():\n    gevent.sleep(0.001)\n"
                      "    socket.getaddrinfo('localhost', 80)\n", worker_class="gevent",
                      after_fork="maker:after")

    @unittest.skipUnless(has_module("asgiref") and has_module("uvicorn"),
                         "asgiref or uvicorn is not installed")
    def test_asgiref(self):
        """Its one thread is started anew in workers."""
        folder = self.folder()
        self.write(folder, "synced.py", "import threading\n"
                   "from asgiref.sync import sync_to_async\nfrom plain import asgi\n"
                   "async def app(scope, receive, send):\n"
                   "    if scope['type'] == 'http':\n"
                   "        await sync_to_async(threading.get_ident)()\n"
                   "    await asgi(scope, receive, send)\n")
        mold = self.forking("synced:app", kind="asgi", worker_class="uvicorn", cwd=folder,
                            warm_up=["/"], pythonpath=[APPS])
        for slot in (1, 2):
            worker = mold.fork(slot)
            worker.ready()
            self.assertEqual(get(worker.address), (200, "hello"))
            worker.close()

    def test_sqlite(self):
        """By what is in it, or by its name; the lock that somebody holds on it stays."""
        code = ("import sqlite3\nconn = sqlite3.connect(%r)\nconn.execute('create table t (a)')\n"
                "conn.commit()\nconn.execute('begin exclusive')\n")
        path = os.path.join(self.folder(), "some.thing")
        self.declined(code % path, "the SQLite database %s is open" % path)
        os.unlink(path)
        # Asked by another process, before and after the mold has looked.
        other = self.write(self.folder(), "other.py", "import sqlite3\n"
                           "sqlite3.connect(%r, timeout=0).execute('select * from t')\n" % path)
        mold = self.accepted(code % path + (
            "def before():\n    import subprocess, sys\n"
            "    done = subprocess.run([sys.executable, %r], stderr=subprocess.PIPE)\n"
            "    print(done.stderr.decode().splitlines()[-1:])\n" % other),
            "in spite of: the SQLite database %s is open" % path, preload="yes",
            before_fork="maker:before")
        self.assertEqual(mold.output().count("database is locked"), 2, mold.output())
        path = os.path.join(self.folder(), "empty.sqlite3")
        self.declined("import sqlite3\nconn = sqlite3.connect(%r)\n" % path,
                      "the SQLite database %s is open" % path)

    def test_other_databases(self):
        """Those that are known by their names or first bytes."""
        folder = self.folder()
        path = self.write(folder, "data.mdb", "something")
        self.declined("f = open(%r)\n" % path, "the LMDB database %s is open" % path)
        path = os.path.join(folder, "x")
        with open(path, "wb") as out:
            out.write(bytes((0xcf, 0x9a, 0x57, 0x13)) + b"rest")
        self.declined("f = open(%r)\n" % path, "the GDBM database %s is open" % path)
        self.accepted("f = open(%r, 'ab')\n" % path)

    def test_crash(self):
        """A fork that a function of os.register_at_fork() does not survive."""
        code = ("import os, signal\nos.register_at_fork(after_in_child="
                "lambda: os.kill(os.getpid(), signal.SIGSEGV))\n")
        text = "a forked process dies of signal 11 (Segmentation fault)"
        self.declined(code, text)
        self.refused(code, "preload = yes, but " + text)


class Trial(unittest.TestCase):
    """The fork on trial, with a short deadline."""

    def trial(self, code):
        """What is said of it after the code was run."""
        script = ("import os, sys, time\nsys.path.insert(0, %r)\nfrom preforkd import forking\n"
                  "%s\nprint(forking.Forker().trial(0.4))\n"
                  "open('/proc/self/task/%%d/children' %% os.getpid()).read() and print('left')\n"
                  % (_SOURCES, code))
        done = subprocess.run([PYTHON, "-B", "-c", script], stdout=subprocess.PIPE, check=True)
        return done.stdout.decode().strip()

    def test_good(self):
        """Nothing to say."""
        self.assertEqual(self.trial(""), "None")
        self.assertEqual(self.trial("import signal\nsignal.signal(17, signal.SIG_IGN)"), "None")

    def test_hangs(self):
        """In the process between, or in the worker."""
        for when in ("before", "after_in_child", "after_in_parent"):
            text = self.trial("os.register_at_fork(%s=lambda: time.sleep(1000))" % when)
            self.assertEqual(text, "a fork hangs for more than 0.4 s, perhaps in a function of "
                             "os.register_at_fork()")

    def test_hangs_early(self):
        """Before the process between leads a group of its own."""
        self.assertIn("hangs", self.trial("forking.setpgid = lambda *args: time.sleep(1000)"))

    def test_threads_want_the_interpreter(self):
        """The process between is not asked for it by threads that it does not have."""
        code = ("import _thread\ndef spin():\n    while True:\n        pass\n"
                "for _ in range(2):\n    _thread.start_new_thread(spin, ())\n"
                "interval, forker = sys.getswitchinterval(), forking.Forker()\n"
                "found = next(filter(None, (forker.trial(%r) for _ in range(30))), None)\n"
                "print(found, sys.getswitchinterval() == interval, flush=True)\n"
                "os._exit(0)" % PATIENCE)
        self.assertEqual(self.trial(code), "None True")

    def test_fails(self):
        """No process for the worker, or something strange."""
        code = "def fail():\n    raise %s\nos.fork = fail"
        self.assertEqual(self.trial(code % "OSError(12, 'x')"),
                         "a fork fails: Cannot allocate memory")
        self.assertEqual(self.trial(code % "ValueError()"),
                         "a fork fails: an exception was raised")

    def test_old_python(self):
        """Without pidfd_open(), which is of Python 3.9."""
        code = "vars(os).pop('pidfd_open', None)\n"
        self.assertEqual(self.trial(code), "None")
        self.assertIn("hangs", self.trial(
            code + "os.register_at_fork(before=lambda: time.sleep(1000))"))


if __name__ == "__main__":
    main()
