# SPDX-License-Identifier: MIT
"""preforkd starts, serves, stops: what a process of it is and what it leaves behind."""

import grp
import json
import os
import pwd
import resource
import shutil
import signal
import socket
import stat
import subprocess
import time
import unittest

import harness
from harness import wait_until


class Start(harness.Case):
    """Start, identity, environment of the workers."""

    def info(self, p):
        """What a worker found."""
        return json.loads(p.text("/info"))

    def test_serve_and_stop(self):
        """Two workers answer, TERM ends with 0; the log tells both."""
        p = self.preforkd(workers=2)
        p.wait_ready(2)
        self.assertEqual(p.text("/"), "hello")
        with p.load(clients=2, path="/pid") as load:
            p.wait_status(lambda s: s["requests_total"] > 50)
        self.assertEqual(load.failed, 0, load.result)
        self.assertEqual(p.stop(), 0)
        self.assertRegex(p.log(), r"preforkd \d\S*, pid %d: wsgi plain:app, 2 workers on " % p.pid)
        self.assertRegex(p.log(), r"stopped after \d+ requests")
        self.assertFalse(os.path.exists(p.control))

    def test_process_names(self):
        """ps tells master, slots and application."""
        p = self.preforkd(workers=2, name="shop")
        p.wait_ready()
        wait_until(lambda: harness.command_line(p.pid) == "preforkd: shop master")
        for slot, pid in enumerate(p.pids(), 1):
            self.assertEqual(harness.command_line(pid), "preforkd: shop worker %d" % slot)

    def test_what_a_worker_inherits(self):
        """stdin is /dev/null, few descriptors, own process group, a raised oom score."""
        p = self.preforkd(listen=["127.0.0.1:0", "unix:run.sock"])
        p.wait_ready()
        info = self.info(p)
        self.assertEqual(info["stdin"], "/dev/null")
        self.assertEqual(info["cwd"], p.dir)
        self.assertEqual(info["path"][0], p.dir)
        self.assertIn(harness.APPS, info["path"])
        self.assertNotIn(harness.PYTHON_DIR, info["path"])
        self.assertEqual(info["pgid"], info["pid"])
        self.assertEqual(info["ppid"], p.pid)
        self.assertGreaterEqual(info["oom"], 100)
        self.assertLess(len(info["fds"]), 16, info["fds"])

    def test_environment(self):
        """The master's own variables stay out, [env] and the slot come in."""
        p = self.preforkd(workers=2, env={"GREETING": "a = b ; c", "HOME": "/nowhere"},
                          environ={"MINE": "yes", "WATCHDOG_USEC": "100000000"})
        p.wait_ready()
        env = json.loads(p.text("/env"))
        self.assertEqual(env["GREETING"], "a = b ; c")
        self.assertEqual(env["HOME"], "/nowhere")
        self.assertEqual(env["MINE"], "yes")
        self.assertIn(env["PREFORKD_SLOT"], "12")
        self.assertIn(env["PREFORKD_WORKER_ID"], "12")
        self.assertEqual(env["PREFORKD_GENERATION"], "1")
        for name in ("LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET", "PREFORKD_CHANNEL",
                     "WATCHDOG_USEC", "PREFORKD_SETTINGS", "PYTHONPATH"):
            self.assertNotIn(name, env)

    def test_worker_ids_differ(self):
        """Also while an old worker drains."""
        p = self.preforkd(workers=2, graceful_timeout=20)
        p.wait_ready()
        with p.load(clients=4, path="/sleep?1.5"):
            wait_until(lambda: all(w["in_flight"] for w in p.workers()))
            self.assertEqual(p.ctl("recycle", "1")[0], 0)
            workers = p.workers(None)
            self.assertGreaterEqual(len(workers), 3)
            ids = [w["worker_id"] for w in workers]
            self.assertEqual(len(ids), len(set(ids)), workers)

    def test_chdir_pythonpath_umask_limits(self):
        """As set."""
        p = self.preforkd(files={"sub/mine.py": "from plain import app\n", "lib/x.py": ""},
                          wsgi="mine:app", chdir="sub", pythonpath="lib:" + harness.APPS,
                          umask="027", limit_nofile=300, limit_as="3G", oom_score_adjust=250)
        p.wait_ready()
        info = self.info(p)
        self.assertEqual(info["cwd"], p.path("sub"))
        self.assertEqual(info["path"][0], p.path("sub"))
        self.assertIn(p.path("lib"), info["path"])
        self.assertEqual(info["umask"], 0o027)
        self.assertEqual(info["nofile"][0], 300)
        self.assertEqual(info["as"], [3 << 30, 3 << 30])
        self.assertEqual(info["oom"], 250)

    def test_nofile_is_restored(self):
        """The master raises its own limit, workers get the original."""
        def lower():
            """A low soft limit."""
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))
        p = self.preforkd(preexec=lower)
        p.wait_ready()
        self.assertEqual(self.info(p)["nofile"], [256, 4096])
        with open("/proc/%d/limits" % p.pid) as f:
            line = [x for x in f if x.startswith("Max open files")][0]
        self.assertEqual(line.split()[3:5], ["4096", "4096"])

    @harness.needs_root
    def test_user_and_group(self):
        """Workers run as another user with its groups; the master stays."""
        nobody = pwd.getpwnam("nobody")
        p = self.preforkd(user="nobody", group="daemon")
        p.wait_ready()
        info = self.info(p)
        self.assertEqual(info["uid"], [nobody.pw_uid] * 3)
        self.assertEqual(len(set(info["gid"])), 1)
        self.assertEqual(info["gid"][0], grp.getgrnam("daemon").gr_gid)
        self.assertNotIn(0, info["groups"])
        self.assertEqual(os.stat("/proc/%d" % p.pid).st_uid, 0)
        rss = p.wait_status(lambda s: s["workers"][0]["rss_bytes"])["workers"][0]["rss_bytes"]
        self.assertGreater(rss, 5 << 20)
        self.assertEqual(p.stop(), 0)

    def test_virtualenv(self):
        """Its interpreter, its packages, VIRTUAL_ENV and PATH."""
        p = self.preforkd(start=False, python=None, virtualenv="venv",
                          wsgi="only_in_venv:app", pythonpath=None)
        subprocess.run([harness.PYTHON, "-m", "venv", "--without-pip", p.path("venv")], check=True)
        lib = [d for d, _, _ in os.walk(p.path("venv/lib")) if d.endswith("site-packages")][0]
        shutil.copy(os.path.join(harness.APPS, "plain.py"), os.path.join(lib, "only_in_venv.py"))
        p.start()
        p.wait_ready()
        info, env = self.info(p), json.loads(p.text("/env"))
        self.assertEqual(info["prefix"], p.path("venv"))
        self.assertEqual(env["VIRTUAL_ENV"], p.path("venv"))
        self.assertTrue(env["PATH"].startswith(p.path("venv/bin") + ":"))

    def test_virtualenv_missing(self):
        """Says which program it looked for."""
        p = self.preforkd(python=None, virtualenv="novenv")
        self.assertEqual(p.wait(), 1)
        self.assertIn(p.path("novenv/bin/python"), p.log())

    def test_pidfile(self):
        """Written, readable, removed at the end, left alone when it is another's."""
        p = self.preforkd(pidfile="run.pid")
        p.wait_ready()
        self.assertEqual(p.read("run.pid"), "%d\n" % p.pid)
        p.stop()
        self.assertFalse(os.path.exists(p.path("run.pid")))
        q = self.preforkd(pidfile="run.pid")
        q.wait_ready()
        q.write("run.pid", "1\n")
        q.stop()
        self.assertEqual(q.read("run.pid"), "1\n")

    def test_pidfile_cannot_be_written(self):
        """Fails at start and names the file."""
        p = self.preforkd(pidfile="/proc/no/such.pid")
        self.assertEqual(p.wait(), 1)
        self.assertIn("/proc/no/such.pid", p.log())

    def test_control_not_writable(self):
        """A warning; the service runs."""
        port = harness.free_port()
        p = self.preforkd(control="/proc/nowhere/control", listen="127.0.0.1:%d" % port)
        p.wait_log(r"WARN.*control socket.*/proc/nowhere")
        p.wait_log(r"ready after")
        self.assertEqual(harness.get(("127.0.0.1", port)).status, 200)

    def test_unix_socket(self):
        """Mode and owner; removed at the end; a stale one is replaced."""
        p = self.preforkd(listen="unix:run.sock", socket_mode="0620", start=False)
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(p.path("run.sock"))
        p.start()
        p.wait_ready()
        mode = os.stat(p.path("run.sock")).st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(stat.S_IMODE(mode), 0o620)
        self.assertEqual(p.get(address=p.path("run.sock")).body, "hello")
        self.assertEqual(p.stop(), 0)
        self.assertFalse(os.path.exists(p.path("run.sock")))

    def test_unix_socket_in_use(self):
        """A living one is not taken away."""
        p = self.preforkd(listen="unix:run.sock")
        p.wait_ready()
        q = self.preforkd(listen="unix:" + p.path("run.sock"))
        self.assertEqual(q.wait(), 1)
        self.assertRegex(q.log(), r"run\.sock.*another process")
        self.assertEqual(p.get(address=p.path("run.sock")).status, 200)

    def test_abstract_and_ipv6(self):
        """unix:@NAME and [::1]:0."""
        name = "preforkd-test-%d" % os.getpid()
        p = self.preforkd(listen=["unix:@" + name, "[::1]:0"])
        p.wait_ready()
        self.assertEqual(p.get(address="@" + name).status, 200)
        host, port = p.address(1)
        self.assertEqual(harness.get((host, port)).status, 200)

    def test_inherited_descriptor(self):
        """fd:N and LISTEN_FDS."""
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            port = s.getsockname()[1]

            def pass_on():
                """The socket as 3, as systemd would."""
                os.dup2(s.fileno(), 3)
                os.set_inheritable(3, True)
                os.environ["LISTEN_PID"] = str(os.getpid())
            # close_fds would close 3 again
            for listen, environ in (("fd:3", {}), ("systemd", {"LISTEN_FDS": "1"})):
                with self.subTest(listen):
                    p = self.preforkd(listen=listen, start=False, environ=environ)
                    p.wrap = ["/bin/sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh"]
                    log = open(p.log_path, "a")
                    p.process = subprocess.Popen(
                        p.wrap + [harness.PREFORKD, p.ini], stdout=log, stderr=log,
                        env=p.environ, close_fds=False, preexec_fn=pass_on)
                    log.close()
                    p.wait_ready()
                    self.assertEqual(harness.get(("127.0.0.1", port)).status, 200)
                    self.assertEqual(p.stop(), 0)
                    # the socket is not ours: it listens on
                    self.assertTrue(harness.can_connect(("127.0.0.1", port)))

    def test_first_generation_never_boots(self):
        """boot-attempts, then exit code 1 with the worker's last words."""
        p = self.preforkd(files={"mine.py": "raise RuntimeError('cannot work like this')\n"},
                          wsgi="mine:app", boot_attempts=2)
        self.assertEqual(p.wait(), 1)
        self.assertEqual(p.log().count("ended before it was ready"), 2)
        self.assertRegex(p.log(), r"no worker could be started in 2 attempts.*cannot work like")

    def test_first_generation_never_boots_with_many(self):
        """The attempts are those of one slot; with many it is not much more."""
        p = self.preforkd(wsgi="no_such_module:app", workers=4, boot_attempts=2)
        self.assertEqual(p.wait(), 1)
        self.assertLessEqual(p.log().count("ended before it was ready"), 6)

    def test_first_boot_succeeds_late(self):
        """The second attempt works: it serves and nothing is left of the trouble."""
        p = self.preforkd(files={"mine.py": (
            "import os\nif not os.path.exists('flag'):\n    open('flag', 'w').close()\n"
            "    raise OSError('not yet')\nfrom plain import app\n")}, wsgi="mine:app")
        p.wait_ready()
        self.assertEqual(p.status()["boot_failures"], 1)

    def test_after_success_it_never_gives_up(self):
        """A worker that dies and cannot come back leaves the master running."""
        p = self.preforkd(files={"mine.py": "from plain import app\n"},
                          wsgi="mine:app", preload="no",
                          boot_attempts=1)
        p.wait_ready()
        p.write("mine.py", "raise OSError('gone bad')\n")
        harness.kill(p.pids()[0])
        s = p.wait_status(lambda s: s["boot_failures"] >= 3)
        self.assertEqual(s["state"], "running")
        p.write("mine.py", "from plain import app\n")
        p.wait_ready()


class WorkerLog(harness.Case):
    """worker-log: where output goes."""

    def test_inherit(self):
        """stdout and stderr of a worker reach ours, whole lines."""
        p = self.preforkd()
        p.wait_ready()
        p.text("/say?to+stderr")
        p.text("/print?to+stdout")
        p.wait_log(r"^to stderr$")
        p.wait_log(r"^to stdout$")

    def test_inherit_during_boot(self):
        """What is printed before READY appears too."""
        p = self.preforkd(files={"mine.py": "import sys\nprint('hello from import', "
                                 "file=sys.stderr)\nfrom plain import app\n"}, wsgi="mine:app")
        p.wait_ready()
        p.wait_log(r"^hello from import$")

    def test_prefix(self):
        """Each line with slot and pid, cut lines too."""
        p = self.preforkd(worker_log="prefix")
        p.wait_ready()
        p.text("/say?to+stderr")
        p.text("/print?to+stdout")
        pid = p.pids()[0]
        p.wait_log(r"\b1 pid %d: to stderr$" % pid)
        p.wait_log(r"\b1 pid %d: to stdout$" % pid)

    def test_file_and_usr1(self):
        """A file, reopened on USR1 by the workers that run."""
        p = self.preforkd(worker_log="./workers.log", workers=2)
        p.wait_ready()
        p.text("/say?first+line")
        wait_until(lambda: "first line" in p.read("workers.log"))
        os.rename(p.path("workers.log"), p.path("workers.log.1"))
        p.text("/say?second+line")
        wait_until(lambda: "second line" in p.read("workers.log.1"))
        p.signal(signal.SIGUSR1)
        p.wait_log("SIGUSR1: logs are opened again")
        before = p.pids()

        def both_moved():
            """Every worker writes into the new file now."""
            for i in range(4):
                p.text("/say?third+line")
                p.text("/print?third+line")
            old = p.read("workers.log.1").count("third line")
            os.truncate(p.path("workers.log.1"), 0)
            return old == 0 and "third line" in p.read("workers.log")
        wait_until(both_moved)
        self.assertEqual(p.pids(), before)

    def test_file_cannot_be_opened(self):
        """At start an error; on USR1 the old file stays."""
        p = self.preforkd(worker_log="/proc/no/such.log")
        self.assertEqual(p.wait(), 1)
        self.assertIn("/proc/no/such.log", p.log())
        q = self.preforkd(files={"logs/x": ""}, worker_log="logs/w.log")
        q.wait_ready()
        os.rename(q.path("logs"), q.path("moved"))
        q.signal(signal.SIGUSR1)
        q.wait_log(r"SIGUSR1: .*logs/w\.log.*old file stays")
        q.text("/say?still+here")
        wait_until(lambda: "still here" in q.read("moved/w.log"))

    def test_on_worker_exit(self):
        """The command is told slot, id, pid and reason; planned ends and crashes alike."""
        p = self.preforkd(on_worker_exit="/bin/sh -c 'echo \"$PREFORKD_SLOT $PREFORKD_WORKER_ID "
                          "$PREFORKD_PID $PREFORKD_REASON\" >> exits'")
        p.wait_ready()
        first = p.pids()[0]
        self.assertEqual(p.ctl("recycle")[0], 0)
        wait_until(lambda: "1 1 %d request\n" % first in p.read("exits"))
        p.wait_ready()
        second = p.pids()[0]
        harness.kill(second)
        wait_until(lambda: "%d crash\n" % second in p.read("exits"))

    def test_on_worker_exit_hangs(self):
        """A command that never ends holds nothing up, but the worker id that it is about."""
        p = self.preforkd(on_worker_exit="/bin/sleep 600")
        p.wait_ready()
        for n in range(3):
            self.assertEqual(p.ctl("recycle")[0], 0)
            p.wait_status(lambda s, n=n: s["recycles"]["request"] == n + 1)
            wait_until(lambda n=n: len([c for c in harness.children_of(p.pid)
                                        if "sleep" in harness.command_line(c)]) == n + 1)
        self.assertEqual(p.status()["workers"][0]["worker_id"], 4)
        hooks = [c for c in harness.children_of(p.pid) if "sleep" in harness.command_line(c)]
        for pid in hooks:
            self.addCleanup(harness.kill, pid)
        self.assertEqual(p.stop(), 0)

    def test_json_log(self):
        """log-format = json: one object a line."""
        p = self.preforkd(log_format="json")
        p.wait_ready()
        p.stop()
        lines = [json.loads(line) for line in p.log().splitlines()]
        self.assertGreater(len(lines), 3)
        self.assertTrue(any("ready after" in json.dumps(line) for line in lines))

    def test_log_level(self):
        """error keeps quiet, debug tells transitions."""
        p = self.preforkd(log_level="error")
        p.wait_ready()
        p.stop()
        self.assertEqual(p.log(), "")
        q = self.preforkd(log_level="debug")
        q.wait_ready()
        q.wait_log(r"DEBUG.*starting -> ready")


class Smallness(harness.Case):
    """Promise 6, roughly: the exact numbers are for make bench."""

    @unittest.skipIf(harness.MULTIPLIER > 1, "a sanitizer's build is neither small nor quiet")
    def test_idle_master(self):
        """Few wake-ups and little memory with 4 idle workers."""
        p = self.preforkd(workers=4)
        p.wait_ready()

        def switches():
            """Voluntary context switches so far."""
            with open("/proc/%d/status" % p.pid) as f:
                return int([x for x in f if x.startswith("voluntary")][0].split()[1])
        before = switches()
        time.sleep(3)
        self.assertLess(switches() - before, 3 * 6)
        with open("/proc/%d/smaps_rollup" % p.pid) as f:
            pss = int([x for x in f if x.startswith("Pss:")][0].split()[1])
        self.assertLess(pss, 3500)


if __name__ == "__main__":
    harness.main()
