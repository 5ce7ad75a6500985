# SPDX-License-Identifier: MIT
"""preload: the mold's life, and that of the workers which it forks."""

import json
import os
import re
import signal

import harness
from harness import kill, needs_root, wait_until
from molded import Molded

# Imports in a worker that is exec'd, and fails in a mold when the file "broken" is there.
FRAGILE = """import os
if os.path.exists("broken") and "PREFORKD_SLOT" not in os.environ:
    raise OSError("the mold is broken")
from plain import app
"""

SLOW = """import os, time
while os.path.exists("wait"):
    time.sleep(0.01)
from plain import app
"""


class Forked(Molded):
    """Workers of a mold."""

    def test_they_are_the_masters(self):
        """Its children, with their own group, environment, descriptors and end."""
        p = self.serve()
        mold = self.mold(p)
        self.assertEqual(mold["forked"], 2)
        self.assertEqual(p.status()["preload"]["how"], "fork")
        p.wait_log(r"mold ready after .*preload: yes, nothing was found")
        info = json.loads(p.text("/info"))
        self.assertEqual(info["ppid"], p.pid)
        self.assertEqual(info["stdin"], "/dev/null")
        for pid in p.pids():
            self.assertEqual(os.getpgid(pid), pid)
            self.assertEqual(harness.parent_of(pid), p.pid)
            self.assertRegex(harness.command_line(pid), r"^preforkd: test worker [12]$")
            # One of them closes the connection that was just answered.
            wait_until(lambda pid=pid: self.sockets(pid) == self.sockets(p.pids()[0]),
                       what="as many sockets as the other")
        self.assertRegex(harness.command_line(mold["pid"]), "^preforkd: test mold g1$")
        env = json.loads(p.text("/env"))
        self.assertIn(env["PREFORKD_SLOT"], "12")
        self.assertIn(env["PREFORKD_WORKER_ID"], "12")
        self.assertEqual(env["PREFORKD_GENERATION"], "1")
        for name in ("LISTEN_FDS", "PREFORKD_CHANNEL", "PREFORKD_SETTINGS"):
            self.assertNotIn(name, env)
        # the mold listens nowhere: its copy of a socket would outlive everything
        self.assertEqual(self.sockets(mold["pid"]), 1)

    @staticmethod
    def sockets(pid):
        """How many a process has."""
        folder = "/proc/%d/fd" % pid
        return sum(os.readlink("%s/%s" % (folder, n)).startswith("socket:")
                   for n in os.listdir(folder))

    def test_exit_statuses(self):
        """The master sees how each ended, and the slot is filled again."""
        p = self.serve()
        for how, words in (("/exit?7", r"exit status 7"), ("/crash", r"killed by SIGSEGV"),
                           ("/exit?0", r"exit status 0")):
            mark = p.mark()
            self.victim(p, how)
            p.wait_log(r"slot \d pid \d+ gen 1: ended unasked: %s.*" % words, since=mark)
            p.wait_ready()
        self.assertEqual(self.mold(p)["forked"], 5)
        self.assertEqual(p.status()["crashes"], 3)

    def test_killed_at_any_moment(self):
        """SIGKILL as soon as a process is seen: the slot recovers, and nobody stays unknown."""
        p = self.serve(workers=1)
        for _ in range(4):
            old = set(harness.children_of(p.pid))
            kill(p.pids()[0], signal.SIGKILL)
            new = wait_until(lambda: set(harness.children_of(p.pid)) - old)
            for pid in new:
                kill(pid, signal.SIGKILL)
            p.wait_status(lambda s: not any(w["pid"] in new for w in s["workers"]))
            p.wait_ready()
            # one that has served makes the next delays short again
            self.assertEqual(p.text("/"), "hello")
            p.wait_status(lambda s: s["workers"][0]["requests"] > 0)
        self.assertNotRegex(p.log(), r"sent .*on its channel")

    def test_recycles_lose_nothing(self):
        """max-requests under load."""
        p = self.serve(max_requests=40, max_requests_jitter=10, min_worker_lifetime=0)
        with p.load(clients=4, keepalive=True, pause=0) as load:
            p.wait_status(lambda s: s["recycles"]["max-requests"] >= 20)
        self.assertEqual(load.failed, 0, load.result)

    def test_files_are_written_at_the_end(self):
        """What the application has in its files' buffers, opened by the import or later."""
        module = ("import plain\nEARLY = open('early', 'a')\nEARLY.write('w')\nLATER = []\n"
                  "def app(environ, start_response):\n"
                  "    if not LATER:\n        LATER.append(open('later', 'ab'))\n"
                  "    EARLY.write('x')\n    LATER[0].write(b'y')\n"
                  "    return plain.app(environ, start_response)\n")
        p = self.serve(files={"mine.py": module}, wsgi="mine:app", workers=1)
        p.text("/")
        self.assertEqual(p.read("early") + p.read("later"), "w")
        self.assertEqual(p.ctl("recycle")[0], 0)
        wait_until(lambda: p.read("early") == "wx" and p.read("later") == "y")

    def test_memory_is_shared(self):
        """Status: what is the workers' own is the smaller part."""
        p = self.serve(workers=3)
        s = p.wait_status(lambda s: s["memory"]["pss_bytes"] and all(
            w["uss_bytes"] for w in s["workers"]) and s["molds"][0]["pss_bytes"])
        for worker in s["workers"]:
            self.assertLess(worker["uss_bytes"], worker["rss_bytes"] / 2)
        self.assertGreater(s["memory"]["shared_bytes"], 0)
        self.assertLess(s["memory"]["pss_bytes"], sum(w["rss_bytes"] for w in s["workers"]))
        out = p.ctl("status")[1]
        self.assertRegex(out, r"mold: pid %d, generation 1, ready, up .*, 3 forked, .*PSS"
                         % s["molds"][0]["pid"])
        self.assertRegex(out, r"memory: .* in all \(PSS\), .* private, .* shared")

    def test_limit_on_what_is_shared(self):
        """A limit on RSS that counts the mold's memory is warned of; one on USS is not in doubt."""
        big = "KEPT = bytearray(range(1, 251)) * (80 << 12)\nfrom plain import app\n"
        p = self.serve(files={"mine.py": big}, wsgi="mine:app", reload_on_rss="110M",
                       reload_on_uss="90M", memory_interval="100ms")
        p.wait_log(r"reload-on-rss = 110\.0M: more than half of this worker's memory .* is shared "
                   r"with others .*reload-on-uss is the better key")
        p.text("/leak?100")
        p.wait_status(lambda s: s["recycles"]["reload-on-uss"] + s["recycles"]["reload-on-rss"])
        p.wait_ready()

    def test_prefix_and_file(self):
        """worker-log: lines of forked workers and of the mold."""
        p = self.serve(worker_log="prefix", files={"mine.py": (
            "print('from the mold', flush=True)\nfrom plain import app\n")}, wsgi="mine:app")
        mold = self.mold(p)
        p.wait_log(r"^mold pid %d: from the mold" % mold["pid"])
        p.text("/say?one")
        p.wait_log(r"^worker [12] pid (%d|%d): one" % tuple(p.pids()))
        p.text("/print?two")
        p.wait_log(r"^worker [12] pid (%d|%d): two" % tuple(p.pids()))

    def test_log_is_opened_again(self):
        """USR1: the mold's next workers write to the new file."""
        p = self.serve(worker_log="workers.log", workers=1)
        p.text("/say?one")
        wait_until(lambda: "one" in p.read("workers.log"))
        os.rename(p.path("workers.log"), p.path("old.log"))
        p.signal(signal.SIGUSR1)
        wait_until(lambda: os.path.exists(p.path("workers.log")))
        # The master opens the file and tells the worker, which has it some time later.
        new = os.stat(p.path("workers.log"))
        for fd in (1, 2):
            wait_until(lambda fd=fd: os.path.samestat(
                os.stat("/proc/%d/fd/%d" % (p.pids()[0], fd)), new), what="the new file")
        p.text("/say?two")
        wait_until(lambda: "two" in p.read("workers.log"))
        p.ctl("recycle", "1")
        p.wait_ready()
        p.text("/say?three")
        p.text("/print?four")
        wait_until(lambda: "three" in p.read("workers.log") and "four" in p.read("workers.log"))

    @needs_root
    def test_as_another_user(self):
        """The mold has changed before the import; workers are no more than that."""
        p = self.serve(user="nobody")
        self.assertEqual(os.stat("/proc/%d" % self.mold(p)["pid"]).st_uid, 65534)
        info = json.loads(p.text("/info"))
        self.assertEqual(set(info["uid"]), {65534})


class Trouble(Molded):
    """A mold that does not do well."""

    def test_it_dies(self):
        """It is replaced; no worker is touched, recycles wait for the new one."""
        p = self.serve(files={"mine.py": SLOW}, wsgi="mine:app")
        before, old = p.pids(), self.mold(p)["pid"]
        p.write("wait", "")
        kill(old, signal.SIGKILL)
        p.wait_log(r"pid %d gen 1: mold ended unasked: killed by SIGKILL .*a new one starts" % old)
        new = self.mold(p, "starting")["pid"]
        p.ctl("--no-wait", "recycle", "1")
        s = p.wait_status(lambda s: s["governor"]["queued"] == 1)
        self.assertEqual(s["governor"]["waiting"], "the mold is not ready")
        self.assertEqual(p.pids(), before)
        self.assertEqual(p.text("/"), "hello")
        os.unlink(p.path("wait"))
        p.wait_status(lambda s: s["recycles"]["request"] == 1)
        self.assertEqual(self.mold(p)["pid"], new)
        p.wait_ready()
        self.assertEqual(p.status()["crashes"], 0)

    def test_a_death_waits_for_it(self):
        """A slot that is empty is filled by the next mold, if that comes."""
        p = self.serve(files={"mine.py": SLOW}, wsgi="mine:app")
        p.write("wait", "")
        kill(self.mold(p)["pid"], signal.SIGKILL)
        self.mold(p, "starting")
        kill(p.pids()[0], signal.SIGKILL)
        p.wait_log(r"slot 1 .*ended unasked: killed by SIGKILL")
        self.assertEqual(p.text("/"), "hello")
        os.unlink(p.path("wait"))
        p.wait_ready()
        self.assertEqual(self.mold(p)["forked"], 1)

    def test_it_fails_twice(self):
        """Then deaths are served by exec, recycles wait, and it is tried again."""
        p = self.serve(files={"mine.py": FRAGILE}, wsgi="mine:app")
        p.write("broken", "")
        kill(self.mold(p)["pid"], signal.SIGKILL)
        p.wait_log(r"mold ended before it was ready: exit status 1.*the mold is broken.*"
                   r"next attempt in", count=2)
        before = p.pids()
        kill(before[0], signal.SIGKILL)
        p.wait_status(lambda s: before[0] not in [w["pid"] for w in s["workers"]])
        p.wait_ready()
        p.ctl("--no-wait", "recycle", "2")
        s = p.wait_status(lambda s: s["governor"]["queued"] == 1)
        self.assertEqual(s["governor"]["waiting"], "the mold is not ready")
        self.assertEqual(s["preload"]["failures"], 2)
        self.assertGreater(s["preload"]["next_attempt_seconds"], 5)
        self.assertRegex(p.ctl("status")[1], r"! the mold has failed 2 times, recycles\s+wait")
        # a reload begins anew
        os.unlink(p.path("broken"))
        self.assertEqual(p.ctl("reload")[0], 0)
        self.assertEqual(self.mold(p)["generation"], 2)
        p.wait_ready()

    def test_first_start_fails(self):
        """boot-attempts, and the last words, as with workers."""
        p = self.preforkd(files={"mine.py": "raise OSError('not today')\n"}, wsgi="mine:app",
                          workers=3, boot_attempts=2)
        self.assertEqual(p.wait(), 1)
        self.assertEqual(len(re.findall("mold ended before it was ready", p.log())), 2)
        p.wait_log(r"no worker could be started in 2 attempts.*not today")

    def test_it_hangs(self):
        """One that does not fork is killed and replaced; the worker that was wanted comes."""
        p = self.serve(boot_timeout="2s")
        mold = self.mold(p)["pid"]
        os.kill(mold, signal.SIGSTOP)
        kill(p.pids()[1], signal.SIGKILL)
        p.wait_log(r"pid %d gen 1: mold has not forked a worker for 1.0s, 1 .*killed" % mold)
        p.wait_ready()
        self.assertNotEqual(self.mold(p)["pid"], mold)
        self.assertEqual(p.status()["boot_failures"], 0)

    def test_worker_hangs_in_the_fork(self):
        """One that does not come as far as its first word ends with its mold."""
        module = ("import os, time\nfrom plain import app\n"
                  "def hang():\n"
                  "    while os.path.exists('hang'):\n"
                  "        time.sleep(0.01)\n"
                  "os.register_at_fork(after_in_child=hang)\n")
        p = self.serve(files={"mine.py": module}, wsgi="mine:app", boot_timeout="2s")
        mold = self.mold(p)["pid"]
        p.write("hang", "")
        kill(p.pids()[0], signal.SIGKILL)
        orphan = wait_until(lambda: set(harness.children_of(p.pid)) - {mold, p.pids()[-1]})
        p.wait_log(r"pid %d gen 1: .*mold is killed|mold has not forked .* killed" % mold)
        os.unlink(p.path("hang"))
        wait_until(lambda: not any(harness.is_alive(pid) for pid in orphan))
        p.wait_ready()
        self.assertEqual(p.text("/"), "hello")

    def test_import_hangs(self):
        """boot-timeout."""
        p = self.preforkd(files={"mine.py": "import time\ntime.sleep(60)\n"}, wsgi="mine:app",
                          boot_timeout="1s", boot_attempts=1)
        self.assertEqual(p.wait(), 1)
        p.wait_log(r"mold not ready within boot-timeout; it is killed")

    def test_stop_while_it_imports(self):
        """TERM ends it soon, and with the master's death it is gone as well."""
        for end in (signal.SIGTERM, signal.SIGKILL):
            p = self.preforkd(files={"mine.py": "import time\ntime.sleep(60)\n"}, wsgi="mine:app")
            mold = self.mold(p, "starting")["pid"]
            p.signal(end)
            p.wait()
            wait_until(lambda: not harness.is_alive(mold), 2)

    def test_masters_death(self):
        """kill -9 of the master ends mold and workers."""
        p = self.serve()
        pids = p.pids() + [self.mold(p)["pid"]]
        p.kill()
        wait_until(lambda: not any(harness.is_alive(pid) for pid in pids), 2)

    def test_rubbish_on_its_channel(self):
        """A mold that the application makes talk is not believed more than a worker."""
        p = self.serve(files={"mine.py": (
            "import os, socket\nfrom plain import app\n"
            "for fd in range(3, 30):\n"
            "    try:\n"
            "        s = socket.socket(fileno=os.dup(fd))\n"
            "        if s.type == socket.SOCK_SEQPACKET:\n"
            "            s.send(b'REQUESTS=rubbish'), s.send(b'BORN=1'), s.send(b'x' * 5000)\n"
            "        s.close()\n"
            "    except OSError:\n"
            "        pass\n")}, wsgi="mine:app")
        self.assertEqual(p.text("/"), "hello")
        self.assertEqual(self.mold(p)["forked"], 2)


class Reload(Molded):
    """Generations have their molds."""

    def test_new_mold(self):
        """It imports, a worker of it serves, the roll, then the old one goes."""
        p = self.serve(files={"mine.py": "from plain import app\n"}, wsgi="mine:app")
        old = self.mold(p)["pid"]
        with p.load(clients=3) as load:
            self.assertEqual(p.ctl("reload")[0], 0)
            new = self.mold(p)["pid"]
            p.wait_status(lambda s: [m["pid"] for m in s["molds"]] == [new])
        self.assertEqual(load.failed, 0, load.result)
        self.assertFalse(harness.is_alive(old))
        self.assertEqual(p.status()["recycles"]["reload"], 2)

    def test_broken_code(self):
        """The old mold is untouched, still forks, and holds the old code."""
        p = self.serve(files={"mine.py": "from plain import app\n"}, wsgi="mine:app")
        before, mold = p.pids(), self.mold(p)["pid"]
        p.write("mine.py", "raise OSError('bad release')\n")
        code, _, err = p.ctl("reload")
        self.assertEqual(code, 1)
        self.assertIn("bad release", err)
        self.assertIn("the new mold", err)
        self.assertEqual([m["pid"] for m in p.wait_status(
            lambda s: len(s["molds"]) == 1)["molds"]], [mold])
        self.assertEqual(p.pids(), before)
        kill(before[0], signal.SIGKILL)
        p.ctl("recycle", "2")
        p.wait_ready()
        self.assertFalse(set(before) & set(p.pids()))
        self.assertEqual(p.text("/"), "hello")
        self.assertFalse(p.status()["governor"]["code_bad"])

    def test_candidate_is_killed(self):
        """While it imports: the reload has failed, that is all."""
        p = self.serve(files={"mine.py": SLOW}, wsgi="mine:app")
        before = p.pids()
        p.write("wait", "")
        reload = p.ctl_start("reload")
        s = p.wait_status(lambda s: len(s["molds"]) == 2)
        kill([m["pid"] for m in s["molds"] if m["generation"] == 2][0], signal.SIGKILL)
        err = reload.communicate()[1]
        self.assertEqual(reload.returncode, 1)
        self.assertIn("killed by SIGKILL", err)
        self.assertEqual(p.pids(), before)
        os.unlink(p.path("wait"))
        self.assertEqual(p.ctl("reload")[0], 0)

    def test_preload_is_changed(self):
        """To no and back: workers are exec'd, the mold goes and comes."""
        p = self.serve()
        for preload, how, molds in (("no", "exec", 0), ("auto", "fork", 1)):
            p.write_ini(preload=preload)
            self.assertEqual(p.ctl("reload")[0], 0)
            p.wait_ready()
            s = p.wait_status(lambda s: len(s["molds"]) == molds)
            self.assertEqual(s["preload"]["how"], how)

    def test_many(self):
        """One after another, some during others: one mold is left."""
        p = self.serve()
        with p.load(clients=2) as load:
            for n in range(12):
                if n % 3 == 0:
                    p.signal(signal.SIGHUP)
                self.assertEqual(p.ctl("reload")[0], 0)
        self.assertEqual(load.failed, 0, load.result)
        p.wait_ready()
        p.wait_status(lambda s: len(s["molds"]) == 1 and
                      s["molds"][0]["generation"] == s["generation"])
        wait_until(lambda: len(harness.children_of(p.pid)) == 3)


if __name__ == "__main__":
    harness.main()
