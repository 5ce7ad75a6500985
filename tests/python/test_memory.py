#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What a worker does about its memory: gives back, shows, finds out who keeps it."""

import mmap
import os
import re
import sys
import time

from fake_master import APPS, free_tcp
from fake_mold import MoldCase, sends_rollup
from support import Background, Case, connect, for_each_kind, get, main, until

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../src/python"))
from preforkd import memory  # noqa: E402

MIB = 1 << 20

# Keeps garbage in cycles until somebody collects it, and free memory that malloc does not give
# back by itself; /leak keeps 200 kB for ever, in line LEAK of the file.
HUNGRY = """\
import gc, os, sys, time
from plain import app as plain, asgi as plain_asgi
gc.disable()
KEPT = []
class Node: pass
def answer(path, query):
    if path == "/cycles":
        for _ in range(int(query)):
            a, b = Node(), Node()
            a.other, b.other, a.ballast = b, a, b"x" * (4 << 20)
    elif path == "/holes":
        blocks = [b"x" * n for n in range(50000, 50000 + int(query))]
        KEPT.append([b"x" * 60000 for _ in range(2)])
        del blocks
    elif path == "/leak":
        KEPT.append(bytes(200000))  # LEAK
    elif path == "/small":
        KEPT.append([[i] for i in range(int(query))])
def app(environ, start):
    answer(environ["PATH_INFO"], environ.get("QUERY_STRING"))
    return plain(environ, start)
async def asgi(scope, receive, send):
    if scope["type"] == "http":
        answer(scope["path"], scope["query_string"].decode())
    await plain_asgi(scope, receive, send)
"""
LEAK_LINE = next(n for n, line in enumerate(HUNGRY.splitlines(), 1) if "# LEAK" in line)


class Hungry(Case):
    """Workers of that application."""

    def hungry(self, **settings):
        """A ready worker of the kind under test, or of the standard library's server."""
        folder = self.folder()
        self.write(folder, "hungry.py", HUNGRY)
        settings.update(cwd=folder, pythonpath=[APPS])
        if self.kind is None:
            worker = self.start("hungry:app", worker_class="stdlib", **settings)
        else:
            worker = self.worker(app="hungry:app" if self.kind.kind == "wsgi" else "hungry:asgi",
                                 **settings)
        worker.ready()
        return worker

    def trim(self, worker):
        """Asks for a trim; the message that answers."""
        before = len(worker.messages)
        worker.send("TRIM=1")
        return worker.wait_for(lambda w: next(
            (m for m in w.messages[before:] if "TRIMMED" in m or "UNTRIMMED" in m), None), "answer")

    def sizes(self, answer):
        """The three numbers of TRIMMED."""
        self.assertIn("TRIMMED", answer)
        return [int(number) for number in answer["TRIMMED"].split(",")]


class EveryServer:
    """One kind of server."""

    def hungry(self, **settings):
        """A ready worker."""
        return Hungry.hungry(self, **settings)

    def trim(self, worker):
        """Asks for a trim."""
        return Hungry.trim(self, worker)

    def sizes(self, answer):
        """The three numbers."""
        return Hungry.sizes(self, answer)

    def test_trim(self):
        """Garbage is collected, free memory given back, and requests are served on."""
        worker = self.hungry()
        get(worker.address, "/cycles?4")
        worker.requests(1)
        before, collected, after = self.sizes(self.trim(worker))
        self.assertGreater(before, 16 * MIB)
        self.assertLess(collected, before + MIB)
        self.assertLess(after, before - 12 * MIB)
        self.assertEqual(get(worker.address)[0], 200)
        again = self.sizes(self.trim(worker))
        self.assertLess(abs(again[0] - again[2]), 3 * MIB)

    def test_not_during_a_request(self):
        """A request in progress is finished first."""
        worker = self.hungry()
        client = Background(get, worker.address, "/sleep?1.5")
        worker.wait_for(lambda w: w.last("BUSY") == "1", "BUSY=1")
        answer = self.trim(worker)
        self.sizes(answer)
        self.assertEqual(client.result(), (200, "hello"))
        ended = worker.wait_for(lambda w: next(
            (m for m in w.messages if m.get("REQUESTS") == "1"), None), "REQUESTS=1")
        self.assertLess(abs(ended["_time"] - answer["_time"]), 1.0)
        self.assertGreater(answer["_time"] - worker.first("READY")["_time"], 1.2)

    def test_trace(self):
        """The place that leaks is named first, with its size and count."""
        worker = self.hungry()
        trace(worker)
        for _ in range(50):
            get(worker.address, "/leak")
        worker.requests(50)
        worker.send("REPORT=7\nWHAT=memory")
        text = report(worker, 7)
        self.assertRegex(text, r"\n +\+9\.5M in +\+5\d  \S*/hungry\.py:%d  KEPT\.append\(" %
                         LEAK_LINE)
        self.assertEqual(len(re.findall(r"hungry\.py:%d" % LEAK_LINE, text)), 1)
        worker.send("TRACE=0")
        worker.wait_for(lambda w: w.last("TRACED") == "0", "TRACED=0")
        self.assertEqual(get(worker.address)[0], 200)


for_each_kind(globals(), EveryServer)


class Own(Case):
    """What a trim is measured by."""

    def test_clean_pages(self):
        """What is written counts, the pages of a file that nobody else maps do not."""
        with open(os.path.join(os.path.dirname(os.__file__), "pydoc_data/topics.py"), "rb") as file:
            begin = memory.own()
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE)
            self.addCleanup(mapped.close)
            self.assertGreater(sum(mapped[i] for i in range(0, len(mapped), 4096)), 0)
            clean = memory.own() - begin
        written = mmap.mmap(-1, len(mapped))
        self.addCleanup(written.close)
        written.write(bytes(len(mapped)))
        self.assertGreater(len(mapped), 400000)
        self.assertLess(clean, len(mapped) / 4)
        self.assertGreater(memory.own() - begin, len(mapped))


def trace(worker):
    """Tracing is asked for, and has begun."""
    worker.send("TRACE=1")
    worker.wait_for(lambda w: w.last("TRACED"), "TRACED")


def report(worker, number):
    """A report that was asked for already."""
    from fake_master import unescape
    number = str(number)
    worker.wait_for(lambda w: any("MORE" not in m for m in w.reports.get(number, ())), "REPORT")
    return "".join(unescape(m["TEXT"]) for m in worker.reports[number])


class Trim(Hungry):
    """Trimming as such."""

    def test_steps(self):
        """Which of the two steps has brought what: cycles the first, holes the second."""
        worker = self.hungry()
        get(worker.address, "/cycles?4")
        before, collected, _ = self.sizes(self.trim(worker))
        self.assertLess(collected, before - 12 * MIB)
        get(worker.address, "/holes?800")
        before, collected, after = self.sizes(self.trim(worker))
        self.assertLess(after, collected - 16 * MIB)

    def test_gives_up(self):
        """Requests that do not end: an answer that says so, after some seconds."""
        worker = self.hungry()
        client = Background(get, worker.address, "/sleep?7")
        worker.wait_for(lambda w: w.last("BUSY") == "1", "BUSY=1")
        begun = time.monotonic()
        answer = self.trim(worker)
        self.assertEqual(answer.get("UNTRIMMED"), "requests were in progress for all of 5 s")
        self.assertTrue(4.5 < time.monotonic() - begun < 6.8)
        client.result()
        self.sizes(self.trim(worker))

    def test_drain(self):
        """A drain is more urgent."""
        worker = self.hungry()
        client = Background(get, worker.address, "/sleep?2")
        worker.wait_for(lambda w: w.last("BUSY") == "1", "BUSY=1")
        worker.send("TRIM=1")
        worker.drain()
        worker.wait_for(lambda w: w.last("UNTRIMMED") == "it drains", "refusal")
        client.result()
        self.assertEqual(worker.wait(), 0)

    def test_without_malloc_trim(self):
        """On another C library there is a collection only."""
        folder = self.folder()
        self.write(folder, "musl.py", HUNGRY + "import _ctypes\ndef none(library, name):\n"
                   "    raise OSError('Symbol not found: ' + name)\n_ctypes.dlsym = none\n")
        worker = self.start("musl:app", cwd=folder, worker_class="stdlib", pythonpath=[APPS])
        worker.ready()
        get(worker.address, "/cycles?4")
        before, collected, after = self.sizes(self.trim(worker))
        self.assertLess(collected, before - 12 * MIB)
        self.assertLess(abs(after - collected), MIB)

    def test_broken_finalizer(self):
        """What the application's callbacks raise ends nothing."""
        folder = self.folder()
        self.write(folder, "broken.py", "import gc\nfrom plain import app\n"
                   "def fails(phase, info):\n    raise RuntimeError('no')\n"
                   "gc.collect = fails\n")
        worker = self.start("broken:app", cwd=folder, worker_class="stdlib", pythonpath=[APPS])
        worker.ready()
        self.assertIn("it failed: TypeError", self.trim(worker)["UNTRIMMED"])
        self.assertEqual(get(worker.address), (200, "hello"))

    def test_ctypes_stays_out(self):
        """A trim does not load what the application has no use for."""
        folder = self.folder()
        self.write(folder, "lean.py", "import sys\nfrom plain import app as plain\n"
                   "def app(environ, start):\n    print('ctypes', 'ctypes' in sys.modules)\n"
                   "    print('tracemalloc', 'tracemalloc' in sys.modules)\n"
                   "    return plain(environ, start)\n")
        worker = self.start("lean:app", cwd=folder, worker_class="stdlib", pythonpath=[APPS])
        worker.ready()
        self.sizes(self.trim(worker))
        get(worker.address)
        self.assertIn("ctypes False\ntracemalloc False", worker.printed())


class Trace(Hungry):
    """Tracing as such."""

    def test_on_request(self):
        """A worker that does not trace begins, reports after the time, and ends it."""
        worker = self.hungry()
        begun = time.monotonic()
        worker.send("REPORT=3\nWHAT=memory\nSECONDS=2")
        worker.wait_for(lambda w: w.last("TRACED"), "TRACED")
        while time.monotonic() - begun < 1.5:
            get(worker.address, "/leak")
        text = report(worker, 3)
        self.assertGreater(time.monotonic() - begun, 1.9)
        sites = [line for line in text.splitlines() if line.startswith("  ")]
        self.assertIn("hungry.py:%d" % LEAK_LINE, sites[0])
        self.assertRegex(text, r"what Python has allocated and kept in 2\.\d s, \d+ requests")
        self.assertNotIn("preforkd/", text)
        self.assertNotIn("tracemalloc.py", text)
        worker.wait_for(lambda w: w.last("TRACED") == "0", "TRACED=0")

    def test_cost(self):
        """What tracing takes is told, and that it is over."""
        worker = self.hungry()
        trace(worker)
        get(worker.address, "/small?100000")
        worker.wait_for(lambda w: int(w.last("TRACED") or 0) > 4 * MIB, "TRACED above 4M")
        self.assertLess(int(worker.last("TRACED")), 40 * MIB)
        worker.send("TRACE=0")
        worker.wait_for(lambda w: w.last("TRACED") == "0", "TRACED=0")

    def test_too_much(self):
        """A trace that gets too large is reported before its time."""
        worker = self.hungry()
        worker.send("REPORT=3\nWHAT=memory\nSECONDS=600")
        worker.wait_for(lambda w: w.last("TRACED"), "TRACED")
        get(worker.address, "/small?250000")
        self.assertIn("hungry.py", report(worker, 3))
        worker.wait_for(lambda w: w.last("TRACED") == "0", "TRACED=0")

    def test_bounded(self):
        """Ten places at most, and the sum of the others."""
        folder = self.folder()
        many = "".join("    KEPT.append(bytes(30000))\n" for _ in range(40))
        self.write(folder, "many.py", "from plain import app as plain\nKEPT = []\n"
                   "def app(environ, start):\n" + many + "    return plain(environ, start)\n")
        worker = self.start("many:app", cwd=folder, worker_class="stdlib", pythonpath=[APPS])
        worker.ready()
        trace(worker)
        get(worker.address)
        worker.requests(1)
        worker.send("REPORT=4\nWHAT=memory")
        text = report(worker, 4)
        self.assertEqual(text.count("many.py:"), 10)
        self.assertRegex(text, r"\n +\+\S+ at \d+ other places\n")

    def test_while_hanging(self):
        """A request that hangs is in nobody's way."""
        worker = self.hungry()
        trace(worker)
        get(worker.address, "/leak")
        worker.requests(1)
        client = Background(get, worker.address, "/spin?3")
        worker.wait_for(lambda w: w.last("BUSY") == "1", "BUSY=1")
        worker.send("REPORT=5\nWHAT=memory")
        self.assertIn("hungry.py:%d" % LEAK_LINE, report(worker, 5))
        client.result()

    def test_report_and_drain(self):
        """A report that is asked for just before a drain gets out, and the drain is before it."""
        worker = self.hungry()
        trace(worker)
        get(worker.address, "/small?200000")
        worker.requests(1)
        worker.send("REPORT=6\nWHAT=memory")
        asked = time.monotonic()
        worker.drain()
        stopping = worker.wait_for(lambda w: w.first("STOPPING"), "STOPPING")
        self.assertIn("hungry.py:", report(worker, 6))
        self.assertEqual(worker.wait(), 0)
        self.assertLess(stopping["_time"], worker.reports["6"][0]["_time"])
        self.assertLess(stopping["_time"] - asked, 5.0)

    def test_forked_child(self):
        """A child that the application forks traces nothing; the worker goes on."""
        folder = self.folder()
        self.write(folder, "forks.py", "import os, tracemalloc\nfrom plain import app as plain\n"
                   "def app(environ, start):\n    pid = os.fork()\n    if pid == 0:\n"
                   "        print('child', tracemalloc.is_tracing(), flush=True)\n"
                   "        os._exit(0)\n    os.waitpid(pid, 0)\n"
                   "    print('parent', tracemalloc.is_tracing(), flush=True)\n"
                   "    return plain(environ, start)\n")
        worker = self.start("forks:app", cwd=folder, worker_class="stdlib", pythonpath=[APPS])
        worker.ready()
        trace(worker)
        self.assertEqual(get(worker.address), (200, "hello"))
        self.assertIn("child False\nparent True\n", worker.printed())

    def test_hangs(self):
        """A report that takes for ever holds up the end of the worker for two seconds only."""
        folder = self.folder()
        self.write(folder, "forever.py", "import time, tracemalloc\nfrom plain import app\n"
                   "tracemalloc.take_snapshot = lambda: time.sleep(600)\n")
        worker = self.start("forever:app", cwd=folder, worker_class="stdlib", pythonpath=[APPS])
        worker.ready()
        worker.send("TRACE=1")
        worker.send("REPORT=6\nWHAT=memory")
        worker.wait_for(lambda w: w.last("TRACED"), "TRACED")
        begun = time.monotonic()
        worker.drain()
        self.assertEqual(worker.wait(), 0)
        self.assertTrue(1.5 < time.monotonic() - begun < 6)

    def test_own_trace(self):
        """An application that traces by itself keeps its trace."""
        folder = self.folder()
        self.write(folder, "tracing.py", "import tracemalloc\nfrom plain import app as plain\n"
                   "tracemalloc.start(5)\nKEPT = []\n"
                   "def app(environ, start):\n"
                   "    print('frames', tracemalloc.get_traceback_limit(),"
                   " tracemalloc.is_tracing())\n"
                   "    KEPT.append(bytes(2000000))\n    return plain(environ, start)\n")
        worker = self.start("tracing:app", cwd=folder, worker_class="stdlib", pythonpath=[APPS])
        worker.ready()
        get(worker.address)
        trace(worker)
        # counted from here on
        worker.send("REPORT=7\nWHAT=memory")
        self.assertNotRegex(report(worker, 7), r"\+1\.9M .*tracing\.py")
        get(worker.address)
        worker.send("REPORT=8\nWHAT=memory")
        self.assertRegex(report(worker, 8), r"\+1\.9M in +\+\d  \S*/tracing\.py:7  KEPT")
        worker.send("TRACE=0")
        worker.wait_for(lambda w: w.last("TRACED") == "0", "TRACED=0")
        get(worker.address)
        self.assertEqual(worker.printed().count("frames 5 True"), 3)


class Rollup(MoldCase):
    """The descriptor by which the master sees a worker's private memory."""

    def check(self, process):
        """It came with READY, and is this process's."""
        files = process.first("READY")["_files"]
        self.assertEqual([path for path, _ in files], ["/proc/%d/smaps_rollup" % process.pid])
        self.assertIn(b"Private_Dirty:", files[0][1])
        self.assertFalse(any(m["_files"] for m in process.messages if "READY" not in m))
        until(lambda: not sends_rollup(process.pid), "its end in the worker")

    def test_exec(self):
        """Of a worker that was exec'd."""
        worker = self.start("plain:app", worker_class="stdlib")
        worker.ready()
        get(worker.address)
        worker.requests(1)
        self.check(worker)

    def test_mold(self):
        """Of a mold, and of a worker that it forked; what is frozen stays so in a trim."""
        folder = self.folder()
        self.write(folder, "frozen.py", "import gc\nfrom plain import app as plain\n"
                   "def app(environ, start):\n    print('frozen', gc.get_freeze_count())\n"
                   "    return plain(environ, start)\n")
        mold = self.mold("frozen:app", worker_class="stdlib", cwd=folder, pythonpath=[APPS])
        self.assertEqual(mold.verdict().get("FORKS"), "1")
        self.check(mold)
        listener = free_tcp()
        self.addCleanup(listener.close)
        worker = mold.fork(1, listeners=[listener])
        worker.ready()
        self.check(worker)
        get(worker.address)
        worker.requests(1)
        worker.send("TRIM=1")
        worker.wait_for(lambda w: w.last("TRIMMED"), "TRIMMED")
        get(worker.address)
        worker.requests(2)
        counts = until(lambda: re.findall(r"frozen (\d+)", mold.output()), "output")
        self.assertEqual(len(set(counts)), 1, counts)
        self.assertGreater(int(counts[0]), 1000)


class Connections(Hungry):
    """Somebody who is connected and says nothing is no request."""

    def test_idle_connection(self):
        """A trim does not wait for it."""
        worker = self.hungry(threads=2)
        with connect(worker.address):
            self.sizes(self.trim(worker))


if __name__ == "__main__":
    main(parts=True)
