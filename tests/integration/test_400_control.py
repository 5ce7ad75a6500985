# SPDX-License-Identifier: MIT
"""preforkctl, the control protocol, and clients that misbehave."""

import grp
import json
import os
import re
import signal
import socket
import stat
import threading
import time

import harness
from harness import PREFORKCTL, Varlink, is_alive, needs_module, needs_root, run, wait_until

MANAGER = "io.preforkd.Manager."


class Status(harness.Case):
    """status and metrics."""

    def test_fixed_names(self):
        """--json has every name that was promised."""
        p = self.preforkd(workers=2, max_requests=1000)
        p.wait_ready()
        p.text("/")
        p.wait_status(lambda s: s["requests_total"] == 1)
        code, out, err = p.ctl("--json", "status")
        self.assertEqual((code, err), (0, ""))
        s = json.loads(out)
        for name in ("version pid state generation uptime_seconds listen workers recycles crashes "
                     "oom_kills last_reload governor").split():
            self.assertIn(name, s)
        self.assertEqual((s["pid"], s["state"], s["generation"]), (p.pid, "running", 1))
        self.assertEqual(len(s["workers"]), 2)
        for w in s["workers"]:
            for name in ("slot pid serial generation state requests in_flight rss_bytes uss_bytes "
                         "pss_bytes age_seconds max_requests last_reason").split():
                self.assertIn(name, w)
            self.assertTrue(1000 <= w["max_requests"] <= 1100)
            self.assertEqual(w["state"], "ready")
        for reason in ("max-requests max-worker-lifetime reload-on-rss reload-on-as reload-on-fds "
                       "evil-reload-on-rss boot-timeout timeout request-timeout oom reload scale "
                       "request").split():
            self.assertEqual(s["recycles"][reason], 0)
        self.assertNotIn("stop", s["recycles"])
        self.assertNotIn("crash", s["recycles"])

    def test_table(self):
        """80 columns, everything that matters."""
        p = self.preforkd(workers=3, name="a-rather-long-name-of-a-service",
                          listen=["127.0.0.1:0", "[::1]:0", "unix:some/longish/path.sock"],
                          files={"some/longish/x": ""})
        p.wait_ready()
        code, out, err = p.ctl("status")
        self.assertEqual((code, err), (0, ""))
        self.assertLessEqual(max(map(len, out.splitlines())), 80)
        for pid in p.pids():
            self.assertRegex(out, r"(?m)^ *\d +%d ready" % pid)
        self.assertIn("3 of 3 workers ready", out)
        self.assertIn("a-rather-long-name-of-a-service: running", out)

    def test_trouble_shows(self):
        """Back-off, a failed reload and bad code are seen by a person."""
        p = self.preforkd(files={"mine.py": "from plain import app\n"}, wsgi="mine:app", workers=2)
        p.wait_ready()
        p.write("mine.py", "raise OSError('no')\n")
        p.ctl("reload")
        harness.kill(p.pids()[0])
        p.wait_status(lambda s: any(w["state"] == "backoff" for w in s["workers"]))
        out = p.ctl("status")[1]
        self.assertRegex(out, r"the last reload failed")
        self.assertRegex(out, r"backoff")
        self.assertRegex(out, r"the code on disk does not boot")

    def test_last_reason(self):
        """Why the worker before ended."""
        p = self.preforkd()
        p.wait_ready()
        p.text("/")
        p.ctl("recycle")
        self.assertEqual(p.wait_ready()["workers"][0]["last_reason"], "request")
        p.text("/")
        p.wait_status(lambda s: s["requests_total"] == 2)
        harness.kill(p.pids()[0])
        p.wait_status(lambda s: s["crashes"] == 1)
        self.assertEqual(p.wait_ready()["workers"][0]["last_reason"], "crash")

    def test_metrics(self):
        """OpenMetrics: types, # EOF, slot as label, never a pid."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        p.text("/")
        p.wait_status(lambda s: s["requests_total"] == 1)
        code, out, _ = p.ctl("metrics")
        self.assertEqual(code, 0)
        self.assertTrue(out.endswith("# EOF\n"))
        self.assertRegex(out, r'(?m)^preforkd_\w+\{.*slot="1".*\} ')
        self.assertNotIn("pid=", out)
        self.assertRegex(out, r"(?m)^preforkd_requests_total(\{\})? 1$")
        for line in out.splitlines():
            self.assertRegex(line, r"^(# (TYPE|HELP|UNIT|EOF)|[a-z_]+(\{[^}]*\})? [0-9.e+-]+$)")

    @needs_module("gunicorn")
    def test_counts(self):
        """Requests of ended workers stay in the total."""
        p = self.preforkd(worker_class="gthread", workers=2)
        p.wait_ready()
        for i in range(1, 4):
            for _ in range(5):
                p.text("/")
            p.wait_status(lambda s: s["requests_total"] == 5 * i)
            self.assertEqual(p.ctl("recycle", "all")[0], 0)
        self.assertEqual(p.wait_ready()["requests_total"], 15)


class Commands(harness.Case):
    """What changes something."""

    def test_recycle_waits(self):
        """It comes back when the new worker serves."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        before = p.pids()
        code, out, _ = p.ctl("recycle", "2")
        self.assertEqual((code, out), (0, "recycled\n"))
        after = p.pids()
        self.assertEqual(after[0], before[0])
        self.assertNotEqual(after[1], before[1])
        code, out, _ = p.ctl("recycle")
        self.assertEqual(code, 0)
        self.assertFalse(set(after) & set(p.pids()))
        self.assertEqual(p.ctl("--no-wait", "recycle", "all")[:2], (0, "recycle asked for\n"))
        p.wait_status(lambda s: s["recycles"]["request"] == 5)

    def test_recycle_refused(self):
        """A slot that is none; a word that is none."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        code, _, err = p.ctl("recycle", "3")
        self.assertEqual(code, 1)
        self.assertIn("slot 3", err)
        for bad in ("0", "-1", "x", "1.5", "99999999999999"):
            self.assertEqual(p.ctl("--", "recycle", bad)[0], 2, bad)

    def test_scale(self):
        """At once, until the next reload."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        kept = p.pids()
        with p.load(clients=2) as load:
            self.assertEqual(p.ctl("scale", "4")[0], 0)
            p.wait_ready(4)
            self.assertEqual(p.ctl("scale", "1")[0], 0)
            p.wait_ready(1)
            self.assertEqual(p.ctl("scale", "2")[0], 0)
            p.wait_ready(2)
        self.assertEqual(load.failed, 0, load.result)
        self.assertEqual(p.pids()[0], kept[0])
        self.assertEqual(p.status()["recycles"]["scale"], 3)
        for bad in ("0", "x", ""):
            self.assertEqual(p.ctl("scale", bad)[0], 2, bad)
        code, _, err = p.ctl("scale", "100000000")
        self.assertEqual(code, 1)
        self.assertIn("workers", err)
        p.ctl("scale", "3")
        p.ctl("reload")
        p.wait_ready(2)

    def test_scale_there_and_back(self):
        """Before the first has taken effect."""
        p = self.preforkd(workers=1)
        p.wait_ready()
        kept = p.pids()
        for n in (5, 1, 6, 2, 1, 3):
            self.assertEqual(p.ctl("scale", n)[0], 0)
        p.wait_ready(3)
        self.assertEqual(p.pids()[0], kept[0])

    def test_stop(self):
        """It waits for the end."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        code, out, err = p.ctl("stop")
        self.assertEqual((code, out), (0, "stopped\n"), err)
        self.assertEqual(p.wait(2), 0)
        code, _, err = p.ctl("status")
        self.assertEqual(code, 3)

    def test_stop_quick(self):
        """--quick does not wait for requests."""
        p = self.preforkd(graceful_timeout="60s")
        p.wait_ready()
        with socket.create_connection(p.address()) as s:
            s.sendall(b"GET /hang HTTP/1.0\r\n\r\n")
            p.wait_status(lambda s: s["workers"][0]["in_flight"])
            begun = time.monotonic()
            self.assertEqual(p.ctl("stop", "--quick")[0], 0)
            self.assertLess(time.monotonic() - begun, harness.stretched(8))
        self.assertEqual(p.wait(2), 0)

    def test_stop_no_wait_then_others(self):
        """While it stops, orders are refused and status says stopping."""
        p = self.preforkd(graceful_timeout="60s")
        p.wait_ready()
        with socket.create_connection(p.address()) as s:
            s.sendall(b"GET /hang HTTP/1.0\r\n\r\n")
            p.wait_status(lambda s: s["workers"][0]["in_flight"])
            self.assertEqual(p.ctl("--no-wait", "stop")[0], 0)
            self.assertEqual(p.wait_status(lambda s: s["state"] == "stopping")["pid"], p.pid)
            for words in (("reload",), ("recycle",), ("scale", "3")):
                code, _, err = p.ctl(*words)
                self.assertEqual(code, 1, words)
                self.assertIn("stopping", err)
            self.assertEqual(p.ctl("--timeout", "300ms", "stop", "--no-wait")[0], 0)
        p.wait()

    def test_timeout(self):
        """Exit code 4."""
        p = self.preforkd(files={"mine.py": "from plain import app\n"}, wsgi="mine:app")
        p.wait_ready()
        p.write("mine.py", "import time\ntime.sleep(5)\nfrom plain import app\n")
        begun = time.monotonic()
        self.assertEqual(p.ctl("--timeout", "500ms", "reload")[0], 4)
        self.assertLess(time.monotonic() - begun, harness.stretched(4))

    def test_hung_master(self):
        """Also for a command that would wait for ever; exit code 4."""
        p = self.preforkd()
        p.wait_ready()
        p.signal(signal.SIGSTOP)
        try:
            self.assertEqual(p.ctl("--timeout", "500ms", "status")[0], 4)
            self.assertEqual(p.ctl("--timeout", "500ms", "stop")[0], 4)
        finally:
            p.signal(signal.SIGCONT)

    def test_usage(self):
        """Exit code 2 and a word why."""
        p = self.preforkd()
        for words in ((), ("nonsense",), ("status", "1"), ("scale",), ("report",), ("report", "x"),
                      ("--quick", "status"), ("--timeout", "soon", "status"), ("--nonsense",)):
            with self.subTest(words):
                code, out, err = p.ctl(*words)
                self.assertEqual((code, out), (2, ""))
                self.assertNotEqual(err, "")
        code, _, err = run(PREFORKCTL, "--socket", "x", "--file", "y", "status")
        self.assertEqual(code, 2)
        code, out, _ = run(PREFORKCTL, "help")
        self.assertEqual(code, 0)
        for word in "status reload recycle stop scale report metrics".split():
            self.assertIn(word, out)
        self.assertEqual(run(PREFORKCTL, "--version")[0], 0)

    def test_not_reachable(self):
        """Exit code 3."""
        code, _, err = run(PREFORKCTL, "--socket", "/no/such/socket", "status")
        self.assertEqual(code, 3)
        self.assertIn("/no/such/socket", err)
        p = self.preforkd()
        p.wait_ready()
        p.kill()
        self.assertEqual(p.ctl("status")[0], 3)

    def test_by_file(self):
        """--file finds the socket of the ini."""
        p = self.preforkd()
        p.wait_ready()
        code, out, _ = run(PREFORKCTL, "--file", p.ini, "--json", "status")
        self.assertEqual(code, 0)
        self.assertEqual(json.loads(out)["pid"], p.pid)

    def test_default_places(self):
        """Without `control`: $RUNTIME_DIRECTORY, and preforkctl finds the only instance."""
        p = self.preforkd(control=None, start=False)
        runtime = p.path("run")
        os.mkdir(runtime)
        p.environ["RUNTIME_DIRECTORY"] = runtime
        p.control = os.path.join(runtime, "control")
        p.start()
        p.wait_ready()
        # as systemd does for ExecReload
        code, out, err = run(PREFORKCTL, "--json", "status", env=p.environ)
        if code == 0:
            self.assertEqual(json.loads(out)["pid"], p.pid)
        code, out, err = run(PREFORKCTL, "--file", p.ini, "--json", "status", env=p.environ)
        self.assertEqual(code, 0, err)
        self.assertEqual(json.loads(out)["pid"], p.pid)

    def test_xdg_runtime_dir(self):
        """As an ordinary user; the folder is private."""
        p = self.preforkd(control=None, start=False, name="mine")
        xdg = p.path("xdg")
        os.mkdir(xdg, 0o700)
        if os.geteuid() == 0:
            # root may write to /run: look there instead
            p.environ["XDG_RUNTIME_DIR"] = xdg
            p.control = "/run/preforkd/mine/control"
            if os.path.exists(p.control):
                self.skipTest("an instance called mine runs here")
        else:
            p.environ["XDG_RUNTIME_DIR"] = xdg
            p.control = os.path.join(xdg, "preforkd", "mine", "control")
        p.start()
        p.wait_ready()
        code, out, err = run(PREFORKCTL, "--file", p.ini, "--json", "status", env=p.environ)
        self.assertEqual(code, 0, err)
        self.assertEqual(p.stop(), 0)
        self.assertFalse(os.path.exists(p.control))

    def test_mode(self):
        """0600 by default; control-mode and control-group."""
        p = self.preforkd()
        p.wait_ready()
        self.assertEqual(stat.S_IMODE(os.stat(p.control).st_mode), 0o600)
        q = self.preforkd(control_mode="0660")
        q.wait_ready()
        self.assertEqual(stat.S_IMODE(os.stat(q.control).st_mode), 0o660)

    @needs_root
    def test_group(self):
        """control-group."""
        p = self.preforkd(control_group="daemon", control_mode="0660")
        p.wait_ready()
        self.assertEqual(os.stat(p.control).st_gid, grp.getgrnam("daemon").gr_gid)


class Report(harness.Case):
    """report SLOT: what a live worker is doing."""

    def hung(self, p, path="/hang"):
        """A request that hangs in slot 1."""
        s = socket.create_connection(p.address())
        self.addCleanup(s.close)
        s.sendall(b"GET %s HTTP/1.0\r\n\r\n" % path.encode())
        p.wait_status(lambda s: s["workers"][0]["in_flight"])

    def check(self, word="stuck_in_this_function", path="/hang", **settings):
        """The stack of the hung request is shown; the worker lives on."""
        p = self.preforkd(timeout="60s", **settings)
        p.wait_ready()
        pid = p.pids()[0]
        self.hung(p, path)
        code, out, err = p.ctl("report", "1")
        self.assertEqual(code, 0, err)
        self.assertIn(word, out)
        self.assertEqual(p.pids(), [pid])
        code, out, _ = p.ctl("--json", "report", "1")
        self.assertIn(word, json.loads(out)["text"])

    def test_stdlib(self):
        """Threads."""
        self.check()

    @needs_module("gunicorn")
    def test_sync(self):
        """The main thread itself."""
        self.check(worker_class="sync")

    @needs_module("gunicorn")
    def test_gthread(self):
        """A pool."""
        self.check(worker_class="gthread")

    @needs_module("gunicorn.workers.ggevent")
    def test_gevent(self):
        """Greenlets that wait."""
        self.check(worker_class="gevent")

    @needs_module("uvicorn")
    def test_uvicorn_blocked(self):
        """A blocked loop."""
        self.check(asgi="plain:asgi", worker_class="uvicorn")

    @needs_module("uvicorn")
    def test_uvicorn_task(self):
        """A task that waits politely."""
        self.check(word="await asyncio.sleep(3600)", path="/hangpolitely", asgi="plain:asgi",
                   worker_class="uvicorn")

    def test_refused(self):
        """No such slot; a plain command; a frozen worker, after 5 s."""
        p = self.preforkd(workers=1)
        p.wait_ready()
        code, _, err = p.ctl("report", "7")
        self.assertEqual(code, 1)
        self.assertIn("7", err)
        q = self.preforkd(command=harness.helper("fakeworker") + " ready")
        q.wait_ready()
        code, _, err = q.ctl("report", "1")
        self.assertEqual(code, 1)
        self.assertIn("plain command", err)
        harness.freeze(p.pids()[0])
        code, _, err = p.ctl("report", "1")
        self.assertEqual(code, 1)
        self.assertIn("did not answer", err)
        os.kill(p.pids()[0], signal.SIGCONT)

    def test_many_threads(self):
        """A long report arrives whole."""
        p = self.preforkd(files={"mine.py": (
            "import threading, time\nfrom plain import app\n"
            "def a_thread_with_a_name(n):\n    time.sleep(3600)\n"
            "for i in range(200):\n"
            "    threading.Thread(target=a_thread_with_a_name, args=[i], daemon=True).start()\n")},
            wsgi="mine:app")
        p.wait_ready()
        code, out, err = p.ctl("report", "1")
        self.assertEqual(code, 0, err)
        self.assertGreaterEqual(out.count("a_thread_with_a_name"), 200)


class Protocol(harness.Case):
    """Varlink, spoken by somebody else."""

    def setUp(self):
        """One preforkd, connected to."""
        super().setUp()
        self.p = self.preforkd()
        self.p.wait_ready()

    def test_info_and_description(self):
        """org.varlink.service."""
        with Varlink(self.p.control) as v:
            info = v.call("org.varlink.service.GetInfo")["parameters"]
            self.assertEqual(info["product"], "preforkd")
            self.assertIn("io.preforkd.Manager", info["interfaces"])
            text = v.call("org.varlink.service.GetInterfaceDescription",
                          {"interface": "io.preforkd.Manager"})["parameters"]["description"]
            self.assertTrue(text.lstrip("# \n").startswith("interface io.preforkd.Manager")
                            or "\ninterface io.preforkd.Manager" in text)
            for method in "Status Reload Recycle Scale Stop Report Ping".split():
                self.assertRegex(text, r"(?m)^method %s\(" % method)

    def test_errors(self):
        """By varlink's names."""
        with Varlink(self.p.control) as v:
            for method, parameters, want in (
                    (MANAGER + "Nonsense", None, "org.varlink.service.MethodNotFound"),
                    ("com.example.Foo", None, "org.varlink.service.InterfaceNotFound"),
                    (MANAGER + "Scale", {}, "org.varlink.service.InvalidParameter"),
                    (MANAGER + "Scale", {"workers": "two"}, "org.varlink.service.InvalidParameter"),
                    (MANAGER + "Scale", {"workers": 2, "wrokers": 3},
                     "org.varlink.service.InvalidParameter"),
                    (MANAGER + "Recycle", {"slot": 9}, MANAGER + "NoSuchSlot"),
                    (MANAGER + "Report", {"slot": -1}, "org.varlink.service.InvalidParameter")):
                with self.subTest(method=method, parameters=parameters):
                    self.assertEqual(v.call(method, parameters)["error"], want)
            self.assertEqual(v.call(MANAGER + "Ping").get("error"), None)

    def test_pipelined(self):
        """Many calls in one packet are answered in turn."""
        with Varlink(self.p.control) as v:
            v.sock.sendall(b"".join(json.dumps({"method": MANAGER + m}).encode() + b"\0"
                                    for m in ["Ping", "Status", "Ping"] * 20))
            for i in range(60):
                answer = v.receive()
                self.assertEqual("status" in answer.get("parameters", {}), i % 3 == 1)

    def test_more(self):
        """The progress of a reload comes with `continues`, then the answer without."""
        with Varlink(self.p.control) as v:
            v.send(MANAGER + "Reload", more=True)
            continues = 0
            while True:
                answer = v.receive()
                if not answer.get("continues"):
                    break
                continues += 1
            self.assertGreaterEqual(continues, 2)
            self.assertEqual(answer["parameters"]["generation"], 2)

    def test_oneway(self):
        """No answer."""
        with Varlink(self.p.control) as v:
            v.send(MANAGER + "Reload", oneway=True)
            self.assertEqual(v.call(MANAGER + "Ping").get("error"), None)
        self.p.wait_log("reload: done")

    def test_hang_up_during_a_reload(self):
        """A client that goes away changes nothing about it."""
        v = Varlink(self.p.control)
        v.send(MANAGER + "Reload", more=True)
        v.receive()
        v.sock.close()
        self.p.wait_log("reload: done")
        self.assertEqual(self.p.text("/"), "hello")

    @needs_root
    def test_other_users_are_kept_out(self):
        """By the socket's mode."""
        code, _, err = run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
                           PREFORKCTL, "--socket", self.p.control, "status")
        self.assertEqual(code, 3, err)


class Clients(harness.Case):
    """Slow, silent, endless and garbage clients never delay the loop."""

    def setUp(self):
        """One preforkd."""
        super().setUp()
        self.p = self.preforkd(workers=2)
        self.p.wait_ready()

    def alive(self):
        """Others are answered quickly."""
        begun = time.monotonic()
        self.assertIsNotNone(self.p.status())
        self.assertEqual(self.p.text("/"), "hello")
        self.assertLess(time.monotonic() - begun, harness.stretched(2))

    def client(self):
        """A raw connection."""
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(harness.stretched(15))
        s.connect(self.p.control)
        self.addCleanup(s.close)
        return s

    def test_garbage(self):
        """Closed, logged once."""
        for data in (b"GET / HTTP/1.1\r\n\r\n\0", b"\0", b"{}\0", b"[]\0", b"null\0", b"{\0",
                     os.urandom(1000) + b"\0", b'{"method": 3}\0', b'{"method": "x"}\0',
                     b'{"method":"' + MANAGER.encode() + b'Ping","parameters":[]}\0',
                     b'{"a":' * 2000 + b"1" + b"}" * 2000 + b"\0"):
            s = self.client()
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            while True:
                try:
                    if not s.recv(65536):
                        break
                except ConnectionResetError:
                    break
            self.alive()
        self.assertLess(len(re.findall("not a Varlink call", self.p.log())), 12)

    def test_endless_request(self):
        """Bytes without a NUL are bounded."""
        s = self.client()
        sent = 0
        try:
            while sent < 64 << 20:
                sent += s.send(b"x" * 65536)
        except OSError:
            pass
        self.assertLess(sent, 8 << 20)
        self.alive()

    def test_silent_and_slow(self):
        """Connections that say nothing, half of a call, or a byte at a time."""
        socks = [self.client() for _ in range(3)]
        socks[1].sendall(b'{"method":')
        for c in b'{"method"':
            socks[2].sendall(bytes([c]))
            self.alive()

    def test_never_reads(self):
        """Calls are not taken while answers wait; memory is bounded."""
        s = self.client()
        s.setblocking(False)
        call = json.dumps({"method": MANAGER + "Status"}).encode() + b"\0"
        sent = 0
        for _ in range(20000):
            try:
                sent += s.send(call)
            except BlockingIOError:
                break
        self.alive()
        with open("/proc/%d/statm" % self.p.pid) as f:
            rss = int(f.read().split()[1]) * 4096
        self.assertLess(rss, (40 << 20) * harness.MULTIPLIER ** 2)

    def test_many_connections(self):
        """More than there are places: new ones are served, old idle ones give way."""
        socks = []
        for _ in range(100):
            s = socket.socket(socket.AF_UNIX)
            self.addCleanup(s.close)
            s.settimeout(harness.stretched(5))
            try:
                s.connect(self.p.control)
            except OSError:
                break
            socks.append(s)
        wait_until(self.p.status)
        self.alive()
        self.assertLess(len(os.listdir("/proc/%d/fd" % self.p.pid)), 100)

    def test_hammering(self):
        """Four busy clients of status while requests go on."""
        stop = threading.Event()

        def hammer():
            """As fast as it can."""
            with Varlink(self.p.control) as v:
                while not stop.is_set():
                    v.call(MANAGER + "Status")
        threads = [threading.Thread(target=hammer) for _ in range(4)]
        for t in threads:
            t.start()
        try:
            with self.p.load(clients=2) as load:
                self.assertEqual(self.p.ctl("reload")[0], 0)
        finally:
            stop.set()
            for t in threads:
                t.join()
        self.assertEqual(load.failed, 0, load.result)

    def test_fork_bomb_of_ctl(self):
        """Thirty preforkctls at the same moment."""
        running = [self.p.ctl_start("--json", "status") for _ in range(30)]
        codes = []
        for c in running:
            c.communicate()
            codes.append(c.returncode)
        self.assertTrue(all(code in (0, 3, 1) for code in codes), codes)
        self.assertGreater(codes.count(0), 20)
        self.assertTrue(is_alive(self.p.pid))


class Http(harness.Case):
    """preforkd-http."""

    def setUp(self):
        """One preforkd with status-listen."""
        super().setUp()
        self.port = harness.free_port()
        self.p = self.preforkd(workers=2, status_listen="127.0.0.1:%d" % self.port)
        self.p.wait_ready()
        wait_until(lambda: harness.can_connect(("127.0.0.1", self.port)))

    def page(self, path, **kw):
        """A page."""
        return harness.get(("127.0.0.1", self.port), path, **kw)

    def test_pages(self):
        """/status /metrics /livez /readyz, and nothing else."""
        s = json.loads(self.page("/status").body)
        self.assertEqual(s["pid"], self.p.pid)
        self.assertEqual(self.page("/livez").status, 200)
        answer = self.page("/readyz")
        self.assertEqual(answer.status, 200)
        self.assertIn("2 of 2", answer.body)
        answer = self.page("/metrics", headers={"Accept": "application/openmetrics-text"})
        self.assertIn("openmetrics", answer.headers["Content-Type"])
        self.assertTrue(answer.body.endswith("# EOF\n"))
        self.assertIn("text/plain", self.page("/metrics").headers["Content-Type"])
        self.assertEqual(self.page("/").status, 404)
        self.assertEqual(self.page("/status?x=y").status, 200)
        self.assertEqual(self.page("/status", method="POST", body="x").status, 405)
        self.assertEqual(self.page("/status", method="HEAD").body, "")

    def helper_pid(self):
        """The child that serves them."""
        # its name is the program's
        for pid in harness.children_of(self.p.pid):
            if "preforkd-http" in harness.command_line(pid):
                return pid
        return None

    @needs_root
    def test_unprivileged(self):
        """It does not run as root, and it has no more than it needs."""
        pid = self.helper_pid()
        self.assertNotEqual(os.stat("/proc/%d" % pid).st_uid, 0)
        with open("/proc/%d/status" % pid) as f:
            caps = [x for x in f if x.startswith("CapEff")][0].split()[1]
        self.assertEqual(int(caps, 16), 0)

    def test_readyz_turns_on_term(self):
        """At once, while requests are still finished; livez stays good."""
        with socket.create_connection(self.p.address()) as s:
            s.sendall(b"GET /sleep?2 HTTP/1.0\r\n\r\n")
            self.p.wait_status(lambda s: any(w["in_flight"] for w in s["workers"]))
            self.assertEqual(self.page("/readyz").status, 200)
            self.p.signal(signal.SIGTERM)
            self.p.wait_log("stopping: workers finish")
            answer = self.page("/readyz")
            self.assertEqual(answer.status, 503)
            self.assertIn("stopping", answer.body)
            self.assertEqual(self.page("/livez").status, 200)
            self.assertIn(b"slept", s.makefile("rb").read())
        self.assertEqual(self.p.wait(), 0)

    def test_readyz_without_a_worker(self):
        """503 while nothing is ready."""
        p = self.preforkd(files={"mine.py": "import os, time\nwhile not os.path.exists('go'):\n"
                                 "    time.sleep(0.01)\nfrom plain import app\n"},
                          wsgi="mine:app", status_listen="127.0.0.1:%d" % harness.free_port())
        address = ("127.0.0.1", int(p.settings["status_listen"].split(":")[1]))
        wait_until(lambda: harness.can_connect(address))
        self.assertEqual(harness.get(address, "/readyz").status, 503)
        self.assertEqual(harness.get(address, "/livez").status, 200)
        p.write("go", "")
        p.wait_ready()
        self.assertEqual(harness.get(address, "/readyz").status, 200)

    def test_helper_dies(self):
        """It is started again."""
        pid = self.helper_pid()
        harness.kill(pid)
        wait_until(lambda: self.helper_pid() not in (None, pid))
        self.assertEqual(wait_until(self.readyz_status), 200)
        self.assertEqual(self.p.text("/"), "hello")

    def readyz_status(self):
        """The status code, None while nobody answers."""
        try:
            return self.page("/readyz").status
        except OSError:
            return None

    def test_master_hangs(self):
        """livez turns when the master's loop stands still."""
        self.p.signal(signal.SIGSTOP)
        try:
            self.assertEqual(self.page("/livez", timeout=30).status, 503)
        finally:
            self.p.signal(signal.SIGCONT)
        self.assertEqual(wait_until(lambda: self.page("/livez").status == 200), True)

    def test_slow_clients(self):
        """Silent connections do not keep others out."""
        socks = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(50)]
        for s in socks:
            self.addCleanup(s.close)
            s.sendall(b"GET /sta")
        self.assertEqual(self.page("/readyz").status, 200)

    def test_address_changes_with_a_reload(self):
        """The old one is closed, the new one open; off when the key goes."""
        port = harness.free_port()
        self.p.write_ini(status_listen="127.0.0.1:%d" % port)
        self.assertEqual(self.p.ctl("reload")[0], 0)
        wait_until(lambda: harness.can_connect(("127.0.0.1", port)))
        wait_until(lambda: not harness.can_connect(("127.0.0.1", self.port)))
        self.p.write_ini(status_listen=None)
        self.assertEqual(self.p.ctl("reload")[0], 0)
        wait_until(lambda: not harness.can_connect(("127.0.0.1", port)))
        wait_until(lambda: self.helper_pid() is None)

    def test_gone_with_the_master(self):
        """kill -9 of the master takes it along."""
        pid = self.helper_pid()
        self.p.kill()
        wait_until(lambda: not is_alive(pid), 2)
        self.assertFalse(harness.can_connect(("127.0.0.1", self.port)))

    def test_address_in_use(self):
        """At start: said; the service itself is what matters."""
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            p = self.preforkd(status_listen="127.0.0.1:%d" % s.getsockname()[1])
            p.wait_log("status-listen|another process")


if __name__ == "__main__":
    harness.main()
