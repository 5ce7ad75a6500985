# SPDX-License-Identifier: MIT
"""Servers' own options, TLS, real applications, and command =."""

import json
import os
import socket
import ssl
import subprocess
import tempfile

import harness
from harness import has_module, needs_module, needs_program


@needs_program("openssl")
class Tls(harness.Case):
    """TLS through [server]."""

    @classmethod
    def setUpClass(cls):
        """A certificate for localhost."""
        cls.folder = tempfile.TemporaryDirectory(prefix="pfd-tls-")
        os.chmod(cls.folder.name, 0o755)
        cls.cert = os.path.join(cls.folder.name, "cert.pem")
        cls.key = os.path.join(cls.folder.name, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-keyout", cls.key, "-out", cls.cert],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @classmethod
    def tearDownClass(cls):
        """Away."""
        cls.folder.cleanup()

    def check(self, server, **settings):
        """Serves https, survives a recycle, and plain HTTP clients."""
        p = self.preforkd(server=server, workers=1, **settings)
        p.wait_ready()
        context = ssl.create_default_context(cafile=self.cert)
        context.check_hostname = False
        self.assertEqual(p.get("/scheme", context=context).body, "https")
        self.assertEqual(p.ctl("recycle")[0], 0)
        self.assertEqual(p.get("/", context=context).body, "hello")
        with socket.create_connection(p.address()) as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            s.settimeout(harness.stretched(10))
            try:
                s.recv(1000)
            except OSError:
                pass
        self.assertEqual(p.get("/", context=context).body, "hello")
        self.assertEqual(p.stop(), 0)

    @needs_module("gunicorn")
    def test_gunicorn(self):
        """certfile, keyfile."""
        for worker_class in ("sync", "gthread"):
            with self.subTest(worker_class):
                self.check({"certfile": self.cert, "keyfile": self.key},
                           worker_class=worker_class)

    @needs_module("uvicorn")
    def test_uvicorn(self):
        """uvicorn's own names, with dashes or underscores."""
        self.check({"ssl_certfile": self.cert, "ssl-keyfile": self.key}, asgi="plain:asgi",
                   worker_class="uvicorn")

    @needs_module("hypercorn")
    def test_hypercorn(self):
        """certfile, keyfile."""
        self.check({"certfile": self.cert, "keyfile": self.key}, asgi="plain:asgi",
                   worker_class="hypercorn")


class Options(harness.Case):
    """[server], gunicorn-config, missing servers."""

    def fails(self, want, **settings):
        """The start fails with a telling message."""
        p = self.preforkd(boot_attempts=1, **settings)
        self.assertEqual(p.wait(), 1)
        self.assertRegex(p.log(), want)

    @needs_module("gunicorn")
    def test_access_log(self):
        """gunicorn's access log."""
        p = self.preforkd(worker_class="gthread", server={"accesslog": "-"})
        p.wait_ready()
        p.get("/nothing?here")
        p.wait_log(r'"GET /nothing\?here HTTP/1.1" 404')

    @needs_module("uvicorn")
    def test_uvicorn_options(self):
        """root_path and access log."""
        p = self.preforkd(asgi="plain:asgi", worker_class="uvicorn",
                          server={"access_log": "yes", "log-level": "info"})
        p.wait_ready()
        p.get("/nothing")
        p.wait_log(r"GET /nothing HTTP/1.1.* 404")

    def test_unknown_option(self):
        """Every server refuses what it does not know, and names it."""
        for worker_class, module, kind in (
                ("stdlib", "json", "wsgi"), ("gthread", "gunicorn", "wsgi"),
                ("waitress", "waitress", "wsgi"), ("uvicorn", "uvicorn", "asgi"),
                ("hypercorn", "hypercorn", "asgi")):
            if not has_module(module):
                continue
            with self.subTest(worker_class):
                app = {"wsgi": "plain:app"} if kind == "wsgi" else {"asgi": "plain:asgi"}
                self.fails("no_such_option", worker_class=worker_class,
                           server={"no_such_option": "1"}, **app)

    @needs_module("gunicorn")
    def test_gunicorn_config(self):
        """Its settings hold, hooks of workers run, what does not apply is named once."""
        p = self.preforkd(worker_class="gthread", workers=2, gunicorn_config="g.py",
                          files={"g.py": (
                              "bind = '0.0.0.0:1'\nworkers = 17\nproc_name = 'x'\n"
                              "accesslog = '-'\naccess_log_format = 'access %(m)s %(s)s'\n"
                              "def post_worker_init(worker):\n"
                              "    worker.log.warning('hook ran in %d', worker.pid)\n"
                              "def on_starting(server):\n    raise SystemExit('arbiter')\n"
                              "def when_ready(server):\n    pass\n")})
        p.wait_ready(2)
        p.text("/")
        p.wait_log(r"access GET 200")
        for pid in p.pids():
            p.wait_log(r"hook ran in %d" % pid)
        self.assertRegex(p.log(), r"bind")
        self.assertRegex(p.log(), r"on_starting")

    @needs_module("gunicorn")
    def test_gunicorn_config_only_when_named(self):
        """./gunicorn.conf.py and GUNICORN_CMD_ARGS are not read."""
        p = self.preforkd(worker_class="gthread",
                          files={"gunicorn.conf.py": "raise SystemExit('was read')\n"},
                          environ={"GUNICORN_CMD_ARGS": "--nonsense --worker-class=nonsense"})
        p.wait_ready()
        self.assertEqual(p.text("/"), "hello")
        self.assertNotIn("was read", p.log())

    @needs_module("gunicorn")
    def test_gunicorn_config_broken(self):
        """A missing or broken file fails the start with its name."""
        self.fails(r"nosuch\.py", worker_class="gthread", gunicorn_config="nosuch.py")
        self.fails(r"division", worker_class="gthread", gunicorn_config="g.py",
                   files={"g.py": "x = 1 / 0\n"})

    def test_nothing_installed(self):
        """worker-class = auto without any server says what to install."""
        p = self.preforkd(start=False, python=None, virtualenv="venv", worker_class="auto",
                          boot_attempts=1)
        subprocess.run([harness.PYTHON, "-m", "venv", "--without-pip", p.path("venv")], check=True)
        p.start()
        self.assertEqual(p.wait(), 1)
        self.assertRegex(p.log(), r"python3-gunicorn")
        self.assertRegex(p.log(), r"worker-class = stdlib")

    def test_named_server_missing(self):
        """The one that was asked for."""
        p = self.preforkd(start=False, python=None, virtualenv="venv", worker_class="uvicorn",
                          asgi="plain:asgi", boot_attempts=1)
        subprocess.run([harness.PYTHON, "-m", "venv", "--without-pip", p.path("venv")], check=True)
        p.start()
        self.assertEqual(p.wait(), 1)
        self.assertRegex(p.log(), r"needs uvicorn: install python3-uvicorn")

    @needs_module("uvicorn")
    def test_lifespan_failure(self):
        """An application that refuses to start is no worker."""
        self.fails("no database today", asgi="plain:asgi", worker_class="uvicorn",
                   env={"TEST_LIFESPAN": "fail"})

    @needs_module("hypercorn")
    def test_lifespan_failure_hypercorn(self):
        """The same there."""
        self.fails("no database today|[Ll]ifespan", asgi="plain:asgi", worker_class="hypercorn",
                   env={"TEST_LIFESPAN": "fail"})


class Frameworks(harness.Case):
    """Real applications on real servers."""

    def check(self, word, **settings):
        """Pages, JSON, upload, stream, an error, a reload under load."""
        p = self.preforkd(workers=2, **settings)
        p.wait_ready()
        self.assertIn("hello " + word, p.text("/"))
        self.assertEqual(json.loads(p.text("/sum/2/3")), {"sum": 5})
        self.assertEqual(p.text("/stream"), "part 0\npart 1\npart 2\n")
        self.assertEqual(p.get("/upload", method="POST", body="x" * 100000).body, "100000")
        self.assertEqual(p.get("/fail").status, 500)
        p.wait_log("asked to fail")
        with p.load(clients=4, path="/pid") as load:
            self.assertEqual(p.ctl("reload")[0], 0)
        self.assertEqual(load.failed, 0, load.result)
        self.assertEqual(p.stop(), 0)
        self.assertEqual(p.log().count("ended unasked"), 0)

    @needs_module("flask", "gunicorn")
    def test_flask_gthread(self):
        """Flask as most run it."""
        self.check("flask", wsgi="flask_app:app", worker_class="gthread")

    @needs_module("flask", "waitress")
    def test_flask_waitress(self):
        """Flask on waitress."""
        self.check("flask", wsgi="flask_app:app", worker_class="waitress")

    @needs_module("flask", "gunicorn")
    def test_flask_factory(self):
        """create_app()."""
        p = self.preforkd(wsgi="flask_app:create_app('shop')", worker_class="sync")
        p.wait_ready()
        self.assertEqual(p.text("/"), "shop")

    @needs_module("django", "gunicorn")
    def test_django_sync(self):
        """Django on sync workers."""
        self.check("django", wsgi="django_app:application", worker_class="sync")

    @needs_module("django", "uvicorn")
    def test_django_asgi(self):
        """Django's ASGI handler, which has no lifespan."""
        self.check("django", asgi="django_app:asgi", worker_class="uvicorn")

    @needs_module("starlette", "uvicorn")
    def test_starlette_uvicorn(self):
        """Starlette with a lifespan."""
        self.check("starlette", asgi="starlette_app:app", worker_class="uvicorn")

    @needs_module("starlette", "hypercorn")
    def test_starlette_hypercorn(self):
        """The same on hypercorn."""
        self.check("starlette", asgi="starlette_app:app", worker_class="hypercorn")

    @needs_module("fastapi", "uvicorn")
    def test_fastapi(self):
        """FastAPI."""
        self.check("fastapi", asgi="fastapi_app:app", worker_class="auto")


class Commands(harness.Case):
    """command = any program."""

    def life(self, p, path="/pid"):
        """Serves, reloads under load without a loss, stops."""
        p.wait_ready()
        before = p.pids()
        with p.load(clients=2, path=path) as load:
            self.assertEqual(p.ctl("reload")[0], 0)
            p.wait_ready()
        self.assertEqual(load.failed, 0, load.result)
        self.assertFalse(set(before) & set(p.pids()))
        self.assertEqual(p.stop(), 0)

    @needs_module("uvicorn")
    def test_uvicorn(self):
        """uvicorn --fd {fd}, seen by its epoll."""
        p = self.preforkd(command="%s -m uvicorn plain:asgi --fd {fd} --log-level warning"
                          % harness.PYTHON, workers=2, chdir=harness.APPS)
        p.wait_ready()
        self.assertEqual(p.text("/"), "hello")
        # its own drain closes connections that have not asked yet: reload without load
        before = p.pids()
        self.assertEqual(p.ctl("reload")[0], 0)
        p.wait_ready()
        self.assertFalse(set(before) & set(p.pids()))
        self.assertEqual(p.stop(), 0)

    @needs_program("node")
    def test_node(self):
        """Node's http server on {fd}."""
        p = self.preforkd(command="%s %s {fd}" % (
            harness.shutil.which("node"), os.path.join(harness.APPS, "server.js")), workers=2)
        p.wait_ready()
        self.assertEqual(p.text("/"), "hello")
        before = p.pids()
        self.assertEqual(p.ctl("reload")[0], 0)
        p.wait_ready()
        self.assertFalse(set(before) & set(p.pids()))
        self.assertEqual(p.stop(), 0)

    def test_sd_notify(self):
        """A C program that says READY, STATUS and WATCHDOG by sd_notify."""
        p = self.preforkd(command=harness.helper("notifyd"), ready="notify", workers=2,
                          timeout="2s")
        p.wait_ready()
        address = p.address()

        def ask():
            """The line that it sends."""
            with socket.create_connection(address) as s:
                return s.makefile().read()
        self.assertRegex(ask(), r"^notifyd \d+$")
        p.wait_status(lambda s: any(w["status"] == "served 1" for w in s["workers"]))
        pid = p.pids()[0]
        harness.freeze(pid)
        p.wait_log(r"pid %d.*no heartbeat" % pid)
        p.wait_ready()
        self.assertNotIn(pid, p.pids())
        self.assertEqual(p.ctl("recycle", "all")[0], 0)
        self.assertRegex(ask(), r"^notifyd \d+$")
        self.assertEqual(p.stop(), 0)

    def test_fake_worker_under_load(self):
        """The plainest of servers loses nothing."""
        self.life(self.preforkd(command=harness.helper("fakeworker") + " after=50 ready",
                                ready="notify", workers=2))

    def test_ready_after_a_delay(self):
        """ready = TIME."""
        p = self.preforkd(command=harness.helper("fakeworker"), ready="300ms")
        p.wait_ready()
        self.assertGreaterEqual(p.workers()[0]["ready_seconds"], 0.3)

    def test_environment(self):
        """LISTEN_FDS and the rest, none of the launcher's."""
        p = self.preforkd(command="/bin/sh -c 'env > env.txt; exec %s ready'"
                          % harness.helper("fakeworker"), env={"GREETING": "hi"})
        p.wait_ready()
        env = dict(line.partition("=")[::2] for line in p.read("env.txt").splitlines())
        self.assertEqual(env["LISTEN_FDS"], "1")
        self.assertEqual(env["LISTEN_PID"], str(p.pids()[0]))
        self.assertEqual(env["GREETING"], "hi")
        for name in ("NOTIFY_SOCKET", "PREFORKD_SLOT", "PREFORKD_WORKER_ID", "WATCHDOG_USEC"):
            self.assertIn(name, env)
        self.assertNotIn("PREFORKD_SETTINGS", env)

    def test_words_and_quotes(self):
        """No shell, but quotes."""
        p = self.preforkd(command="/bin/sh -c 'echo \"$1|$2\" > out; exec %s ready' sh "
                          "\"two words\" a\\ b" % harness.helper("fakeworker"))
        p.wait_ready()
        self.assertEqual(p.read("out"), "two words|a b\n")

    def test_program_missing(self):
        """The reason of a failed exec reaches the log."""
        p = self.preforkd(command="/no/such/program", boot_attempts=1)
        self.assertEqual(p.wait(), 1)
        self.assertRegex(p.log(), r"/no/such/program.*No such file")


if __name__ == "__main__":
    harness.main()
