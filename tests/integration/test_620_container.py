# SPDX-License-Identifier: MIT
"""preforkd as the first process of a container: its own pid namespace, few capabilities.

The capabilities are those that container engines leave by default, without SYS_PTRACE and
SYS_RESOURCE among others.
"""

import json
import os
import signal
import subprocess
import unittest

import harness

CAPABILITIES = ("chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
                "net_bind_service", "net_raw", "sys_chroot", "mknod", "audit_write", "setfcap")
NAMESPACES = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
AS_ROOT = ["setpriv", "--bounding-set=-all,+" + ",+".join(CAPABILITIES)]
AS_WEAK_ROOT = ["setpriv", "--bounding-set=-all,+setuid,+setgid,+kill"]
AS_NOBODY = ["setpriv", "--bounding-set=-all", "--reuid=65534", "--regid=65534",
             "--clear-groups", "--no-new-privs"]


def missing():
    """Why there can be no container here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    try:
        done = subprocess.run(NAMESPACES + AS_ROOT + ["true"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
    except FileNotFoundError as e:
        return str(e)
    return done.stdout.decode().strip() or None if done.returncode else None


def facts(pid):
    """/proc/PID/status as a dict."""
    with open("/proc/%d/status" % pid, encoding="utf-8") as lines:
        return dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)


class ContainerCase(harness.Case):
    """Starts masters in containers."""

    def setUp(self):
        """Skips where there are none."""
        super().setUp()
        reason = missing()
        if reason:
            raise unittest.SkipTest(reason)

    def container(self, how=None, n=2, **kw):
        """A ready preforkd with n workers, and the pid out here of its master."""
        p = self.preforkd(wrap=NAMESPACES + (how or AS_ROOT), workers=n, start=False, **kw)
        if how is AS_NOBODY:
            os.chown(p.dir, 65534, 65534)
        p.start()
        p.wait_ready(n)
        master = harness.children_of(p.pid)[0]
        self.assertEqual(p.status()["pid"], 1)
        return p, master


class Container(ContainerCase):
    """The whole life of a service in it."""

    def test_serves_and_stops(self):
        """Root as master, nobody as worker: serves, is measured, recycles, reloads, stops."""
        p, master = self.container(user="nobody", max_requests=30, max_requests_jitter=0,
                                   min_worker_lifetime=0, reload_on_rss="2G")
        self.assertEqual(int(facts(master)["CapBnd"], 16) & (1 << 19 | 1 << 24), 0)
        info = json.loads(p.text("/info"))
        self.assertEqual((set(info["uid"]), set(info["gid"]), info["groups"]),
                         ({65534}, {65534}, [65534]))
        self.assertEqual(info["ppid"], 1)
        status = p.wait_status(lambda s: all(w["rss_bytes"] and w["fds"] for w in s["workers"]))
        for worker in status["workers"]:
            self.assertGreater(worker["rss_bytes"], 4 << 20)
            self.assertGreater(worker["fds"], 3)
        with p.load(clients=2, keepalive=False) as load:
            p.wait_status(lambda s: s["recycles"]["max-requests"] >= 4)
        self.assertEqual(load.failed, 0, load.result)
        self.assertEqual(p.ctl("reload")[0], 0)
        p.wait_ready(2)
        self.assertEqual(p.status()["generation"], 2)
        self.assertEqual(p.status()["crashes"], 0)
        # two workers and their mold
        harness.wait_until(lambda: len(harness.children_of(master)) == 3)
        children = harness.children_of(master)
        # What a container engine does; unshare passes the exit code on.
        os.kill(master, signal.SIGTERM)
        self.assertEqual(p.wait(), 0)
        self.assertEqual([pid for pid in children if harness.is_alive(pid)], [])

    def test_child_memory_counts(self):
        """Without SYS_PTRACE another user's descendants are measured all the same."""
        p, _ = self.container(user="nobody", n=1)
        before = p.wait_status(lambda s: s["workers"][0]["rss_bytes"])["workers"][0]["rss_bytes"]
        p.text("/childleak?150")
        p.wait_status(lambda s: s["workers"][0]["rss_bytes"] > before + (140 << 20))

    def test_evil_limit(self):
        """A hard limit kills a worker of another user, for which root needs CAP_KILL only."""
        p, _ = self.container(user="nobody", n=1, evil_reload_on_rss="200M")
        with self.assertRaises(OSError):
            p.text("/leak?400")
            p.text("/sleep?20")
        p.wait_status(lambda s: s["recycles"]["evil-reload-on-rss"] == 1)
        p.wait_ready(1)
        self.assertEqual(p.text("/"), "hello")

    def test_descriptors_cannot_be_counted(self):
        """What root cannot see without DAC_READ_SEARCH is null; a limit on it is warned of."""
        p, _ = self.container(AS_WEAK_ROOT, user="nobody", reload_on_fds=500)
        p.wait_log(r"WARN.*reload-on-fds.*CAP_DAC_READ_SEARCH")
        self.assertEqual([w["fds"] for w in p.status()["workers"]], [None, None])
        self.assertEqual(p.text("/"), "hello")

    def test_private_memory(self):
        """Without SYS_PTRACE too: workers and molds send a descriptor that they have opened."""
        for preload in "yes", "no":
            p, master = self.container(user="nobody", reload_on_uss="120M", preload=preload,
                                       memory_interval="100ms", min_worker_lifetime=0)
            self.assertEqual(int(facts(master)["CapEff"], 16) & 1 << 19, 0)
            status = p.wait_status(lambda s: all(w["uss_bytes"] for w in s["workers"]))
            for worker in status["workers"]:
                self.assertGreater(worker["pss_bytes"], worker["uss_bytes"])
                self.assertEqual(worker["swap_bytes"], 0)
            self.assertIsNone(status["memory"]["unavailable"])
            self.assertEqual(len(status["molds"]), preload == "yes")
            p.wait_status(lambda s: all(m["uss_bytes"] for m in s["molds"]))
            # a limit on it holds
            p.text("/leak?130")
            p.wait_status(lambda s: s["recycles"]["reload-on-uss"] == 1)
            p.wait_ready(2)
            self.assertNotIn("reload-on-uss has no effect", p.log())
            os.kill(master, signal.SIGTERM)
            self.assertEqual(p.wait(), 0)

    def test_private_memory_cannot_be_seen(self):
        """Of others it is null and the status says why; a limit on it is warned of."""
        p, _ = self.container(user="nobody", reload_on_uss="500M", memory_interval="100ms",
                              command=harness.helper("fakeworker") + " ready", ready="notify")
        p.wait_log(r"WARN.*reload-on-uss has no effect: .*CAP_SYS_PTRACE")
        status = p.wait_status(lambda s: all(w["rss_bytes"] for w in s["workers"]))
        for worker in status["workers"]:
            self.assertEqual([worker[k] for k in ("uss_bytes", "pss_bytes", "swap_bytes")],
                             [None] * 3)
        memory = status["memory"]
        self.assertEqual([memory[k] for k in ("uss_bytes", "pss_bytes", "shared_bytes")],
                         [None] * 3)
        self.assertIn("CAP_SYS_PTRACE", memory["unavailable"])
        self.assertRegex(p.ctl("status")[1], r"\nmemory: .*\(USS\) is unavailable: ")
        self.assertNotIn("preforkd_memory_pss_bytes", p.ctl("metrics")[1])
        self.assertEqual(p.log().count("reload-on-uss has no effect"), 1)

    def test_no_root_at_all(self):
        """A container that runs as an ordinary user."""
        p, master = self.container(AS_NOBODY, reload_on_fds=500, reload_on_rss="2G")
        self.assertEqual(facts(master)["CapPrm"], "0" * 16)
        status = p.wait_status(lambda s: all(w["rss_bytes"] and w["fds"] for w in s["workers"]))
        self.assertTrue(all(w["fds"] for w in status["workers"]), status["workers"])
        # its own processes are no secret
        self.assertTrue(all(w["uss_bytes"] for w in status["workers"]), status["workers"])
        self.assertIsNone(status["memory"]["unavailable"])
        self.assertEqual(p.ctl("recycle", "all")[0], 0)
        self.assertEqual(p.ctl("stop")[0], 0)
        self.assertEqual(p.wait(), 0)

    def test_quick_stop(self):
        """INT does not wait for a request; the container is empty afterwards."""
        p, master = self.container(user="nobody", graceful_timeout="60s")
        with p.load(clients=1, path="/pid", pause=0.05):
            os.kill(master, signal.SIGINT)
            self.assertEqual(p.wait(), 0)


class Orphans(ContainerCase):
    """The first process inherits everybody who loses his parent."""

    def test_foreign_orphans_are_reaped(self):
        """A program of `exec`, started from outside, leaves no zombie behind."""
        p, master = self.container()
        code = "(read x < %s; exit 3) >/dev/null 2>&1 & echo $!" % p.path("fifo")
        os.mkfifo(p.path("fifo"))
        inside = subprocess.run(
            ["nsenter", "--target", str(master), "--pid", "--mount", "sh", "-c", code],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True).stdout
        orphan = harness.wait_until(lambda: self.adopted(master, int(inside)), what="adoption")
        with open(p.path("fifo"), "w", encoding="ascii") as fifo:
            fifo.write("go\n")
        harness.wait_until(lambda: harness.process_state(orphan) is None, what="its end")
        status = p.status()
        self.assertEqual((status["crashes"], status["boot_failures"]), (0, 0))
        self.assertEqual(p.text("/"), "hello")

    def test_own_grandchildren(self):
        """What a worker leaves in its process group ends with it, and is reaped."""
        p, master = self.container(n=1)
        inside = int(p.text("/fork?600"))
        worker = p.pids()[0]
        grandchild = self.by_inner_pid(master, inside)
        self.assertTrue(grandchild)
        self.assertEqual(p.ctl("recycle", "1")[0], 0)
        harness.wait_until(lambda: harness.process_state(grandchild) is None, what="its end")
        self.assertNotEqual(p.pids()[0], worker)

    def by_inner_pid(self, master, inside):
        """The pid out here of a process of the master's namespace, or None."""
        space = os.readlink("/proc/%d/ns/pid" % master)
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and os.readlink("/proc/%s/ns/pid" % name) == space and \
                        facts(int(name))["NSpid"].split()[-1] == str(inside):
                    return int(name)
            except OSError:
                continue
        return None

    def adopted(self, master, inside):
        """Its pid out here, once it is a child of the master."""
        pid = self.by_inner_pid(master, inside)
        return pid if pid and harness.parent_of(pid) == master else None


if __name__ == "__main__":
    harness.main()
