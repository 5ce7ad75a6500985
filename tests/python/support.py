# SPDX-License-Identifier: MIT
"""The servers under test, and clients that notice every loss."""

import http.client
import os
import random
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import fake_master
from fake_master import PATIENCE, Worker, has_module

# Processes that share the tests of a long file.
_PARTS = 3


class Kind:
    """One way to serve, and what is to be expected of it."""

    def __init__(self, name, kind, worker_class, needs, **traits):
        """needs are the modules without which it is skipped."""
        self.name = name
        self.kind = kind
        self.worker_class = worker_class
        self.needs = needs
        self.app = "plain:app" if kind == "wsgi" else "plain:asgi"
        self.sync = traits.get("sync", False)           # one request at a time
        self.pool = traits.get("pool", False)           # threads that can all hang
        self.loop = traits.get("loop", False)           # an event loop that can hang
        self.keepalive = traits.get("keepalive", True)
        self.tls = traits.get("tls", True)
        self.hooks = traits.get("hooks", False)         # gunicorn's worker hooks run
        self.settings = traits.get("settings", {})
        self.server = traits.get("server", {})          # [server] that it always gets
        self.product = traits.get("product", name)      # first word of SERVER=

    def worker(self, **settings):
        """Starts a worker of this kind."""
        merged = dict(self.settings)
        if self.server or "server" in settings:
            merged["server"] = dict(self.server, **settings.pop("server", {}))
        merged.update(settings)
        app = merged.pop("app", self.app)
        return Worker(app, kind=self.kind, worker_class=self.worker_class, **merged)


def _uvicorn_worker():
    """The module of uvicorn's class for gunicorn, which moved."""
    return "uvicorn_worker" if has_module("uvicorn_worker") else "uvicorn.workers"


KINDS = [
    Kind("sync", "wsgi", "sync", ["gunicorn"], sync=True, keepalive=False, hooks=True,
         product="gunicorn"),
    Kind("gthread", "wsgi", "gthread", ["gunicorn"], pool=True, hooks=True, product="gunicorn",
         settings={"threads": 2}),
    Kind("gevent", "wsgi", "gevent", ["gunicorn", "gevent"], loop=True, hooks=True,
         product="gunicorn"),
    Kind("gevent_pywsgi", "wsgi", "gevent_pywsgi", ["gunicorn", "gevent"], loop=True,
         product="gunicorn"),
    Kind("waitress", "wsgi", "waitress", ["waitress"], pool=True, tls=False,
         settings={"threads": 2}),
    Kind("stdlib", "wsgi", "stdlib", [], pool=True, keepalive=False, tls=False,
         settings={"threads": 2}),
    Kind("uvicorn", "asgi", "uvicorn", ["uvicorn"], loop=True, server={"loop": "asyncio"}),
    Kind("uvicorn_uvloop", "asgi", "uvicorn", ["uvicorn", "uvloop", "httptools"], loop=True,
         product="uvicorn", server={"loop": "uvloop", "http": "httptools"}),
    Kind("hypercorn", "asgi", "hypercorn", ["hypercorn"], loop=True),
    Kind("hypercorn_uvloop", "asgi", "hypercorn", ["hypercorn", "uvloop"], loop=True,
         product="hypercorn", server={"worker_class": "uvloop"}),
    Kind("uvicorn_worker", "asgi", _uvicorn_worker() + ".UvicornWorker",
         ["gunicorn", "uvicorn", _uvicorn_worker()], loop=True, product="gunicorn"),
    Kind("gunicorn_asgi", "asgi", "asgi", ["gunicorn", "gunicorn.workers.gasgi"], loop=True,
         product="gunicorn", server={"asgi_loop": "asyncio"}),
    Kind("gunicorn_asgi_uvloop", "asgi", "asgi", ["gunicorn", "gunicorn.workers.gasgi", "uvloop"],
         loop=True, product="gunicorn", server={"asgi_loop": "uvloop"}),
]

_missing = {}


def missing(kind):
    """The first module that a kind lacks, or None."""
    for name in kind.needs:
        if name not in _missing:
            try:
                _missing[name] = not has_module(name)
            except Exception:
                _missing[name] = True
        if _missing[name]:
            return name
    return None


def for_each_kind(namespace, mixin, wanted=lambda kind: True):
    """Makes a TestCase of the mixin for every kind of server that is wanted."""
    for kind in KINDS:
        if not wanted(kind):
            continue
        body = {"kind": kind, "__module__": namespace["__name__"], "__doc__": mixin.__doc__}
        case = type("%s_%s" % (mixin.__name__, kind.name), (mixin, Case), body)
        lacking = missing(kind)
        if lacking:
            case = unittest.skip("%s is not installed" % lacking)(case)
        namespace[case.__name__] = case


class Case(unittest.TestCase):
    """A test that starts workers."""

    kind = None

    def worker(self, **settings):
        """A worker of the kind under test, ended with the test."""
        worker = self.kind.worker(**settings)
        self.addCleanup(worker.close)
        return worker

    def start(self, *args, **settings):
        """Any worker, ended with the test."""
        worker = Worker(*args, **settings)
        self.addCleanup(worker.close)
        return worker

    def folder(self):
        """A directory for this test."""
        path = tempfile.mkdtemp(prefix="preforkd-test-")
        self.addCleanup(shutil.rmtree, path, True)
        return path

    def write(self, folder, name, text):
        """A file in it; its path."""
        path = os.path.join(folder, name)
        with open(path, "w") as out:
            out.write(text)
        return path


def until(condition, what, patience=PATIENCE):
    """For what has no event to wait for: looks again and again, with a deadline."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("%s does not happen" % what)
        time.sleep(0.01)


def connect(address, patience=PATIENCE):
    """A connected socket of either family."""
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    sock.settimeout(patience)
    sock.connect(address)
    return sock


class Client(http.client.HTTPConnection):
    """An HTTP client that also speaks to unix sockets and TLS."""

    def __init__(self, address, context=None):
        """context makes it TLS."""
        super().__init__("localhost", timeout=PATIENCE)
        self._address = address
        self._context = context

    def connect(self):
        """To the given address."""
        self.sock = connect(self._address)
        # Assigned first, so that close() finds it when the handshake fails.
        if self._context is not None:
            self.sock = self._context.wrap_socket(self.sock, server_hostname="localhost")

    def get(self, path="/", body=None, **headers):
        """One request; (status, text)."""
        self.request("POST" if body is not None else "GET", path, body, headers)
        response = self.getresponse()
        return response.status, response.read().decode()


def get(address, path="/", context=None, body=None):
    """One request on a connection of its own; (status, text)."""
    client = Client(address, context)
    try:
        return client.get(path, body, Connection="close")
    finally:
        client.close()


class Background(threading.Thread):
    """A function in a thread; result() gives what it returned or raises what it raised."""

    def __init__(self, function, *args):
        """Starts at once."""
        super().__init__(daemon=True)
        self._function, self._args = function, args
        self._value = self._error = None
        self.start()

    def run(self):
        """The thread."""
        try:
            self._value = self._function(*self._args)
        except BaseException as exc:
            self._error = exc

    def result(self, patience=PATIENCE):
        """Waits for the end."""
        self.join(patience)
        if self.is_alive():
            raise AssertionError("still running")
        if self._error is not None:
            raise self._error
        return self._value


class Load:
    """Clients that open a connection per request, some of them slowly, until told to stop."""

    def __init__(self, address, clients=6, path="/"):
        """Starts at once."""
        self._address = address
        self._request = ("GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                         % path).encode()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.served = 0
        self.errors = []
        self._threads = [threading.Thread(target=self._client, args=(i,), daemon=True)
                         for i in range(clients)]
        for thread in self._threads:
            thread.start()

    def _client(self, number):
        """One client; every third one waits between connecting and asking."""
        pick = random.Random(number)
        while not self._stop.is_set():
            try:
                self._one(pick.uniform(0, 0.05) if number % 3 == 0 else 0)
            except Exception as exc:
                with self._lock:
                    self.errors.append("client %d: %r" % (number, exc))
            else:
                with self._lock:
                    self.served += 1

    def _one(self, pause):
        """One request, which must be answered completely."""
        with connect(self._address) as sock:
            if pause:
                time.sleep(pause)
            sock.sendall(self._request)
            data = b""
            while True:
                part = sock.recv(65536)
                if not part:
                    break
                data += part
            head, _, body = data.partition(b"\r\n\r\n")
            if b" 200 " not in head.split(b"\r\n")[0] or body != b"hello":
                raise AssertionError("answer %r" % data[:200])

    def wait_more(self, count):
        """Waits until so many more requests were answered."""
        target = self.served + count
        until(lambda: self.served >= target or self.errors, "%d requests" % count)

    def stop(self):
        """Ends all clients; the errors."""
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        return self.errors


_certificate = []


def certificate():
    """Paths of a self-signed certificate for localhost and its key."""
    if not _certificate:
        if shutil.which("openssl") is None:
            raise unittest.SkipTest("openssl is not installed")
        folder = tempfile.mkdtemp(prefix="preforkd-test-")
        _certificate.extend([os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")])
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                        "-keyout", _certificate[1], "-out", _certificate[0]],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        unittest.addModuleCleanup(_forget_certificate, folder)
    return tuple(_certificate)


def _forget_certificate(folder):
    """At the end of the module."""
    del _certificate[:]
    shutil.rmtree(folder, True)


def client_context():
    """A TLS context that trusts the certificate."""
    context = ssl.create_default_context(cafile=certificate()[0])
    return context


class _Part(unittest.TestLoader):
    """Every so many-th class of a file."""

    def __init__(self, number, parts):
        """number: from 0 to parts - 1."""
        super().__init__()
        self._number = number
        self._parts = parts

    def loadTestsFromModule(self, module, *args, **kwargs):
        """As unittest's."""
        names = sorted(name for name, value in vars(module).items()
                       if isinstance(value, type) and issubclass(value, unittest.TestCase))
        return unittest.TestSuite(
            self.loadTestsFromTestCase(getattr(module, name))
            for name in names[self._number::self._parts])


def _in_parts(path):
    """Runs the parts of a file beside each other: most of their time they wait for deadlines."""
    outputs = [tempfile.TemporaryFile() for _ in range(_PARTS)]
    parts = [subprocess.Popen([sys.executable, "-B", path],
                              env=dict(os.environ, PREFORKD_TEST_PART=str(number)),
                              stdout=output, stderr=subprocess.STDOUT)
             for number, output in enumerate(outputs)]
    results = [part.wait() for part in parts]
    for output in outputs:
        output.seek(0)
        sys.stderr.write(output.read().decode("utf-8", "replace"))
        output.close()
    sys.exit(max(1 if result else 0 for result in results))


def main(parts=False):
    """What every test file does when it is run; in parts when nobody asks for single tests."""
    number = os.environ.get("PREFORKD_TEST_PART")
    if parts and number is None and len(sys.argv) == 1:
        _in_parts(sys.argv[0])
    loader = unittest.defaultTestLoader if number is None else _Part(int(number), _PARTS)
    unittest.main(verbosity=int(os.environ.get("PREFORKD_TEST_VERBOSITY", "1")),
                  testLoader=loader)


__all__ = ["Background", "Case", "Client", "KINDS", "Kind", "Load", "certificate",
           "client_context", "connect", "fake_master", "for_each_kind", "get", "main", "missing",
           "until"]
