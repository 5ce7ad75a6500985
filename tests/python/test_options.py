#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Section [server], TLS, general settings, and gunicorn's configuration file with its hooks."""

import http.client
import os
import signal
import unittest

from fake_master import has_module
from support import (Background, Case, Client, certificate, client_context, connect,
                     for_each_kind, get, main, until)


class TLS:
    """Every server that can."""

    def test_tls(self):
        """certfile and keyfile work everywhere; plain text is refused; the drain loses nothing."""
        cert, key = certificate()
        worker = self.worker(server={"certfile": cert, "keyfile": key})
        worker.ready()
        context = client_context()
        client = Client(worker.address, context)
        self.addCleanup(client.close)
        for _ in range(3):
            self.assertEqual(client.get("/scheme"), (200, "https"))
        self.assertEqual(get(worker.address, "/scheme", context), (200, "https"))
        with self.assertRaises((OSError, http.client.HTTPException)):
            status, _ = get(worker.address, "/")
            raise http.client.HTTPException(status)
        client.close()
        worker.requests(4)
        slow = Background(get, worker.address, "/wait?1", context)
        worker.wait_for(lambda w: w.last("BUSY") == "1", "BUSY=1")
        worker.drain(8)
        self.assertEqual(slow.result(), (200, "hello"))
        self.assertEqual(worker.wait(), 0)

    def test_missing_file(self):
        """A certificate that is not there fails at boot."""
        worker = self.worker(server={"certfile": "/nonexistent/c.pem",
                                     "keyfile": "/nonexistent/k.pem"})
        text = worker.error()
        self.assertRegex(text, "nonexistent|No such file")
        self.assertEqual(worker.wait(), 1)


for_each_kind(globals(), TLS, lambda kind: kind.tls)


class Owned:
    """Every server: what preforkd does itself is refused with the key to use."""

    def test_owned(self):
        """All mistakes are told at once."""
        options = {
            "sync": {"bind": "listen", "max_requests": "max-requests", "workers": "workers",
                     "graceful-timeout": "graceful-timeout", "raw_env": "[env]",
                     "preload_app": "preload", "pidfile": "pidfile", "user": "user"},
            "uvicorn": {"host": "listen", "fd": "listen", "workers": "workers",
                        "limit-max-requests": "max-requests", "timeout_keep_alive": "keepalive",
                        "timeout_graceful_shutdown": "graceful-timeout", "reload": "preforkctl"},
            "hypercorn": {"bind": "listen", "workers": "workers", "max_requests": "max-requests",
                          "graceful-timeout": "graceful-timeout", "umask": "umask"},
            "waitress": {"listen": "listen", "threads": "threads", "certfile": "proxy",
                         "connection_limit": "worker-connections",
                         "unix_socket_perms": "socket-mode"},
            "stdlib": {"certfile": "no TLS"},
        }[self.kind.name]
        worker = self.worker(server={name: "1" for name in options})
        lines = worker.error().split("\n")
        self.assertEqual(worker.wait(), 1)
        text = "\n".join(lines)
        for name, instead in options.items():
            line = next((li for li in lines if name + " is preforkd's" in li), "")
            if not line:
                # Not every version has every option: then it is unknown.
                self.assertIn("no option %s" % name, text)
                continue
            self.assertIn(instead, line)

    def test_typo(self):
        """The nearest legal name."""
        name, near = {
            "sync": ("forwarded_allow_ip", "forwarded-allow-ips"),
            "uvicorn": ("root-pat", "root-path"), "hypercorn": ("root_pat", "root-path"),
            "waitress": ("url_schem", "url-scheme"), "stdlib": ("certfiles", ""),
        }[self.kind.name]
        worker = self.worker(server={name: "1"})
        text = worker.error()
        self.assertIn("no option %s" % name, text)
        self.assertIn("did you mean %s?" % near if near else "stdlib", text)

    def test_bad_value(self):
        """A value of the wrong type."""
        name = {"sync": "limit_request_line", "uvicorn": "proxy_headers",
                "hypercorn": "h2_max_concurrent_streams", "waitress": "recv_bytes",
                "stdlib": None}[self.kind.name]
        if name is None:
            self.skipTest("has no options")
        worker = self.worker(server={name: "perhaps"})
        self.assertIn("%s = perhaps:" % name, worker.error())


for_each_kind(globals(), Owned, lambda kind: kind.name in (
    "sync", "uvicorn", "hypercorn", "waitress", "stdlib"))


@unittest.skipUnless(has_module("gunicorn"), "gunicorn is not installed")
class Gunicorn(Case):
    """gunicorn's own options and its file."""

    def gunicorn(self, **settings):
        """A gthread worker."""
        settings.setdefault("worker_class", "gthread")
        return self.start(settings.pop("app", "plain:app"), **settings)

    def test_options(self):
        """Options with '-' and '_', of several types, take effect."""
        log = os.path.join(self.folder(), "access")
        worker = self.gunicorn(server={"accesslog": log, "access-log-format": "%(m)s<%(U)s>",
                                       "limit-request-line": "100", "capture_output": "no",
                                       "forwarded-allow-ips": "127.0.0.1,::1"})
        worker.ready()
        self.assertEqual(get(worker.address, "/env")[0], 200)
        self.assertIn(get(worker.address, "/" + "x" * 200)[0], (400, 414))
        worker.requests(1)
        with open(log) as text:
            self.assertTrue(text.read().startswith("GET</env>"))

    def test_reopen(self):
        """REOPEN makes gunicorn open its log files anew."""
        log = os.path.join(self.folder(), "access")
        for worker_class in ("sync", "gthread"):
            with self.subTest(worker_class=worker_class):
                worker = self.gunicorn(worker_class=worker_class, server={"accesslog": log})
                worker.ready()
                get(worker.address)
                worker.requests(1)
                os.rename(log, log + ".1")
                worker.send("REOPEN=1")
                until(lambda: os.path.exists(log), "the new file")
                get(worker.address, "/pid")
                worker.requests(2)
                with open(log) as text:
                    self.assertIn("/pid", text.read())

    def test_general_settings(self):
        """threads, keepalive, worker-connections, workers reach the server."""
        worker = self.gunicorn(threads=3, keepalive=0, workers=4)
        worker.ready()
        self.assertEqual(get(worker.address, "/multi"), (200, "True True"))
        client = Client(worker.address)
        client.request("GET", "/")
        self.assertEqual(client.getresponse().getheader("Connection"), "close")
        client.close()
        clients = [Background(get, worker.address, "/wait?1") for _ in range(3)]
        worker.wait_for(lambda w: w.last("BUSY") == "3", "BUSY=3")
        for client in clients:
            client.result()

    def test_sync_with_threads(self):
        """sync with threads is gthread, as with gunicorn."""
        worker = self.gunicorn(worker_class="sync", threads=2)
        message = worker.ready()
        self.assertTrue(message["SERVER"].endswith(" gthread"), message)
        self.assertNotIn("SYNC", message)

    def test_no_hidden_settings(self):
        """Neither ./gunicorn.conf.py nor GUNICORN_CMD_ARGS is read."""
        folder = self.folder()
        self.write(folder, "gunicorn.conf.py", "raise SystemExit('read')\n")
        self.write(folder, "mine.py", "from plain import app\n")
        worker = self.gunicorn(app="mine:app", cwd=folder,
                               env={"GUNICORN_CMD_ARGS": "--nonsense", "PYTHONPATH": os.path.join(
                                   os.path.dirname(os.path.abspath(__file__)), "apps")})
        worker.ready()
        self.assertEqual(get(worker.address), (200, "hello"))

    HOOKS = """
import os
def note(text):
    os.write(1, (text + "\\n").encode())
def post_fork(server, worker): note("post_fork %d %s" % (worker.pid, server.pid))
def post_worker_init(worker): note("post_worker_init")
def pre_request(worker, req): note("pre_request " + req.uri)
def post_request(worker, req, environ, resp): note("post_request %s" % resp.status)
def worker_exit(server, worker): note("worker_exit")
def worker_abort(worker): note("worker_abort")
def on_starting(server): note("on_starting")
def child_exit(server, worker): note("child_exit")
bind = "0.0.0.0:1"
workers = 17
max_requests = 1
threads = 3
raw_env = ["FROM_FILE=yes"]
accesslog = "-"
something_else = object()
"""

    def test_hooks(self):
        """Worker hooks run; what does not apply is named once."""
        path = self.write(self.folder(), "conf.py", self.HOOKS)
        for worker_class in ("sync", "gthread", "gevent"):
            if worker_class == "gevent" and not has_module("gevent"):
                continue
            with self.subTest(worker_class=worker_class):
                worker = self.gunicorn(worker_class=worker_class, gunicorn_config=path)
                worker.ready()
                self.assertEqual(get(worker.address, "/pid"), (200, str(worker.pid)))
                self.assertIn('"FROM_FILE": "yes"', get(worker.address, "/env")[1])
                worker.drain(5)
                self.assertEqual(worker.wait(), 0)
                text = worker.output()
                for line in ("post_fork %d %d" % (worker.pid, os.getpid()), "post_worker_init",
                             "pre_request /pid", "post_request 200 OK", "worker_exit"):
                    self.assertIn(line + "\n", text)
                for name in ("on_starting", "child_exit"):
                    self.assertNotIn(name + "\n", text)
                notes = [li for li in text.splitlines() if "do not apply" in li]
                self.assertEqual(len(notes), 1, text)
                for name in ("bind (use listen", "workers (", "max_requests (", "on_starting (",
                             "child_exit (use on-worker-exit"):
                    self.assertIn(name, notes[0])
                for name in ("threads", "raw_env", "accesslog", "something_else", "post_fork"):
                    self.assertNotIn(name + " (", notes[0])
                self.assertIn("GET /pid", text)

    def test_ini_wins(self):
        """The ini's keys are stronger than the file's, which are stronger than the defaults."""
        path = self.write(self.folder(), "conf.py", "accesslog = '/nonexistent/x'\nkeepalive = 0\n")
        worker = self.gunicorn(gunicorn_config=path, keepalive=5, server={"accesslog": "-"})
        worker.ready()
        client = Client(worker.address)
        client.get("/")
        self.assertIsNotNone(client.sock)
        client.close()

    def test_abort_hook(self):
        """worker_abort runs after the stacks are printed."""
        path = self.write(self.folder(), "conf.py", self.HOOKS)
        worker = self.gunicorn(worker_class="sync", gunicorn_config=path)
        worker.ready()
        Background(get, worker.address, "/sleep?30")
        until(lambda: "inside /sleep" in worker.output(), "the application's call")
        worker.kill(signal.SIGABRT)
        until(lambda: "worker_abort\n" in worker.output(), "the hook")
        self.assertIn("plain.py", worker.late_output())

    def test_broken_file(self):
        """A file that raises, is missing, or holds rubbish."""
        folder = self.folder()
        for text, want in (("x = 1\nraise KeyError('oh')\n", "KeyError: 'oh'"),
                           ("limit_request_line = 'many'\n", "limit_request_line = 'many'"),
                           ("pre_request = 3\n", "pre_request = 3")):
            with self.subTest(text=text):
                worker = self.gunicorn(gunicorn_config=self.write(folder, "conf.py", text))
                self.assertIn(want, worker.error())
                self.assertEqual(worker.wait(), 1)
        worker = self.gunicorn(gunicorn_config=os.path.join(folder, "none.py"))
        self.assertIn("No such file", worker.error())

    def test_own_classes(self):
        """Classes of users, by dotted path, from the working directory."""
        for name, answer, sync in (("Thread", "hello", None), ("Sync", "hello", "1"),
                                   ("Strange", "strange", None)):
            with self.subTest(name=name):
                worker = self.gunicorn(worker_class="myworkers." + name, threads=2
                                       if name == "Thread" else 0)
                message = worker.ready()
                self.assertTrue(message["SERVER"].endswith(" myworkers." + name), message)
                self.assertEqual(message.get("SYNC"), sync)
                for _ in range(3):
                    self.assertEqual(get(worker.address), (200, answer))
                worker.requests(3)
                worker.wait_beats(2)
                worker.drain(5)
                self.assertEqual(worker.wait(), 0)

    @unittest.skipUnless(has_module("uvicorn"), "uvicorn is not installed")
    def test_uvicorn_worker_alias(self):
        """An ASGI class under wsgi = is refused."""
        name = "uvicorn_worker" if has_module("uvicorn_worker") else "uvicorn.workers"
        worker = self.gunicorn(worker_class=name + ".UvicornWorker")
        self.assertIn("serves ASGI applications", worker.error())


@unittest.skipUnless(has_module("uvicorn"), "uvicorn is not installed")
class Uvicorn(Case):
    """uvicorn's own options."""

    def uvicorn(self, **settings):
        """A worker."""
        return self.start(settings.pop("app", "plain:asgi"), kind="asgi", worker_class="uvicorn",
                          **settings)

    def test_options(self):
        """Options of several types take effect."""
        worker = self.uvicorn(server={"root_path": "/shop", "access-log": "no",
                                      "headers": "X-Shop: yes", "server_header": "off",
                                      "limit-concurrency": "50"}, keepalive=0.5)
        worker.ready()
        client = Client(worker.address)
        client.request("GET", "/root")
        response = client.getresponse()
        self.assertEqual(response.read(), b"/shop")
        self.assertEqual(response.getheader("X-Shop"), "yes")
        self.assertIsNone(response.getheader("Server"))
        self.assertEqual(client.sock.recv(1), b"")
        client.close()
        self.assertNotIn("GET /root", worker.output())

    def test_words(self):
        """Options with a fixed set of words."""
        for name in ("loop", "http", "lifespan", "interface"):
            with self.subTest(name=name):
                worker = self.uvicorn(server={name: "nonsense"})
                self.assertIn("%s = nonsense: one of" % name, worker.error())

    def test_asgi2_and_factories(self):
        """Older applications and factories."""
        for app in ("plain:asgi2", "plain:make_asgi()"):
            with self.subTest(app=app):
                worker = self.uvicorn(app=app)
                worker.ready()
                self.assertEqual(get(worker.address), (200, "hello"))
                worker.requests(1)

    def test_unused(self):
        """Settings without meaning are named."""
        worker = self.uvicorn(threads=4, worker_connections=10)
        worker.ready()
        self.assertIn("threads, worker-connections have no meaning for uvicorn", worker.output())


@unittest.skipUnless(has_module("hypercorn"), "hypercorn is not installed")
class Hypercorn(Case):
    """hypercorn's own options."""

    def test_options(self):
        """Options of several types take effect."""
        log = os.path.join(self.folder(), "access")
        worker = self.start("plain:asgi", kind="asgi", worker_class="hypercorn", keepalive=0.5,
                            server={"include-server-header": "no", "accesslog": log,
                                    "h2_max_concurrent_streams": "7",
                                    "server_names": "localhost, example.org"})
        worker.ready()
        client = Client(worker.address)
        client.request("GET", "/")
        response = client.getresponse()
        self.assertEqual(response.read(), b"hello")
        self.assertIsNone(response.getheader("Server"))
        client.close()
        # hypercorn 0.13 forgets the keep-alive timeout after the first request: ask nothing.
        with connect(worker.address) as silent:
            self.assertEqual(silent.recv(1), b"")
        self.assertTrue(os.path.getsize(log))

    def test_asgi2(self):
        """Older applications."""
        worker = self.start("plain:asgi2", kind="asgi", worker_class="hypercorn")
        worker.ready()
        self.assertEqual(get(worker.address), (200, "hello"))
        worker.requests(1)


@unittest.skipUnless(has_module("waitress"), "waitress is not installed")
class Waitress(Case):
    """waitress's own options."""

    def test_options(self):
        """Options of several types take effect."""
        worker = self.start("plain:app", worker_class="waitress", worker_connections=20,
                            server={"url-scheme": "https", "ident": "shop",
                                    "expose_tracebacks": "yes"})
        worker.ready()
        client = Client(worker.address)
        client.request("GET", "/scheme")
        response = client.getresponse()
        self.assertEqual(response.read(), b"https")
        self.assertEqual(response.getheader("Server"), "shop")
        client.close()
        self.assertIn("asked to fail", get(worker.address, "/fail")[1])


if __name__ == "__main__":
    main()
