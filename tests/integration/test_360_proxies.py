# SPDX-License-Identifier: MIT
"""Behind nginx and HAProxy, which keep connections to the workers and may not try again.

A proxy sends a request on an idle connection at the very moment when the worker at its other end
is told to end. With retries switched off whatever is lost then is a 502, 503 or 504 of the client.

The times have the order that an operator needs: the proxy gives an idle connection up before
drain-idle is over, and that is not longer than keepalive.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import unittest

import harness

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
PROXY_IDLE = 1                  # seconds that a proxy keeps an idle connection
DRAIN_IDLE = 3
KEEPALIVE = 6

NGINX = """\
daemon off;
%(user)s
worker_processes 1;
pid %(dir)s/pid;
error_log %(dir)s/errors info;
events {
    worker_connections 1000;
}
http {
    client_body_temp_path %(dir)s/body;
    proxy_temp_path %(dir)s/proxy;
    fastcgi_temp_path %(dir)s/fastcgi;
    uwsgi_temp_path %(dir)s/uwsgi;
    scgi_temp_path %(dir)s/scgi;
    map $status $is_bad {
        200 0;
        default 1;
    }
    log_format what '$status $request_method $upstream_status $upstream_bytes_received '
                    '$upstream_response_time';
    access_log %(dir)s/bad what if=$is_bad;
    upstream workers {
        server %(backend)s;
        keepalive 32;
        keepalive_timeout %(idle)ds;
    }
    server {
        listen 127.0.0.1:%(port)d;
        location / {
            proxy_pass http://workers;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_next_upstream off;
        }
    }
}
"""

HAPROXY = """\
global
    maxconn 1000
    log stdout format raw daemon
defaults
    mode http
    log global
    option httplog
    option dontlog-normal
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    retries 0
    no option redispatch
    http-reuse always
frontend clients
    bind 127.0.0.1:%(port)d
    default_backend workers
backend workers
    server preforkd %(backend)s pool-purge-delay %(idle)ds
"""


def program(name):
    """The path of a daemon, which users have no path to; or None."""
    return shutil.which(name, path=PATH)


class Proxy:
    """A proxy with configuration, port and folder of its own. Context manager."""

    name = config = None

    def __init__(self, p):
        """In front of a Preforkd."""
        self.dir = tempfile.mkdtemp(prefix="pfd-%s-" % self.name)
        self.port = harness.free_port()
        self.process = None
        values = {"dir": self.dir, "port": self.port, "backend": "%s:%d" % p.address(),
                  "idle": PROXY_IDLE, "user": "user root root;" if os.geteuid() == 0 else ""}
        with open(self.path("config"), "w", encoding="ascii") as file:
            file.write(self.config % values)

    def path(self, name):
        """A path in the folder."""
        return os.path.join(self.dir, name)

    def read(self, name):
        """A file of the folder, "" where there is none."""
        try:
            with open(self.path(name), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def argv(self):
        """The command line."""
        raise NotImplementedError

    def complaints(self):
        """The log lines of requests that had no good answer."""
        raise NotImplementedError

    def __enter__(self):
        """Returns when it answers."""
        with open(self.path("log"), "wb") as log:
            self.process = subprocess.Popen(self.argv(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, cwd=self.dir)
        try:
            harness.wait_until(self.is_ready, what=self.name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        """Ends it, by its process number."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(harness.stretched(10))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def is_ready(self):
        """Whether it answers; fails when it has ended."""
        if self.process.poll() is not None:
            raise AssertionError("%s ended:\n%s%s" % (self.name, self.read("log"),
                                                      self.read("errors")))
        try:
            return harness.get(("127.0.0.1", self.port), "/").status == 200
        except OSError:
            return False

    def load(self, path="/pid", **kw):
        """Clients that keep their connections to the proxy."""
        return harness.Load(("127.0.0.1", self.port), path=path, keepalive=True, **kw)


class Nginx(Proxy):
    """The last connection that became idle is used first; others rest until the time is over."""

    name, config = "nginx", NGINX

    def argv(self):
        """The command line."""
        return [program("nginx"), "-p", self.dir, "-c", self.path("config"), "-e",
                self.path("errors")]

    def complaints(self):
        """What clients got, and what nginx says of its upstream."""
        return self.read("bad").splitlines() + [
            line for line in self.read("errors").splitlines() if "upstream" in line]


class Haproxy(Proxy):
    """With http-reuse always even the first request of a client goes to a used connection."""

    name, config = "haproxy", HAPROXY

    def argv(self):
        """The command line."""
        return [program("haproxy"), "-db", "-f", self.path("config")]

    def complaints(self):
        """It logs only what was not normal."""
        return [line for line in self.read("log").splitlines() if " workers/" in line]


class Behind:
    """What every proxy is asked, with every kind of worker."""

    proxy = worker = None
    settings = {}

    def start(self, **kw):
        """preforkd with two workers."""
        settings = dict(worker_class=self.worker, workers=2, keepalive=KEEPALIVE,
                        drain_idle=DRAIN_IDLE, min_worker_lifetime=0, max_draining=100,
                        wsgi="plain:app")
        if self.worker == "uvicorn":
            settings.update(wsgi=None, asgi="plain:asgi")
        settings.update(kw)
        p = self.preforkd(**settings)
        p.wait_ready()
        return p

    def under_load(self, p, until):
        """Three kinds of clients while until(); then nobody may have lost anything."""
        with self.proxy(p) as proxy:
            # The busy ones keep workers and proxy at work. Those that make a worker block for a
            # moment let requests pile up unread on connections that look idle to it. The slow
            # ones make the number of connections that the proxy needs go up and down, so that
            # some rest until the proxy, or the end of the worker, closes them.
            kinds = [proxy.load(clients=4, pause=0),
                     proxy.load(clients=8, pause=0.05, path="/sleep?0.01"),
                     proxy.load(clients=24, pause=0.3)]
            with kinds[0], kinds[1], kinds[2]:
                until()
                # As long as that took: enough of each kind to tell.
                harness.wait_until(lambda: min(load.so_far() for load in kinds) > 100)
            complaints = proxy.complaints()
        results = [load.result for load in kinds]
        self.assertEqual([load.failed for load in kinds], [0, 0, 0], (complaints, results))
        self.assertEqual(complaints, [])

    def test_recycles(self):
        """max-requests, several times a second."""
        p = self.start(max_requests=150, max_requests_jitter=50)
        self.under_load(p, lambda: p.wait_status(
            lambda s: s["recycles"]["max-requests"] >= 40, 120))

    def test_reloads(self):
        """Six, one after another."""
        p = self.start()

        def reloads():
            """Each is over when all its workers serve."""
            for generation in range(2, 8):
                self.assertEqual(p.ctl("reload", timeout=60)[0], 0)
                p.wait_status(lambda s: s["generation"] == generation and
                              all(w["generation"] == generation for w in s["workers"]
                                  if w["state"] == "ready") and s["state"] == "running")
        self.under_load(p, reloads)


def pair(proxy, worker):
    """The tests of one proxy before one kind of worker."""
    module = "uvicorn" if worker == "uvicorn" else "gunicorn"
    case = type("%s_%s" % (proxy.__name__, worker), (Behind, harness.Case),
                {"__doc__": "%s before %s." % (proxy.name, worker), "proxy": proxy,
                 "worker": worker})
    case = unittest.skipIf(program(proxy.name) is None, "no %s here" % proxy.name)(case)
    return harness.needs_module(module)(case)


NginxUvicorn = pair(Nginx, "uvicorn")
NginxGthread = pair(Nginx, "gthread")
HaproxyUvicorn = pair(Haproxy, "uvicorn")
HaproxyGthread = pair(Haproxy, "gthread")


if __name__ == "__main__":
    harness.main()
