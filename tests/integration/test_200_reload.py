# SPDX-License-Identifier: MIT
"""Reload: what is good comes into force, what is bad leaves everything as it was."""

import json
import os
import random
import signal
import socket
import threading
import time

import harness
from harness import needs_module, wait_until

GOOD = "from plain import app\n"
VERSION = """VERSION = %r
def app(environ, start_response):
    data = VERSION.encode()
    start_response("200 OK", [("Content-Length", str(len(data)))])
    return [data]
"""


class Good(harness.Case):
    """A reload that works."""

    def test_new_code(self):
        """The new code serves when preforkctl says done; progress is streamed."""
        p = self.preforkd(files={"mine.py": VERSION % "one"}, wsgi="mine:app", workers=2)
        p.wait_ready()
        self.assertEqual(p.text("/"), "one")
        p.write("mine.py", VERSION % "two")
        with p.load(clients=3) as load:
            code, out, err = p.ctl("reload")
            self.assertEqual(code, 0, err)
            for _ in range(10):
                self.assertEqual(p.text("/"), "two")
        self.assertEqual(load.failed, 0, load.result)
        self.assertIn("generation 2", out)
        self.assertRegex(err, r"generation 2: worker pid \d+ boots")
        self.assertRegex(err, r"generation 2 is current")
        status = p.wait_ready()
        self.assertEqual(status["last_reload"]["state"], "ok")
        self.assertEqual(status["last_reload"]["generation"], 2)
        self.assertEqual(status["recycles"]["reload"], 2)

    def test_one_after_another(self):
        """Never fewer ready workers than wanted, never more than one successor starting."""
        p = self.preforkd(files={"mine.py": "import time\ntime.sleep(0.15)\n" + GOOD},
                          wsgi="mine:app", workers=4)
        p.wait_ready()
        c = p.ctl_start("reload")
        try:
            seen = []
            while c.poll() is None:
                workers = p.workers(None)
                seen.append(([w["state"] for w in workers], workers))
            self.assertEqual(c.returncode, 0)
        finally:
            c.communicate()
        self.assertGreater(len(seen), 5)
        for states, workers in seen:
            self.assertGreaterEqual(states.count("ready"), 4, workers)
            self.assertLessEqual(states.count("starting"), 1, workers)

    def test_recycle_concurrency(self):
        """With 4 at a time it is quicker, and never more than 4 are starting."""
        p = self.preforkd(files={"mine.py": "import time\ntime.sleep(0.3)\n" + GOOD},
                          wsgi="mine:app", workers=5, recycle_concurrency=4)
        p.wait_ready()
        c = p.ctl_start("reload")
        most = 0
        while c.poll() is None:
            states = [w["state"] for w in p.workers(None)]
            most = max(most, states.count("starting"))
            self.assertGreaterEqual(states.count("ready"), 5)
        self.assertEqual(c.returncode, 0)
        c.communicate()
        self.assertLessEqual(most, 4)
        self.assertGreaterEqual(most, 2)

    def test_workers_changes(self):
        """More and fewer, under load."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        with p.load(clients=3) as load:
            for n in (4, 1, 3):
                p.write_ini(workers=n)
                self.assertEqual(p.ctl("reload")[0], 0)
                p.wait_ready(n)
        self.assertEqual(load.failed, 0, load.result)

    def test_addresses(self):
        """Added and removed without a restart; removed ones refuse although copies exist."""
        ports = [harness.free_port() for _ in range(3)]
        addresses = ["127.0.0.1:%d" % port for port in ports]
        p = self.preforkd(listen=addresses[:2], workers=2, graceful_timeout="20s")
        p.wait_ready()
        with p.load(clients=2) as load:
            # a long request keeps an old worker, and with it its copies, alive
            with socket.create_connection(("127.0.0.1", ports[0])) as s:
                s.sendall(b"GET /sleep?3 HTTP/1.0\r\n\r\n")
                p.wait_status(lambda s: any(w["in_flight"] for w in s["workers"]))
                p.write_ini(listen=[addresses[0], addresses[2]])
                self.assertEqual(p.ctl("reload")[0], 0)
                self.assertEqual(p.status()["listen"], [addresses[0], addresses[2]])
                self.assertEqual(harness.get(("127.0.0.1", ports[2])).body, "hello")
                wait_until(lambda: not harness.can_connect(("127.0.0.1", ports[1])), 5)
                self.assertIn(b"slept", s.makefile("rb").read())
        self.assertEqual(load.failed, 0, load.result)
        p.wait_log("no longer listening on " + addresses[1])
        # and back again
        p.write_ini(listen=addresses)
        self.assertEqual(p.ctl("reload")[0], 0)
        for port in ports:
            self.assertEqual(harness.get(("127.0.0.1", port)).body, "hello")

    def test_unix_address(self):
        """A removed one takes its file along."""
        p = self.preforkd(listen=["127.0.0.1:0", "unix:run.sock"])
        p.wait_ready()
        self.assertEqual(p.get(address=p.path("run.sock")).status, 200)
        p.write_ini(listen=["127.0.0.1:0"])
        self.assertEqual(p.ctl("reload")[0], 0)
        wait_until(lambda: not os.path.exists(p.path("run.sock")))
        p.write_ini(listen=["127.0.0.1:0", "unix:run.sock"])
        self.assertEqual(p.ctl("reload")[0], 0)
        self.assertEqual(p.get(address=p.path("run.sock")).status, 200)

    def test_wider_address(self):
        """127.0.0.1:P becomes :P on the same port."""
        port = harness.free_port()
        p = self.preforkd(listen="127.0.0.1:%d" % port)
        p.wait_ready()
        with p.load(clients=2) as load:
            p.write_ini(listen=":%d" % port)
            code, _, err = p.ctl("reload")
            self.assertEqual(code, 0, err)
            p.wait_ready()
        self.assertEqual(load.failed, 0, load.result)
        self.assertEqual(harness.get(("127.0.0.2", port)).status, 200)

    def test_restart_keys(self):
        """pidfile and control keep their values, with a warning."""
        p = self.preforkd(pidfile="a.pid")
        p.wait_ready()
        p.write_ini(pidfile="b.pid")
        self.assertEqual(p.ctl("reload")[0], 0)
        self.assertRegex(p.log(), r"WARN.*pidfile.*restart")
        self.assertTrue(os.path.exists(p.path("a.pid")))
        self.assertFalse(os.path.exists(p.path("b.pid")))

    def test_other_server(self):
        """Everything can change: class, application, environment, log level."""
        p = self.preforkd(env={"A": "1"})
        p.wait_ready()
        p.write_ini(wsgi="plain:make_app('other')", threads=2, log_level="debug", env={"A": "2"})
        self.assertEqual(p.ctl("reload")[0], 0)
        self.assertEqual(p.text("/"), "other")

    def test_from_command_to_wsgi(self):
        """Another kind of worker altogether."""
        p = self.preforkd(command=harness.helper("fakeworker") + " ready", workers=2)
        p.wait_ready()
        with p.load(clients=2) as load:
            p.write_ini(command=None, wsgi="plain:app", worker_class="stdlib",
                        python=harness.PYTHON, pythonpath=harness.APPS)
            code, _, err = p.ctl("reload")
            self.assertEqual(code, 0, err)
        self.assertEqual(load.failed, 0, load.result)
        self.assertEqual(p.text("/"), "hello")

    def test_command_line_stays(self):
        """Options of the command line win over the changed ini too."""
        p = self.preforkd(args=["--workers", "2"])
        p.wait_ready(2)
        p.write_ini(workers=5)
        self.assertEqual(p.ctl("reload")[0], 0)
        self.assertEqual(p.status()["target_workers"], 2)

    def test_during_the_first_start(self):
        """A HUP before anything serves is carried out afterwards."""
        p = self.preforkd(files={"mine.py": (
            "import os, time\nopen('booting', 'w').close()\nwhile not os.path.exists('go'):\n"
            "    time.sleep(0.01)\n" + GOOD)}, wsgi="mine:app")
        wait_until(lambda: os.path.exists(p.path("booting")))
        p.signal(signal.SIGHUP)
        p.wait_log("SIGHUP: reload")
        p.write("go", "")
        p.wait_status(lambda s: s["generation"] == 2 and s["state"] == "running")

    def test_canary_time(self):
        """The first new worker serves for so long before the others follow."""
        p = self.preforkd(workers=2, canary_time="700ms")
        p.wait_ready()
        begun = time.monotonic()
        self.assertEqual(p.ctl("reload")[0], 0)
        self.assertGreater(time.monotonic() - begun, 0.7)

    def test_worker_dies_during_the_roll(self):
        """A crash of an old worker in between is replaced by a new one."""
        p = self.preforkd(files={"mine.py": "import time\ntime.sleep(0.3)\n" + GOOD},
                          wsgi="mine:app", workers=3)
        p.wait_ready()
        c = p.ctl_start("reload")
        s = p.wait_status(lambda s: s["generation"] == 2)
        old = [w["pid"] for w in s["workers"] if w["generation"] == 1 and w["state"] == "ready"]
        if old:
            harness.kill(old[-1])
        c.communicate()
        self.assertEqual(c.returncode, 0)
        p.wait_status(lambda s: [w["generation"] for w in s["workers"]
                                 if w["state"] == "ready"] == [2, 2, 2])

    def test_no_wait(self):
        """--no-wait comes back at once."""
        p = self.preforkd()
        p.wait_ready()
        code, out, _ = p.ctl("--no-wait", "reload")
        self.assertEqual(code, 0)
        self.assertIn("asked for", out)
        p.wait_log("reload: done, generation 2")

    def test_stop_during_reload(self):
        """The waiting preforkctl is told; exit code 0 of preforkd."""
        p = self.preforkd(files={"mine.py": GOOD}, wsgi="mine:app")
        p.wait_ready()
        p.write("mine.py", "import time\ntime.sleep(60)\n")
        c = p.ctl_start("reload")
        p.wait_status(lambda s: s["state"] == "reloading")
        self.assertEqual(p.stop(), 0)
        _, err = c.communicate()
        self.assertEqual(c.returncode, 1)
        self.assertIn("stops", err)


class Bad(harness.Case):
    """A reload that fails before its commit point: zero failed requests, the reason told."""

    def fails(self, p, breaks, want, words=None, mends=None, may_lose=0):
        """breaks() spoils something; want must be in the log and in what preforkctl says."""
        p.wait_ready()
        before = p.pids()
        mark = p.mark()
        with p.load(clients=3, path="/pid") as load, \
                p.load(clients=2, path="/pid", keepalive=True) as kept:
            breaks()
            code, out, err = p.ctl("reload")
            p.wait_log(r"(?s)reload failed.*(%s)" % want, since=mark)
            # more requests after the failure
            for _ in range(5):
                p.text("/pid")
        self.assertEqual(code, 1, err)
        self.assertEqual(out, "")
        self.assertRegex(err, want)
        if words:
            self.assertRegex(err, words)
        self.assertRegex(err, "generation 1 serves on")
        self.assertLessEqual(load.failed, may_lose, load.result)
        self.assertLessEqual(kept.failed, may_lose, kept.result)
        status = p.wait_ready()
        self.assertEqual(status["generation"], 1)
        self.assertEqual(status["last_reload"]["state"], "failed")
        self.assertRegex(status["last_reload"]["error"], want)
        self.assertEqual(p.pids(), before)
        if mends:
            mends()
            self.assertEqual(p.ctl("reload")[0], 0)
            self.assertEqual(p.status()["generation"], 2)

    def app(self, **kw):
        """A preforkd with a module that can be broken."""
        return self.preforkd(files={"mine.py": GOOD}, wsgi="mine:app", workers=2, **kw)

    def test_broken_ini(self):
        """Every mistake is named."""
        p = self.app()
        self.fails(p, lambda: p.write_ini(workers="many", timeout="soon"),
                   r"workers: 'many'|timeout: 'soon'", r"timeout: 'soon'",
                   lambda: p.write_ini(workers=2, timeout=30))

    def test_missing_ini(self):
        """The file is gone."""
        p = self.app()
        self.fails(p, lambda: os.rename(p.ini, p.ini + ".away"), r"No such file", None,
                   lambda: os.rename(p.ini + ".away", p.ini))

    def test_missing_module(self):
        """With cwd and sys.path."""
        p = self.app()
        self.fails(p, lambda: os.rename(p.path("mine.py"), p.path("away.py")),
                   r"not (become )?ready", r"(?s)no module 'mine'.*%s" % p.dir,
                   lambda: p.write("mine.py", GOOD))

    def test_module_raises(self):
        """With the traceback's end."""
        p = self.app()
        self.fails(p, lambda: p.write("mine.py", "raise ValueError('broken release')\n"),
                   r"not (?:become )?ready: exit status 1", r"ValueError: broken release",
                   lambda: p.write("mine.py", GOOD))
        self.assertIn("ValueError: broken release", p.log())

    def test_syntax_error(self):
        """The classic."""
        p = self.app()
        self.fails(p, lambda: p.write("mine.py", "def app(:\n"), r"not (become )?ready",
                   r"SyntaxError")

    def test_exits_with_0(self):
        """An early exit is a failure whatever its status."""
        p = self.app()
        self.fails(p, lambda: p.write("mine.py", "import os\nos._exit(0)\n"),
                   r"not (?:become )?ready: exit status 0")

    def test_crashes(self):
        """A fault while importing."""
        p = self.app()
        self.fails(p, lambda: p.write("mine.py", "import ctypes\nctypes.string_at(0)\n"),
                   r"not (?:become )?ready: .*SIGSEGV")

    def test_never_ready(self):
        """boot-timeout."""
        p = self.app(boot_timeout="1s")
        self.fails(p, lambda: p.write("mine.py", "import time\ntime.sleep(99)\n"),
                   r"not (?:become )?ready: boot-timeout")

    @needs_module("uvicorn")
    def test_lifespan_failure(self):
        """ASGI's way to refuse."""
        p = self.preforkd(asgi="plain:asgi", worker_class="uvicorn", workers=2)
        self.fails(p, lambda: p.write_ini(env={"TEST_LIFESPAN": "fail"}), r"not (become )?ready",
                   r"no database today", lambda: p.write_ini(env={}))

    @needs_module("uvicorn")
    def test_lifespan_never_ends(self):
        """Startup hangs."""
        p = self.preforkd(asgi="plain:asgi", worker_class="uvicorn", boot_timeout="1500ms")
        self.fails(p, lambda: p.write_ini(env={"TEST_LIFESPAN": "never"}),
                   r"not (?:become )?ready: boot-timeout")

    def test_address_in_use(self):
        """Another process has it; also by one of the same user with SO_REUSEPORT."""
        p = self.app()
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            s.bind(("127.0.0.1", 0))
            s.listen()
            taken = "127.0.0.1:%d" % s.getsockname()[1]
            self.fails(p, lambda: p.write_ini(listen=["127.0.0.1:0", taken]),
                       r"%s: another process" % taken, None,
                       lambda: p.write_ini(listen="127.0.0.1:0"))

    def test_unknown_user(self):
        """No such user."""
        p = self.app()
        self.fails(p, lambda: p.write_ini(user="nosuchuser"), r"nosuchuser")

    def test_missing_interpreter(self):
        """No such program."""
        p = self.app()
        self.fails(p, lambda: p.write_ini(python="/no/such/python"), r"/no/such/python",
                   r"/no/such/python")

    def test_dies_within_canary_time(self):
        """Ready, then dead, and with it what it had accepted."""
        p = self.app(canary_time="1s")
        self.fails(p, lambda: p.write("mine.py", (
            "import os, threading\nthreading.Timer(0.4, os._exit, [3]).start()\n" + GOOD)),
            r"ended within canary-time", may_lose=3)

    def test_a_removed_address_stays_until_the_commit(self):
        """A failed reload has closed nothing, and opened nothing for good."""
        ports = [harness.free_port() for _ in range(3)]
        addresses = ["127.0.0.1:%d" % port for port in ports]
        p = self.app(listen=addresses[:2])

        def breaks():
            """Another address, and broken code."""
            p.write_ini(listen=[addresses[0], addresses[2]])
            p.write("mine.py", "raise OSError\n")
        self.fails(p, breaks, r"not (become )?ready")
        self.assertEqual(p.status()["listen"], addresses[:2])
        self.assertTrue(harness.can_connect(("127.0.0.1", ports[1])))
        wait_until(lambda: not harness.can_connect(("127.0.0.1", ports[2])), 5)

    def test_json_error(self):
        """preforkctl --json tells it in JSON."""
        p = self.app()
        p.wait_ready()
        p.write("mine.py", "raise ValueError('broken release')\n")
        code, out, _ = p.ctl("--json", "reload")
        self.assertEqual(code, 1)
        answer = json.loads(out)
        self.assertEqual(answer["error"], "io.preforkd.Manager.ReloadFailed")
        self.assertIn("broken release", answer["parameters"]["last_words"])


class AfterCommit(harness.Case):
    """Code that breaks while the roll is under way."""

    FLAKY = ("import os, time\nn = len(os.listdir('boots'))\n"
             "open('boots/%d' % time.monotonic_ns(), 'w').close()\n"
             "if os.path.exists('broken') and n >= 1:\n    raise OSError('the disk is full')\n"
             + GOOD)

    def test_roll_stalls(self):
        """The first new worker is good, the second not: the rest serve on, status says so."""
        p = self.preforkd(files={"mine.py": GOOD, "boots/.keep": ""}, wsgi="mine:app", workers=3)
        os.unlink(p.path("boots/.keep"))
        p.wait_ready()
        old = p.pids()
        p.write("mine.py", self.FLAKY)
        p.write("broken", "")
        with p.load(clients=3, path="/pid") as load:
            code, _, err = p.ctl("reload")
            self.assertEqual(code, 1, err)
            self.assertRegex(err, "generation 2 is current")
            self.assertIn("the disk is full", err)
            status = p.status()
            self.assertEqual(status["generation"], 2)
            generations = sorted(w["generation"] for w in status["workers"]
                                 if w["state"] == "ready")
            self.assertEqual(generations, [1, 1, 2])
            self.assertTrue(status["governor"]["code_bad"])
            self.assertTrue(status["governor"]["roll_stalled"])
            self.assertEqual(len(set(old) & set(p.pids())), 2)
            p.wait_log("reload stalled")
            # mended: the next reload goes through
            os.unlink(p.path("broken"))
            self.assertEqual(p.ctl("reload")[0], 0)
        self.assertEqual(load.failed, 0, load.result)
        status = p.wait_ready()
        self.assertEqual([w["generation"] for w in status["workers"]], [3, 3, 3])
        self.assertFalse(status["governor"]["code_bad"])

    def test_code_bad_holds_recycles(self):
        """While the code on disk is bad, voluntary recycles wait; status says for what."""
        p = self.preforkd(files={"mine.py": GOOD}, wsgi="mine:app", workers=2)
        p.wait_ready()
        before = p.pids()
        p.write("mine.py", "raise OSError('bad on disk')\n")
        code, _, err = p.ctl("recycle", "all")
        self.assertEqual(code, 1)
        self.assertIn("bad on disk", err)
        status = p.status()
        self.assertTrue(status["governor"]["code_bad"])
        self.assertGreater(status["governor"]["next_probe_seconds"], 5)
        self.assertEqual(p.pids(), before)
        self.assertEqual(p.text("/"), "hello")

    def test_death_while_code_bad(self):
        """The slot goes into back-off; it recovers once the code is mended."""
        p = self.preforkd(files={"mine.py": GOOD}, wsgi="mine:app", workers=2)
        p.wait_ready()
        p.write("mine.py", "raise OSError('bad on disk')\n")
        harness.kill(p.pids()[0])
        status = p.wait_status(lambda s: any(w["state"] == "backoff" for w in s["workers"]))
        waiting = [w for w in status["workers"] if w["state"] == "backoff"][0]
        self.assertGreater(waiting["next_attempt_seconds"], 0)
        self.assertEqual(p.text("/"), "hello")
        p.wait_log(r"slot 1.*ended before it was ready.*next attempt in")
        p.write("mine.py", GOOD)
        status = p.wait_ready()
        self.assertFalse(status["governor"]["code_bad"])


class Many(harness.Case):
    """Reloads upon reloads."""

    def test_25_reloads(self):
        """At growing intervals, some during others: ends in the last settings, loses nothing."""
        p = self.preforkd(files={"mine.py": VERSION % "v0"}, wsgi="mine:app", workers=2)
        p.wait_ready()
        with p.load(clients=3) as load:
            for i in range(1, 26):
                p.write("mine.py", VERSION % ("v%d" % i))
                p.write_ini(workers=1 + i % 3)
                p.signal(signal.SIGHUP)
                # the interval is what is tested: from far below to above a reload's length
                time.sleep(0.002 * i * i / 2)
            p.wait_status(lambda s: s["state"] == "running" and s["target_workers"] == 2)
            p.wait_ready(2)
            for _ in range(10):
                self.assertEqual(p.text("/"), "v25")
        self.assertEqual(load.failed, 0, load.result)
        self.assertEqual(p.stop(), 0)

    def test_a_second_hup_queues_one_more(self):
        """However many come during a reload, the last settings hold in the end."""
        p = self.preforkd(files={"mine.py": "import time\ntime.sleep(0.4)\n" + VERSION % "a"},
                          wsgi="mine:app")
        p.wait_ready()
        p.signal(signal.SIGHUP)
        p.wait_status(lambda s: s["state"] == "reloading")
        p.write("mine.py", VERSION % "b")
        for _ in range(5):
            p.signal(signal.SIGHUP)
            p.status()
        p.wait_status(lambda s: s["state"] == "running" and s["generation"] >= 3)
        p.wait_ready()
        self.assertEqual(p.text("/"), "b")
        self.assertLessEqual(p.status()["generation"], 4)

    def test_several_preforkctls(self):
        """All that wait get an answer, and it is about settings that they had written."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        waiting = []
        for _ in range(6):
            waiting.append(p.ctl_start("reload"))
            time.sleep(random.random() * 0.05)
        for c in waiting:
            out, err = c.communicate(timeout=harness.stretched(30))
            self.assertEqual(c.returncode, 0, err)
            self.assertIn("generation", out)
        p.wait_ready()

    def test_descriptors_do_not_leak(self):
        """Ten reloads, good and bad, leave the master with as many as before."""
        p = self.preforkd(files={"mine.py": GOOD}, wsgi="mine:app", worker_log="./w.log",
                          status_listen="127.0.0.1:%d" % harness.free_port(),
                          listen=["127.0.0.1:0", "unix:a.sock"])
        p.wait_ready()

        def count():
            """Open descriptors of the master."""
            return len(os.listdir("/proc/%d/fd" % p.pid))
        self.assertEqual(p.ctl("reload")[0], 0)
        p.wait_ready()
        before = count()
        for i in range(10):
            p.write("mine.py", GOOD if i % 2 else "raise OSError\n")
            p.ctl("reload")
        p.wait_ready()
        wait_until(lambda: count() <= before, 5, "descriptors: %d" % before)

    def test_load_from_threads(self):
        """Status, recycle and reload from several clients at once."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        codes = []

        def order(*words):
            """One client."""
            for _ in range(4):
                codes.append(p.ctl(*words)[0])
        threads = [threading.Thread(target=order, args=words) for words in (
            ("reload",), ("recycle", "all"), ("status",), ("--json", "status"),
            ("recycle", "1"))]
        with p.load(clients=2) as load:
            for t in threads:
                t.start()
            for t in threads:
                t.join()
        self.assertEqual(load.failed, 0, load.result)
        self.assertTrue(set(codes) <= {0, 1}, codes)
        p.wait_ready()


if __name__ == "__main__":
    harness.main()
