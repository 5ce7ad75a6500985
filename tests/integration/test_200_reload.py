# SPDX-License-Identifier: MIT
"""Reloads that work: code, addresses, workers, everything can change."""

import os
import signal
import socket
import time

import harness
from harness import wait_until

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
        self.assertIn("generation 2: its mold boots", err)
        self.assertIn("generation 2: a worker is forked", err)
        self.assertRegex(err, r"generation 2 is current")
        status = p.wait_ready()
        self.assertEqual(status["last_reload"]["state"], "ok")
        self.assertEqual(status["last_reload"]["generation"], 2)
        self.assertEqual(status["recycles"]["reload"], 2)

    def test_while_the_first_generation_boots(self):
        """The call waits for it, is told so, and is answered when its own reload is done."""
        p = self.preforkd(wsgi="mine:app", files={"wait": "", "mine.py": (
            "import os, time\nwhile os.path.exists('wait'):\n    time.sleep(0.01)\n" + GOOD)})
        p.wait_log("1 worker on")
        c = p.ctl_start("reload")
        p.wait_log("reload asked by")
        os.unlink(p.path("wait"))
        out, err = c.communicate(timeout=harness.stretched(30))
        self.assertEqual(c.returncode, 0, err)
        self.assertIn("waits for the first generation", out + err)
        self.assertIn("generation 2", out)
        self.assertEqual(p.wait_ready()["generation"], 2)

    def test_stopped_while_the_first_generation_boots(self):
        """The call that waits for it is told that there will be no reload."""
        p = self.preforkd(wsgi="mine:app", files={"mine.py": "import time\ntime.sleep(60)\n"})
        p.wait_log("1 worker on")
        c = p.ctl_start("reload")
        p.wait_log("reload asked by")
        p.stop()
        _, err = c.communicate(timeout=harness.stretched(30))
        self.assertEqual(c.returncode, 1)
        self.assertIn("preforkd stops", err)

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


if __name__ == "__main__":
    harness.main()
