# SPDX-License-Identifier: MIT
"""Real libraries in a mold: what of them survives a fork, and what must not be forked."""

import gzip
import http.server
import json
import os
import re
import shutil
import socketserver
import subprocess
import tempfile
import threading
import urllib.parse

import harness
from harness import has_module, needs_module

NOTHING_FOUND = "preload: yes, nothing was found that a fork would break"


class Preload(harness.Case):
    """What all have in common: two workers, and what they answer."""

    def app(self, name, **settings):
        """A preforkd with an application of libraries.py, not started."""
        settings.setdefault("worker_class", "gthread" if has_module("gunicorn") else "stdlib")
        settings.setdefault("wsgi", "libraries:" + name)
        # Each worker has its own queue, so that none can take all connections.
        return self.preforkd(start=False, workers=2, balance="per-slot", **settings)

    def begin(self, p, how="fork", text=NOTHING_FOUND):
        """Starts; all workers are ready, and the decision is what was expected."""
        p.start()
        preload = p.wait_ready()["preload"]
        self.assertRegex(preload["text"], text)
        self.assertEqual(preload["how"], how)

    def ask_all(self, p, path="/"):
        """{pid: answer} of all workers."""
        pids, answers = set(p.pids()), {}

        def everyone():
            """One more request; they go where the kernel likes."""
            answer = json.loads(p.text(path))
            answers.setdefault(answer["pid"], answer)
            return pids <= set(answers)
        harness.wait_until(everyone, what="answers of %s" % pids, every=0)
        self.assertEqual(set(answers), pids)
        return answers

    def reload(self, p, **settings):
        """With other settings, which make that workers are forked."""
        p.write_ini(**settings)
        self.assertEqual(p.ctl("reload")[0], 0)
        self.assertEqual(p.wait_ready()["preload"]["how"], "fork")

    def life(self, p, check, path="/", first=None):
        """Asks the first workers, those after a recycle of all, and those after a reload.

        check(answers) is called with what each of them has answered. first: settings; the first
        workers are those after a reload with them, instead of the last.
        """
        if first is not None:
            self.reload(p, **first)
        seen = set()
        for command in ("", "recycle all", "reload")[:2 if first is not None else 3]:
            if command:
                self.assertEqual(p.ctl(*command.split())[0], 0)
            status = p.wait_ready()
            self.assertEqual(status["preload"]["how"], "fork")
            self.assertGreaterEqual(status["molds"][-1]["forked"], 2)
            answers = self.ask_all(p, path)
            self.assertFalse(seen & set(answers))
            seen |= set(answers)
            check(answers)

    def end(self, p):
        """Stops; nothing went wrong on the way."""
        self.assertEqual(p.stop(), 0)
        self.assertNotRegex(p.log(), r"ended unasked|ended before|Traceback|DeprecationWarning")

    def refuses(self, p, want):
        """preload = yes fails the start."""
        p.write_ini(preload="yes", boot_attempts=1)
        p.start()
        self.assertEqual(p.wait(), 1)
        self.assertRegex(p.log(), want)


class Collector(http.server.ThreadingHTTPServer):
    """Takes what sentry-sdk sends; .text() is all of it."""

    daemon_threads = True

    class Handler(http.server.BaseHTTPRequestHandler):
        """Any POST."""

        def do_POST(self):
            """Keeps the body as text."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            self.server.bodies.append(body.decode(errors="replace"))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args):
            """Nothing."""

    def __init__(self):
        """Listens."""
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.bodies = []

    def text(self):
        """Of all requests."""
        return "\n".join(self.bodies)


class Holder(socketserver.ThreadingTCPServer):
    """Accepts connections and holds them until the client goes."""

    daemon_threads = True

    class Handler(socketserver.BaseRequestHandler):
        """One connection."""

        def handle(self):
            """Reads to the end."""
            while self.request.recv(100):
                pass

    def __init__(self):
        """Listens."""
        super().__init__(("127.0.0.1", 0), self.Handler)


class Serving(Preload):
    """With servers of the test's own."""

    def peer(self, server):
        """Runs it until the test is over; "host:port"."""
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return "127.0.0.1:%d" % server.server_address[1]

    @needs_module("sentry_sdk")
    def test_sentry(self):
        """Its thread starts with the first event: all events of all workers arrive."""
        collector = Collector()
        p = self.app("sentry()", env={"TEST_PEER": self.peer(collector)})
        self.begin(p)

        def arrived(answers):
            """Each worker's event was sent before it answered."""
            for pid in answers:
                self.assertIn("event life from %d" % pid, collector.text())
        self.life(p, arrived, "/?life")
        self.end(p)

    @needs_module("sentry_sdk")
    def test_sentry_early(self):
        """An event at import: its thread is named; it starts a new one, so that yes is right.

        Python, from 3.12 on, must see no reason to warn of a fork with threads.
        """
        collector = Collector()
        p = self.app("sentry(early=True)", env={
            "TEST_PEER": self.peer(collector),
            "PYTHONWARNINGS": "always:This process:DeprecationWarning"})
        self.begin(p, "exec", r"sentry.*BackgroundWorker")
        for pid in self.ask_all(p, "/?exec"):
            self.assertIn("event exec from %d" % pid, collector.text())
        self.reload(p, preload="yes")
        for pid in self.ask_all(p, "/?yes"):
            self.assertIn("event yes from %d" % pid, collector.text())
        self.end(p)

    def test_tcp(self):
        """A connection: auto names the peer, yes refuses, before-fork closes it."""
        peer = self.peer(Holder())
        p = self.app("tcp()", env={"TEST_PEER": peer})
        self.begin(p, "exec", r"connection to %s is open.*before-fork" % re.escape(peer))
        ports = [a["port"] for a in self.ask_all(p).values()]
        self.assertEqual(len(set(ports)), 2)
        ports = []
        self.life(p, lambda answers: ports.extend(a["port"] for a in answers.values()),
                  first={"before_fork": "libraries:close"})
        self.assertEqual(len(set(ports)), 4)
        self.end(p)
        self.refuses(self.app("tcp()", env={"TEST_PEER": peer}),
                     r"preload = yes, but a connection to %s" % re.escape(peer))


class Libraries(Preload):
    """Without a server."""

    @needs_module("prometheus_client")
    def test_prometheus(self):
        """Counters survive their workers; a gauge of living ones goes with them."""
        p = self.app("prometheus()", on_worker_exit="%s mark.py" % harness.PYTHON, files={
            "mark.py": ("import os\nfrom prometheus_client import multiprocess\n"
                        "multiprocess.mark_process_dead(int(os.environ['PREFORKD_WORKER_ID']))\n"
                        "with open('marked', 'a') as f:\n"
                        "    f.write(os.environ['PREFORKD_PID'] + '\\n')\n")})
        os.mkdir(p.path("metrics"))
        os.chmod(p.path("metrics"), 0o777)
        p.write_ini(env={"PROMETHEUS_MULTIPROC_DIR": p.path("metrics")})
        self.begin(p)

        def value(name):
            """As any worker shows it, which is said to live by that."""
            text = json.loads(p.text("/"))["text"]
            return float(re.search(r"^%s (.*)$" % name, text, re.M).group(1))

        def all_marked(old):
            """The command has ended for each of them."""
            harness.wait_until(lambda: old <= set(p.read("marked").split()), what="marked workers")
        old = set()
        for command in (None, ("recycle", "all"), ("reload",)):
            if command is not None:
                self.assertEqual(p.ctl(*command)[0], 0)
            p.wait_ready()
            before = value("asked_total") if old else 0
            for _ in range(20):
                p.text("/?count")
            self.ask_all(p)
            all_marked(old)
            self.assertEqual(value("asked_total"), before + 20)
            self.assertEqual(value("alive"), 2)
            old |= {str(pid) for pid in p.pids()}
        killed = p.pids()[0]
        harness.kill(killed)
        p.wait_log("pid %d .*ended unasked" % killed)
        p.wait_ready()
        self.ask_all(p)
        all_marked({str(killed)})
        self.assertEqual(value("alive"), 2)
        self.assertEqual(value("asked_total"), 60)
        self.assertEqual(p.stop(), 0)

    @needs_module("sqlalchemy")
    def test_sqlalchemy(self):
        """A pool with a connection: auto names the file, before-fork disposes of it."""
        p = self.app("sqlalchemy()")
        p.write_ini(env={"TEST_FILE": p.path("rows.sqlite")})
        self.begin(p, "exec", r"SQLite database %s is open.*before-fork" % p.path("rows.sqlite"))

        def own(answers):
            """No connection is older than its worker."""
            for pid, answer in answers.items():
                self.assertEqual(answer["made_by"], pid)
        own(self.ask_all(p))
        self.life(p, own, first={"before_fork": "libraries:close"})
        self.end(p)

    @needs_module("numpy")
    def test_numpy(self):
        """OpenBLAS ends its threads for a fork; no two workers draw the same numbers."""
        p = self.app("numpy()")
        self.begin(p)
        numbers = []

        def draw(answers):
            """The product takes the threads of the worker."""
            for answer in answers.values():
                numbers.append(answer["number"])
                self.assertEqual(answer["sum"], 300.0 ** 3)
        self.life(p, draw)
        self.assertEqual(len(set(numbers)), 6)
        self.end(p)

    @needs_module("opentelemetry.sdk")
    def test_opentelemetry(self):
        """Its thread is named; it starts it anew in a fork, so that yes is right."""
        p = self.app("opentelemetry()")
        p.write_ini(env={"TEST_FILE": p.path("spans")})
        self.begin(p, "exec", r"thread 'Otel\w*' runs")

        def exported(answers):
            """Each worker's spans are exported by itself."""
            for pid in answers:
                harness.wait_until(lambda: "span %d\n" % pid in p.read("spans"), what="a span")
        self.life(p, exported, first={"preload": "yes"})
        self.end(p)

    def test_queue_listener(self):
        """logging's thread is named, and works in workers that are exec'd."""
        p = self.app("queue_listener()")
        self.begin(p, "exec", r"thread '.+' runs.*preload = yes forks all the same")
        for pid in self.ask_all(p):
            p.wait_log("record from %d" % pid)
        self.end(p)

    @needs_module("gunicorn")
    def test_gunicorn_hooks(self):
        """post_fork and post_worker_init: once in each worker, not in the mold."""
        p = self.app("numpy()", wsgi="flask_app:app" if has_module("flask") else "plain:app",
                     gunicorn_config="g.py", worker_class="gthread", files={"g.py": (
                         "import os\n"
                         "def note(word):\n"
                         "    with open('hooks', 'a') as f:\n"
                         "        f.write('%s %d\\n' % (word, os.getpid()))\n"
                         "def post_fork(server, worker):\n    note('post_fork')\n"
                         "def post_worker_init(worker):\n    note('post_worker_init')\n")})
        self.begin(p)
        pids = set(p.pids())
        for command in (("recycle", "all"), ("reload",)):
            self.assertEqual(p.ctl(*command)[0], 0)
            p.wait_ready()
            pids |= set(p.pids())
        self.end(p)
        self.assertEqual(sorted(p.read("hooks").split("\n")), sorted([""] + [
            "%s %d" % (word, pid) for pid in pids for word in ("post_fork", "post_worker_init")]))

    @needs_module("fastapi", "starlette", "uvicorn")
    def test_fastapi(self):
        """warm-up of /docs and of a route in a thread; the lifespan is the workers'."""
        p = self.app("fastapi()", wsgi=None, asgi="libraries:fastapi()", worker_class="uvicorn",
                     warm_up="/docs /thread /openapi.json")
        p.write_ini(env={"TEST_FILE": p.path("notes")})
        self.begin(p)
        seen = []

        def own(answers):
            """One lifespan each."""
            for pid, answer in answers.items():
                seen.append(pid)
                self.assertEqual(answer["begun_by"], [pid])
        self.life(p, own)
        self.end(p)
        notes = p.read("notes").splitlines()
        self.assertEqual(sorted(n for n in notes if not n.startswith("thread")), sorted(
            "%s %d" % (word, pid) for pid in seen for word in ("begins", "ends")))
        # Two molds.
        self.assertEqual(len([n for n in notes if n.startswith("thread")]), 2)


@needs_module("django")
class Django(Preload):
    """admin, auth and sessions; the warm-up asks the database."""

    @classmethod
    def setUpClass(cls):
        """A database to be copied."""
        cls.folder = tempfile.TemporaryDirectory(prefix="pfd-django-")
        cls.database = os.path.join(cls.folder.name, "db.sqlite3")
        subprocess.run([harness.PYTHON, os.path.join(harness.APPS, "django_admin.py")], check=True,
                       env=harness.environment(TEST_FILE=cls.database))

    @classmethod
    def tearDownClass(cls):
        """Away."""
        cls.folder.cleanup()

    def project(self, **settings):
        """A preforkd with the project, not started."""
        env = settings.pop("env", {})
        settings.setdefault("wsgi", "django_admin:application")
        p = self.app("", warm_up="/ /admin/login/", **settings)
        shutil.copy(self.database, p.path("db.sqlite3"))
        p.write_ini(env=dict(env, TEST_FILE=p.path("db.sqlite3")))
        return p

    def warmed(self, answers):
        """Templates are there before the first page, a connection is not."""
        for answer in answers.values():
            self.assertIn("admin/login.html", answer["templates"])
            self.assertEqual(answer["connections"], [False])

    def cookie(self, answer, name):
        """name=value of a cookie that was set; servers write the header's name as they like."""
        headers = {key.lower(): value for key, value in answer.headers.items()}
        return re.search(name + r"=\w+", headers["set-cookie"]).group(0)

    def log_in(self, p):
        """A session that all workers know; its headers."""
        form = p.get("/admin/login/")
        token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', form.body).group(1)
        body = urllib.parse.urlencode({"csrfmiddlewaretoken": token, "username": "admin",
                                       "password": "secret", "next": "/admin/"})
        answer = p.get("/admin/login/", method="POST", body=body, headers={
            "Cookie": self.cookie(form, "csrftoken"),
            "Content-Type": "application/x-www-form-urlencoded"})
        self.assertEqual(answer.status, 302, answer.body)
        return {"Cookie": self.cookie(answer, "sessionid")}

    def check(self, p, first=None):
        """A life at whose end somebody logs in."""
        self.life(p, self.warmed, "/loaded", first)
        headers = self.log_in(p)
        pids, visits = set(), 0
        while pids != set(p.pids()):
            self.assertIn("Site administration", p.text("/admin/", headers=headers))
            answer = json.loads(p.text("/", headers=headers))
            pids.add(answer["pid"])
            visits += 1
            self.assertEqual((answer["visits"], answer["users"]), (visits, 1))
        self.end(p)

    def test_wsgi(self):
        """Django closes the connection at the end of the warm-up's request."""
        p = self.project()
        self.begin(p)
        self.check(p)

    @needs_module("uvicorn")
    def test_asgi(self):
        """The same with a thread for each request, which ends with it."""
        p = self.project(wsgi=None, asgi="django_admin:asgi", worker_class="uvicorn")
        self.begin(p)
        self.check(p)

    def test_kept_connection(self):
        """CONN_MAX_AGE: the finding names the file; before-fork closes it."""
        p = self.project(env={"TEST_MAX_AGE": "600"})
        self.begin(p, "exec", r"SQLite database %s is open" % p.path("db.sqlite3"))
        self.check(p, first={"before_fork": "django_admin:close_connections"})


if __name__ == "__main__":
    harness.main()
