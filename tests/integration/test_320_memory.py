# SPDX-License-Identifier: MIT
"""What is private of a worker's memory and what is shared: measured, shown, limited."""

import mmap
import os
import re

import harness
from harness import needs_root

SHARED_MIB = 100
FRESH_MIB = 24                  # more than a fresh worker has of its own
TOLERANCE = 4 << 20
CAP_SYS_PTRACE = 19
MAPPED = ("import mmap\n"
          "with open('shared', 'rb') as f:\n"
          "    MAP = mmap.mmap(f.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)\n"
          "SUM = sum(MAP[i] for i in range(0, len(MAP), 4096))\n"
          "from plain import app\n")


def rollup(pid):
    """rss, pss and uss of a process as the kernel tells them, in bytes."""
    with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as lines:
        sizes = {key: int(kib) << 10
                 for key, kib in re.findall(r"^(\w+): +(\d+) kB$", lines.read(), re.M)}
    return sizes["Rss"], sizes["Pss"], sizes["Private_Clean"] + sizes["Private_Dirty"]


def may_trace():
    """Whether this process, and a master that it starts, may look into all others."""
    with open("/proc/self/status", encoding="ascii") as lines:
        caps = re.search(r"^CapEff:\s*(\w+)$", lines.read(), re.M).group(1)
    return bool(int(caps, 16) & 1 << CAP_SYS_PTRACE)


class Memory(harness.Case):
    """Workers that map a file which this process maps as well: most of them is shared.

    They are exec'd: a mapped file is not in a forked worker's memory before it looks at it.
    """

    def start(self, **kw):
        """A ready preforkd with two such workers, whose limits are looked at often."""
        settings = dict(wsgi="mine:app", workers=2, memory_interval="100ms", preload="no",
                        min_worker_lifetime=0, files={"mine.py": MAPPED})
        settings.update(kw)
        p = self.preforkd(start=False, **settings)
        with open(p.path("shared"), "wb+") as f:
            f.write(b"x" * (SHARED_MIB << 20))
            f.flush()
            kept = mmap.mmap(f.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)
        self.addCleanup(kept.close)
        self.assertEqual(sum(kept[i] for i in range(0, len(kept), 4096)) % 120, 0)
        p.start()
        p.wait_ready(settings["workers"])
        return p

    def wait_agreed(self, p):
        """Waits until the sizes of all workers are about what the kernel says; the status."""
        def agrees(worker):
            """Whether those of one are."""
            told = [worker[k] for k in ("rss_bytes", "pss_bytes", "uss_bytes")]
            return None not in told and all(
                abs(a - b) < TOLERANCE for a, b in zip(told, rollup(worker["pid"])))
        return p.wait_status(lambda s: all(agrees(w) for w in s["workers"]))

    def test_status_agrees_with_the_kernel(self):
        """Each worker's sizes, their sums, the table and the metrics."""
        p = self.start(reload_on_uss="%dM" % (FRESH_MIB + 20), memory_samples=1000)
        p.text("/leak?60")
        p.wait_status(lambda s: any((w["uss_bytes"] or 0) > 60 << 20 for w in s["workers"]))
        s = self.wait_agreed(p)
        for w in s["workers"]:
            self.assertGreater(w["rss_bytes"], SHARED_MIB << 20)
            self.assertEqual(w["swap_bytes"], 0)
        self.assertEqual(sorted(w["uss_bytes"] < FRESH_MIB << 20 for w in s["workers"]),
                         [False, True])
        memory = s["memory"]
        for key in "rss_bytes", "pss_bytes", "uss_bytes":
            self.assertEqual(memory[key], sum(w[key] for w in s["workers"]))
        self.assertEqual(memory["shared_bytes"], memory["pss_bytes"] - memory["uss_bytes"])
        # a third of the file is this process's share
        self.assertLess(abs(memory["shared_bytes"] - (SHARED_MIB << 20) * 2 / 3), 4 * TOLERANCE)
        self.assertIsNone(memory["unavailable"])
        self.assertRegex(p.ctl("status")[1], r"\nmemory: \d+\.\dM in all \(PSS\), \S+M private, "
                         r"\S+M shared\n")
        metrics = p.ctl("metrics")[1]
        self.assertRegex(metrics, r'\npreforkd_worker_uss_bytes\{slot="2"\} \d{7,}\n')
        self.assertRegex(metrics, r"\npreforkd_memory_shared_bytes \d{7,}\n")

    def test_reload_on_uss(self):
        """What is shared does not count; a worker whose own memory grows is replaced."""
        limit = FRESH_MIB + 40
        p = self.start(reload_on_uss="%dM" % limit)
        before = p.pids()
        for w in p.workers():
            self.assertGreater(w["rss_bytes"], limit << 20)
        with p.load(clients=2) as load:
            p.text("/leak?60")
            p.wait_status(lambda s: s["recycles"]["reload-on-uss"] == 1)
        self.assertEqual(load.failed, 0, load.result)
        match = p.wait_log(r"reload-on-uss: (\d+)(?:\.\d+)?M of %d(?:\.0)?M after \d+ requests" %
                           limit)
        self.assertTrue(limit <= int(match.group(1)) < 2 * limit, match.group())
        s = p.wait_ready(2)
        self.assertEqual(len(set(before) & {w["pid"] for w in s["workers"]}), 1)
        self.assertEqual({k for k, n in s["recycles"].items() if n}, {"reload-on-uss"})

    def test_growth_of_what_is_shared(self):
        """RSS may grow by as much: only what is measured counts."""
        p = self.start(workers=1, reload_on_uss="%dM" % (FRESH_MIB + 40), files={"mine.py": (
            "import mmap\nfrom plain import app as plain\nKEPT = []\n"
            "def app(environ, start):\n"
            "    if environ['PATH_INFO'] == '/map':\n"
            "        with open('shared', 'rb') as f:\n"
            "            m = mmap.mmap(f.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)\n"
            "        KEPT.append((m, sum(m[i] for i in range(0, len(m), 4096))))\n"
            "        environ['PATH_INFO'] = '/'\n"
            "    return plain(environ, start)\n")})
        pid = p.pids()[0]
        p.text("/map")
        # measured anew, since it could have been private
        s = p.wait_status(lambda s: (s["workers"][0]["pss_bytes"] or 0) > 40 << 20, timeout=9)
        self.assertLess(s["workers"][0]["uss_bytes"], FRESH_MIB << 20)
        self.assertEqual(p.pids(), [pid])
        self.assertEqual(sum(s["recycles"].values()), 0)

    def test_descendants_count(self):
        """A child process's memory is the worker's."""
        p = self.start(workers=1, reload_on_uss="%dM" % (FRESH_MIB + 40))
        child = int(p.text("/childleak?60"))
        self.addCleanup(harness.kill, child)
        p.wait_status(lambda s: s["recycles"]["reload-on-uss"] == 1)
        harness.wait_until(lambda: not harness.is_alive(child))

    def test_futile(self):
        """A limit below what a fresh worker has of its own is told, not obeyed."""
        p = self.start(workers=1, reload_on_uss="3M")
        before = p.pids()
        p.wait_log(r"reload-on-uss = 3\.0M is futile: a fresh worker needs \d+\.\dM")
        futile = p.status()["governor"]["futile"]
        self.assertEqual((futile["key"], futile["limit_bytes"]), ("reload-on-uss", 3 << 20))
        self.assertGreater(futile["fresh_bytes"], 3 << 20)
        self.assertLess(futile["fresh_bytes"], FRESH_MIB << 20)
        self.assertEqual(p.pids(), before)

    def test_rss_of_what_is_shared(self):
        """reload-on-rss near a worker that is mostly shared is warned of, once a generation."""
        warning = r"reload-on-rss = 1\d\d\.0M: more than half of this worker's memory " \
            r"\((\d+)\.\dM of (\d+)\.\dM\) is shared with others.*reload-on-uss"
        p = self.start(reload_on_rss="1G")
        self.assertNotIn("more than half", p.log())
        p.write_ini(reload_on_rss="%dM" % (SHARED_MIB + FRESH_MIB + 10))
        self.assertEqual(p.ctl("reload")[0], 0)
        match = p.wait_log(warning)
        self.assertGreaterEqual(int(match.group(1)), SHARED_MIB)
        self.assertGreater(int(match.group(2)), int(match.group(1)))
        self.assertEqual(p.ctl("recycle", "all")[0], 0)
        self.assertEqual(p.log().count("more than half"), 1)
        p.write_ini(reload_on_rss="%dM" % (SHARED_MIB + FRESH_MIB + 11))
        self.assertEqual(p.ctl("reload")[0], 0)
        p.wait_ready(2)
        self.assertEqual(p.log().count("more than half"), 2)

    @needs_root
    def test_of_another_user(self):
        """A master with CAP_SYS_PTRACE sees it."""
        if not may_trace():
            self.skipTest("needs CAP_SYS_PTRACE")
        p = self.start(user="nobody", workers=1)
        worker = self.wait_agreed(p)["workers"][0]
        self.assertEqual(os.stat("/proc/%d" % worker["pid"]).st_uid, 65534)


if __name__ == "__main__":
    harness.main()
