# SPDX-License-Identifier: MIT
"""What goes wrong with a service of a real systemd, and what the unit's lines do."""

import errno
import json
import os
import signal
import socket
import unittest

import harness
import systemd_box
from systemd_service import MISSING, Service, SystemdCase, boot_box

# What the hardening forbids and what an application does every day: each 0 or an errno.
ATTEMPTS = """
import ctypes, json, multiprocessing, os, socket, sqlite3, subprocess, tempfile
import plain

libc = ctypes.CDLL(None, use_errno=True)


def call(name, *args):
    if getattr(libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), name)


def setgid_folder():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o2775)


def others():
    if os.path.exists("/proc/1"):
        raise FileExistsError(0, "seen")


def shared_tmp():
    if os.path.exists("/tmp/of-another-service"):
        raise FileExistsError(0, "seen")


def database():
    with tempfile.NamedTemporaryFile() as file:
        sqlite3.connect(file.name).execute("create table t (x)")


TRIES = {
    "write /etc": lambda: open("/etc/attempt", "w"),
    "write /usr": lambda: open("/usr/attempt", "w"),
    "write /home": lambda: open("/home/attempt", "w"),
    "write sysctl": lambda: open("/proc/sys/kernel/core_pattern", "w"),
    "write cgroup": lambda: os.mkdir("/sys/fs/cgroup/unified/attempt" if
                                     os.path.exists("/sys/fs/cgroup/unified") else
                                     "/sys/fs/cgroup/attempt"),
    "AF_PACKET": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM),
    "personality": lambda: call("personality", 0x40000),
    "ptrace": lambda: call("ptrace", 16, 0, 0, 0),
    "setgid folder": setgid_folder,
    "user namespace": lambda: call("unshare", 0x10000000),
    "other processes": others,
    "shared /tmp": shared_tmp,
    "own /tmp": lambda: tempfile.NamedTemporaryFile(),
    "program": lambda: subprocess.run(["/bin/true"], check=True),
    "names": lambda: socket.getaddrinfo("localhost", 80),
    "semaphore": multiprocessing.Lock,
    "database": database,
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
}


def attempts(_):
    results = {}
    for name, action in TRIES.items():
        try:
            action()
            results[name] = 0
        except OSError as e:
            results[name] = e.errno or -1
        except Exception as e:
            results[name] = repr(e)
    return json.dumps(results)


plain.ACTIONS["/attempts"] = attempts
"""


def setUpModule():
    """Boots the system."""
    if MISSING is None:
        boot_box()


def low_port():
    """A port below 1024 that is free."""
    for port in range(1023, 600, -1):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise unittest.SkipTest("no free port below 1024")


class Trouble(SystemdCase):
    """What goes wrong and is mended."""

    def test_hung_master(self):
        """A master that hangs is killed by the watchdog, with its workers, and started anew."""
        s = self.service("hung", "WatchdogSec=3s\nRestartSec=100ms")
        # It gives its signs of life: it outlives the watchdog's time by far.
        s.wait_status(lambda st: st["uptime_seconds"] > 5)
        self.assertEqual(s.prop("NRestarts"), "0")
        old, worker = s.main_pid(), s.status()["workers"][0]["pid"]
        self.box.kill(old, signal.SIGSTOP)
        new = self.wait_new_master(s, old)
        self.assertEqual(s.prop("NRestarts"), "1")
        self.assertIn("Watchdog timeout", s.log())
        self.assertEqual(s.text("/version"), "one")
        self.assertNotEqual(s.status()["workers"][0]["pid"], worker)
        self.assertEqual(new, s.main_pid())

    def test_killed_master(self):
        """kill -9 of the master: its workers go with it, systemd starts another."""
        s = self.service("killed", "RestartSec=100ms", workers=3)
        s.wait_status(lambda st: [w["state"] for w in st["workers"]] == ["ready"] * 3)
        old, workers = s.main_pid(), [w["pid"] for w in s.status()["workers"]]
        self.box.kill(old, signal.SIGKILL)
        gone = [self.box.path("/proc/%d" % pid) for pid in workers]
        harness.wait_until(lambda: not any(map(os.path.exists, gone)), 2, "end of the workers")
        self.wait_new_master(s, old)
        self.assertEqual(s.text("/version"), "one")
        self.assertEqual(s.prop("NRestarts"), "1")

    def test_killed_for_memory(self):
        """The kernel takes a worker of a service at its limit: reason oom, the service stays."""
        s = self.service("oom", "MemoryMax=160M\nMemorySwapMax=0", workers=2, timeout=0,
                         memory_limit="no")
        if not self.has_limit(s, 160 << 20):
            self.skipTest("MemoryMax= has no effect here")
        s.wait_status(lambda st: [w["state"] for w in st["workers"]] == ["ready"] * 2)
        old = s.main_pid()
        with self.assertRaises(OSError):
            s.text("/leak?400")
        s.wait_status(lambda st: st["oom_kills"] == 1 and
                      [w["state"] for w in st["workers"]] == ["ready"] * 2)
        status = s.status()
        self.assertEqual(status["recycles"]["oom"], 1)
        self.assertEqual(status["crashes"], 0)
        self.assertEqual([w["last_reason"] for w in status["workers"]].count("oom"), 1)
        self.assertEqual(s.text("/version"), "one")
        self.assertEqual(s.main_pid(), old)
        self.assertEqual(s.show("ActiveState", "NRestarts"),
                         {"ActiveState": "active", "NRestarts": "0"})
        ends = [e for e in s.journal() if e.get("PREFORKD_EVENT") == "exit"]
        self.assertEqual([e.get("PREFORKD_REASON") for e in ends], ["oom"])
        self.assertIn("out of memory", str(ends[0]["MESSAGE"]))

    def has_limit(self, s, size):
        """Whether the kernel knows of the unit's MemoryMax=, in either kind of cgroup."""
        group = s.prop("ControlGroup")
        for folder, name in (("", "memory.max"), ("/memory", "memory.limit_in_bytes")):
            try:
                with open(self.box.path("/sys/fs/cgroup%s%s/%s" % (folder, group, name)),
                          encoding="ascii") as limit:
                    return limit.read().strip() == str(size)
            except OSError:
                continue
        return False


class Surroundings(SystemdCase):
    """Sockets, journal, users."""

    def test_socket_activation(self):
        """The first connection starts the service; a killed master refuses nobody."""
        s = Service(self.box, "sock", "RestartSec=300ms", listen="systemd")
        unit = "preforkd@sock.socket"
        self.box.write("%s/%s.d/test.conf" % (systemd_box.UNITS, unit),
                       "[Socket]\nListenStream=127.0.0.1:%d\n" % s.port)
        self.box.systemctl("daemon-reload")
        self.box.systemctl("start", unit)
        self.services.append(s)
        self.addCleanup(self.box.systemctl, "stop", unit)
        self.assertEqual(s.prop("ActiveState"), "inactive")
        self.assertEqual(s.text("/version"), "one")
        s.wait_prop("ActiveState", "active")
        self.assertEqual(sorted(s.status()["listen"]), sorted(
            ["127.0.0.1:%d" % s.port, "unix:/run/preforkd/sock.sock"]))
        answer = harness.get(self.box.path("/run/preforkd/sock.sock"), "/version")
        self.assertEqual(answer.body, "one")
        s.write_app("two")
        s.reload()
        old = s.main_pid()
        self.box.kill(old, signal.SIGKILL)
        # What its workers have accepted dies with them; the next connection waits in the queue
        # of the socket until the next master is there.
        harness.wait_until(lambda: s.prop("SubState") in ("auto-restart", "start") or
                           s.main_pid() not in (0, old), 20, "the old workers' end")
        self.assertEqual(s.text("/version"), "two")
        self.wait_new_master(s, old)
        s.stop()
        self.assertTrue(harness.can_connect(("127.0.0.1", s.port)))

    def test_journal_fields(self):
        """Lines about a worker carry who and why; the master's have their priority."""
        s = self.service("journal", workers=2)
        s.wait_status(lambda st: [w["state"] for w in st["workers"]] == ["ready"] * 2)
        pid = next(w["pid"] for w in s.status()["workers"] if w["slot"] == 2)
        self.assertEqual(s.ctl("recycle", "2").returncode, 0)

        def recycled():
            """The entry about the end of the old worker."""
            return s.journal("PREFORKD_WORKER_PID=%d" % pid, "PREFORKD_EVENT=exit")
        entry = harness.wait_until(recycled, 20, "its end in the journal")[0]
        self.assertEqual(
            {k: entry.get(k) for k in ("PREFORKD_SLOT", "PREFORKD_REASON", "PRIORITY",
                                       "PREFORKD_GENERATION", "SYSLOG_IDENTIFIER", "_TRANSPORT",
                                       "_SYSTEMD_UNIT")},
            {"PREFORKD_SLOT": "2", "PREFORKD_REASON": "request", "PRIORITY": "6",
             "PREFORKD_GENERATION": "1", "SYSLOG_IDENTIFIER": "preforkd",
             "_TRANSPORT": "journal", "_SYSTEMD_UNIT": s.unit})
        self.assertTrue(entry["PREFORKD_SERIAL"].isdigit())
        # What journalctl shows has to say it, too.
        self.assertRegex(entry["MESSAGE"], r"^slot 2 pid %d\b.*: ended" % pid)
        self.assertEqual(entry["_PID"], str(s.main_pid()))
        started = [e for e in s.journal() if "serving: first worker" in str(e["MESSAGE"])]
        self.assertEqual(started[0]["PRIORITY"], "5")
        # What the application prints arrives as it is, from the worker itself.
        s.text("/say?spoken-by-worker")
        s.wait_log("spoken-by-worker")

    def test_hardening(self):
        """The shipped unit: an ordinary user without rights, and an application that runs."""
        s = self.service("hard", reload_on_rss="500M")
        info = json.loads(s.text("/info"))
        self.assertEqual(set(info["uid"]) | set(info["gid"]), {33})
        for pid in (s.main_pid(), info["pid"]):
            with open(self.box.path("/proc/%d/status" % pid), encoding="utf-8") as lines:
                facts = dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)
            self.assertEqual(
                {k: facts[k] for k in ("NoNewPrivs", "Seccomp", "CapEff", "CapPrm", "CapBnd")},
                {"NoNewPrivs": "1", "Seccomp": "2", "CapEff": "0" * 16, "CapPrm": "0" * 16,
                 "CapBnd": "0" * 16})
        worker = s.wait_status(lambda st: st["workers"][0]["fds"])["workers"][0]
        self.assertGreater(worker["rss_bytes"], 1 << 20)
        self.assertGreater(worker["fds"], 3)
        self.assertEqual(s.ctl("report", "1").returncode, 0)

    def test_attempts(self):
        """Every line that forbids something does, and nothing that applications do is hurt."""
        self.box.write("/tmp/of-another-service", "")
        s = self.service("attempts", start=False)
        s.write_app("one", ATTEMPTS)
        s.start()
        found = json.loads(s.text("/attempts"))
        forbidden = {
            "write /etc": errno.EROFS, "write /usr": errno.EROFS, "write /home": errno.EROFS,
            "write sysctl": errno.EROFS, "write cgroup": errno.EROFS,
            "AF_PACKET": errno.EAFNOSUPPORT, "personality": errno.EPERM, "ptrace": errno.EPERM,
            "setgid folder": errno.EPERM, "user namespace": errno.EPERM}
        self.assertEqual(found, {name: forbidden.get(name, 0) for name in found})

    def test_low_port(self):
        """A port below 1024 as an ordinary user, with the two lines of the unit's comment."""
        unit = self.box.path(systemd_box.UNITS + "/preforkd@.service")
        with open(unit, encoding="utf-8") as text:
            lines = [line[1:] for line in text.read().splitlines()
                     if line.startswith(("#CapabilityBoundingSet", "#AmbientCapabilities"))]
        self.assertEqual(len(lines), 2)
        s = self.service("low", "\n".join(lines), start=False)
        s.port = low_port()
        s.write_ini(listen="127.0.0.1:%d" % s.port)
        s.start()
        info = json.loads(s.text("/info"))
        with open(self.box.path("/proc/%d/status" % info["pid"]), encoding="utf-8") as lines:
            facts = dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)
        self.assertEqual((facts["CapEff"], facts["CapAmb"]), ("0" * 16, "0" * 16))
        self.assertEqual(info["uid"][0], 33)

    def test_user_setting(self):
        """user-setting.conf beside the unit has all that `user =` needs, and no more."""
        with open(os.path.join(harness.SRCDIR, "contrib/systemd/user-setting.conf"),
                  encoding="utf-8") as text:
            unit = text.read().split("[Service]")[1]
        s = self.service("user", unit, user="nobody", reload_on_rss="500M", workers=2)
        s.wait_status(lambda st: [w["state"] for w in st["workers"]] == ["ready"] * 2)
        info = json.loads(s.text("/info"))
        self.assertEqual(set(info["uid"]), {65534})
        self.assertEqual(info["groups"], [65534])
        s.wait_status(lambda st: all(w["rss_bytes"] and w["fds"] for w in st["workers"]))
        s.write_app("two")
        s.reload()
        self.assertEqual(s.status()["generation"], 2)
        self.assertEqual(s.ctl("recycle", "all").returncode, 0)
        # An immediate stop needs CAP_KILL.
        self.assertEqual(s.ctl("stop", "--quick").returncode, 0)
        s.wait_prop("ActiveState", "inactive")
        self.assertEqual(s.prop("Result"), "success")


if __name__ == "__main__":
    harness.main()
