# SPDX-License-Identifier: MIT
"""The memory of the control group that preforkd runs in: limit, use, parts, and what rose."""

import os
import re
import shutil
import socket
import subprocess
import tempfile

import harness
from cgroup_box import Box, needs_box

MIB = 1 << 20
# Kernels keep some of a group's pages to each CPU, 64 of them, and processes come and go.
NEAR = 6 * MIB
PARTS = "anon_bytes", "file_bytes", "kernel_bytes", "other_bytes"
# A response that no client takes, out of one buffer that is shared by all: no heap grows.
LARGE = ("BODY = bytes(16 << 20)\n"
         "def app(environ, start_response):\n"
         "    start_response('200 OK', [('Content-Length', str(len(BODY)))])\n"
         "    return [BODY]\n")
CLIENTS = 24
HOLDER = "import sys, time; kept = bytearray(%d << 20); print('ok', flush=True); sys.stdin.read()"


def cgroup_of(status):
    """That part of a status."""
    return status["memory"]["cgroup"] or {}


class Cgroup(harness.Case):
    """A real group; a skip says why there is none."""

    def box(self, *args, **kw):
        """A Box that goes with the test."""
        box = Box(*args, **kw)
        self.addCleanup(box.remove)
        return box

    def start(self, box, **kw):
        """A ready preforkd in a box."""
        settings = dict(workers=2, memory_interval="200ms", preload="no", preexec=box.enter)
        settings.update(kw)
        p = self.preforkd(**settings)
        p.wait_ready(settings["workers"])
        return p

    def wait_cgroup(self, p, predicate):
        """Waits until that part of the status is as it should be, which is returned."""
        return cgroup_of(p.wait_status(lambda s: predicate(cgroup_of(s)), timeout=30))

    @needs_box
    def test_limit_use_and_parts(self):
        """What status, table and metrics say is what the kernel says."""
        box = self.box(300 * MIB)
        p = self.start(box)
        before = self.wait_cgroup(p, lambda c: c.get("used_bytes"))
        self.assertEqual(before["limit_bytes"], 300 * MIB)
        self.assertEqual(before["path"], box.dir)
        self.assertEqual(before["limit_file"], box.names["limit"])
        self.assertLessEqual(before["used_bytes"], before["current_bytes"])
        p.text("/leak?60")
        after = self.wait_cgroup(
            p, lambda c: c["anon_bytes"] > before["anon_bytes"] + 55 * MIB and
            abs(c["current_bytes"] - box.usage()) < NEAR)
        self.assertLess(abs(sum(after[k] for k in PARTS) +
                            (after["sock_bytes"] or 0) * box.is_v2 - after["current_bytes"]), NEAR)
        self.assertGreater(after["kernel_bytes"], 0)
        self.assertEqual(after["swap_bytes"], 0)
        self.assertIsNone(after["rise"])
        line = re.search(r"^cgroup: (\S+) of 300.0M \((\d+) %\); heaps .*kernel ",
                         p.ctl("status")[1], re.M)
        self.assertIsNotNone(line)
        self.assertAlmostEqual(int(line.group(2)), after["used_bytes"] * 100 // (300 * MIB),
                               delta=3)
        metrics = p.ctl("metrics")[1]
        self.assertIn("\npreforkd_cgroup_memory_limit_bytes %d\n" % (300 * MIB), metrics)
        anon = int(re.search(r"^preforkd_cgroup_memory_anon_bytes (\d+)$", metrics, re.M).group(1))
        self.assertLess(abs(anon - after["anon_bytes"]), NEAR)

    @needs_box
    def test_limit_changes(self):
        """A limit that is changed while we run is seen."""
        box = self.box(300 * MIB)
        p = self.start(box, workers=1)
        self.wait_cgroup(p, lambda c: c.get("limit_bytes") == 300 * MIB)
        box.set_limit(250 * MIB)
        self.wait_cgroup(p, lambda c: c["limit_bytes"] == 250 * MIB)
        box.set_limit(-1 if not box.is_v2 else "max")
        c = self.wait_cgroup(p, lambda c: c["limit_bytes"] != 250 * MIB)
        if c["limit_bytes"] is None:
            self.assertRegex(p.ctl("status")[1], r"(?m)^cgroup: \S+, no limit; heaps ")
            self.assertNotIn("preforkd_cgroup_memory_limit_bytes", p.ctl("metrics")[1])

    @needs_box
    def test_tighter_parent(self):
        """The parent's limit counts where it is lower, and then its use: that of others as well."""
        parent = self.box(200 * MIB)
        beside = self.box(inside=parent)
        inner = self.box(280 * MIB, inside=parent)
        holder = beside.popen(harness.PYTHON, "-c", HOLDER % 50, stdin=-1, stdout=-1)
        self.addCleanup(holder.wait)
        self.addCleanup(holder.stdout.close)
        self.addCleanup(holder.stdin.close)
        self.assertEqual(holder.stdout.readline(), b"ok\n")
        p = self.start(inner)
        c = self.wait_cgroup(
            p, lambda c: c.get("current_bytes", 0) > inner.usage() + 45 * MIB and
            abs(c["current_bytes"] - parent.usage()) < NEAR)
        self.assertEqual(c["limit_bytes"], 200 * MIB)
        self.assertEqual(c["path"], parent.dir)
        self.assertGreater(c["used_bytes"], 50 * MIB)
        # A child that gets tighter is found when the tree is looked at again.
        inner.set_limit(150 * MIB)
        c = self.wait_cgroup(p, lambda c: c["limit_bytes"] == 150 * MIB)
        self.assertEqual(c["path"], inner.dir)
        self.assertLess(abs(c["current_bytes"] - inner.usage()), NEAR)

    @needs_box
    def test_kernel_kills_are_seen(self):
        """The box itself: what needs more than its limit is killed, and counted."""
        box = self.box(40 * MIB, swap=False)
        self.assertEqual(box.limit(), 40 * MIB)
        self.assertEqual(box.oom_kills(), 0)
        code = box.run(harness.PYTHON, "-c", "bytearray(b'x' * (100 << 20))")[0]
        self.assertEqual(code, -9)
        self.assertEqual(box.oom_kills(), 1)
        self.assertEqual(box.pids(), [])

    @needs_box
    def test_sockets_that_nobody_reads(self):
        """Responses that clients do not read: the rise is named as sockets, in status and log."""
        box = self.box(600 * MIB, sockets=True)
        p = self.start(box, workers=1, threads=CLIENTS + 4, wsgi="large:app",
                       files={"large.py": LARGE}, timeout=300)
        before = self.wait_cgroup(p, lambda c: c.get("used_bytes"))
        for _ in range(CLIENTS):
            s = socket.create_connection(p.address(), harness.PATIENCE)
            self.addCleanup(s.close)
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        grown = self.wait_cgroup(p, lambda c: (c["sock_bytes"] or 0) > 32 * MIB)
        self.assertLess(grown["anon_bytes"], before["anon_bytes"] + 16 * MIB)
        c = self.wait_cgroup(p, lambda c: c["rise"])
        self.assertEqual(c["rise"]["part"], "sock")
        self.assertGreater(c["rise"]["bytes"], 32 * MIB)
        self.assertLess(c["rise"]["from_bytes"], 16 * MIB)
        p.wait_log(r"memory: socket buffers of the cgroup grew from .* not the heap of a worker")
        self.assertRegex(p.ctl("status")[1], r"(?m)^! socket buffers of the cgroup grew from ")
        self.assertEqual(len(re.findall("socket buffers of the cgroup", p.log())), 1)
        metrics = p.ctl("metrics")[1]
        told = int(re.search(r"^preforkd_cgroup_memory_sock_bytes (\d+)$", metrics, re.M).group(1))
        self.assertGreater(told, 32 * MIB)

    def test_without_a_box(self):
        """Wherever this machine has put us: a size, or null; never a limit above its memory."""
        p = self.preforkd(workers=1)
        p.wait_ready(1)
        c = p.status()["memory"]["cgroup"]
        if c is None:
            self.assertNotIn("preforkd_cgroup_", p.ctl("metrics")[1])
            return
        self.assertGreater(c["current_bytes"], 0)
        self.assertTrue(os.path.isdir(c["path"]))
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")
        self.assertLess(c["limit_bytes"] or 0, pages)


# In a mount namespace of its own: no control group, and a pressure file that a test writes. It
# cannot be waited for, as with kernels that allow no trigger.
WITH_PRESSURE = ("mount -t tmpfs none /sys/fs/cgroup && "
                 "mount --bind \"$0\" /proc/pressure/memory && exec \"$@\"")
PRESSURE = "some avg10=%.2f avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 " \
           "avg300=0.00 total=0\n"


def _can_mount():
    """Whether there is such a namespace here."""
    with tempfile.NamedTemporaryFile() as file:
        return os.path.exists("/proc/pressure/memory") and subprocess.run(
            ["unshare", "--mount", "sh", "-c", WITH_PRESSURE, file.name, "true"],
            stderr=subprocess.DEVNULL).returncode == 0


@harness.needs_root
@harness.needs_program("unshare")
class Pressure(harness.Case):
    """Processes that wait for memory."""

    def setUp(self):
        """The file says that it is not worth mentioning."""
        super().setUp()
        if not _can_mount():
            self.skipTest("no mount namespace, or a kernel without pressure stall information")
        folder = tempfile.mkdtemp(prefix="pfd-pressure-")
        self.addCleanup(shutil.rmtree, folder, True)
        self.file = os.path.join(folder, "memory")
        self.say(9.99)

    def say(self, avg10):
        """How much of the last ten seconds somebody waited, in percent."""
        with open(self.file, "w", encoding="ascii") as f:
            f.write(PRESSURE % avg10)

    def test_is_told_and_ends(self):
        """Log, status, table and metrics tell it; nobody is replaced for it; it is over."""
        p = self.preforkd(workers=2, memory_interval="200ms", wrap=[
            "unshare", "--mount", "sh", "-c", WITH_PRESSURE, self.file])
        pids = [w["pid"] for w in p.wait_ready(2)["workers"]]
        self.assertIs(p.status()["memory"]["pressure"], False)
        self.say(10)
        p.wait_status(lambda s: s["memory"]["pressure"])
        p.wait_log("INFO .*memory pressure: processes wait for memory")
        self.assertIn("! memory pressure: processes wait for memory", p.ctl("status")[1])
        self.assertIn("preforkd_memory_pressure 1", p.ctl("metrics")[1])
        self.say(9.99)
        p.wait_status(lambda s: not s["memory"]["pressure"], timeout=30)
        self.assertIn("preforkd_memory_pressure 0", p.ctl("metrics")[1])
        self.assertEqual(len(re.findall("memory pressure", p.log())), 1)
        self.assertEqual([w["pid"] for w in p.status()["workers"]], pids)


class Peak(harness.Case):
    """peak_rss_bytes."""

    def check(self, p):
        """A spike between two samples is in the peak of the worker that had it."""
        p.wait_ready(1)
        p.text("/spike?120")
        worker = p.wait_status(lambda s: s["workers"][0]["rss_bytes"])["workers"][0]
        self.assertLess(worker["rss_bytes"], 100 * MIB)
        p.ctl("recycle", "1")
        self.assertGreater(self.last_peak(p, 1), 120)
        fresh = p.wait_status(lambda s: s["workers"][0]["peak_rss_bytes"] and
                              s["workers"][0]["serial"] > 1 and len(s["workers"]) == 1)
        self.assertLess(fresh["workers"][0]["peak_rss_bytes"], 100 * MIB)
        self.assertGreaterEqual(fresh["workers"][0]["peak_rss_bytes"],
                                fresh["workers"][0]["rss_bytes"])
        self.assertIn("\npreforkd_worker_peak_rss_bytes{slot=\"1\"} ", p.ctl("metrics")[1])
        self.assertGreater(self.peak_after_drain(p, 2), 200)
        p.ctl("recycle", "1")
        self.assertLess(self.last_peak(p, 3), 100)

    def last_peak(self, p, count):
        """What the log says of the worker that ended as the count-th, in MiB."""
        return float(p.wait_log(r"ended: .*, peak RSS (\d+\.\d)M", count=count).group(1))

    def peak_after_drain(self, p, count):
        """The same of a worker whose spike comes when nobody looks at it any more."""
        with socket.create_connection(p.address()) as sock:
            sock.sendall(b"GET /late?200 HTTP/1.0\r\n\r\n")
            p.wait_status(lambda s: s["workers"][0]["in_flight"] == 1)
            with p.ctl_start("recycle", "1") as asked:
                p.wait_status(lambda s: any(w["state"] == "draining" for w in s["workers"]))
                p.write("go", "")
                self.assertIn(b"200", sock.makefile("rb").readline())
                asked.communicate(timeout=harness.stretched(harness.PATIENCE))
        return self.last_peak(p, count)

    SPIKE = ("import os, time\n"
             "from plain import app as inner\n"
             "def app(environ, start_response):\n"
             "    while environ['PATH_INFO'] == '/late' and not os.path.exists('go'):\n"
             "        time.sleep(0.01)\n"
             "    if environ['PATH_INFO'] in ('/spike', '/late'):\n"
             "        len(b'x' * (int(environ['QUERY_STRING']) << 20))\n"
             "        environ['PATH_INFO'] = '/'\n"
             "    return inner(environ, start_response)\n")

    def test_of_executed_workers(self):
        """What was given back before the next sample counts; a new worker begins anew."""
        self.check(self.preforkd(wsgi="mine:app", files={"mine.py": self.SPIKE}, preload="no",
                                 memory_interval="60s"))

    def test_of_forked_workers(self):
        """What the mold had once, while it imported, is not in it."""
        once = "len(b'x' * (150 << 20))\n" + self.SPIKE
        self.check(self.preforkd(wsgi="mine:app", files={"mine.py": once}, preload="yes",
                                 memory_interval="60s"))


if __name__ == "__main__":
    harness.main()
