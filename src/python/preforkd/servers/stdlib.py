# SPDX-License-Identifier: MIT
"""The standard library's WSGI server with a pool of threads: for demonstrations.

HTTP/1.0, one request per connection, no TLS. It must be asked for.
"""

import collections
import os
import platform
import selectors
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from .. import options
from ..farewell import FRESH, LOOK, Farewell, stop_reading
from .base import TLS_NAMES, Progress, Server

DEFAULT_THREADS = 4

# A client that says nothing gives its thread back after this many seconds.
_CLIENT_TIMEOUT = 10

_TICK = 1.0

_OWNED = {name: "the stdlib server has no TLS, use another worker-class" for name in TLS_NAMES}


class _Handler(WSGIRequestHandler):
    """One connection with one request."""

    timeout = _CLIENT_TIMEOUT
    _serial = None

    def parse_request(self):
        """The request is here: it counts from now on."""
        good = super().parse_request()
        if good:
            self._serial = self.server.counter.begin()
            self.server.silent.discard(self.connection)
        return good

    def handle(self):
        """Until the response is written."""
        self.server.silent.add(self.connection)
        try:
            super().handle()
        except (ConnectionError, socket.timeout):
            pass
        finally:
            self.server.silent.discard(self.connection)
            if self._serial is not None:
                self.server.counter.end(self._serial)

    def log_message(self, format, *args):
        """Access log, for log-level = debug."""
        if self.server.verbose:
            super().log_message(format, *args)


class _WSGIServer(WSGIServer):
    """wsgiref's server around a socket that exists already."""

    def __init__(self, listener, counter, verbose):
        """Takes the place of bind and listen."""
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.counter = counter
        self.verbose = verbose
        self.silent = set()
        name = listener.getsockname()
        self.server_address = name
        is_inet = isinstance(name, tuple)
        self.server_name = name[0] if is_inet else "localhost"
        self.server_port = name[1] if is_inet else 80
        self.setup_environ()

    def get_request(self):
        """A unix client has no address; wsgiref wants one."""
        conn, addr = self.socket.accept()
        return conn, addr if isinstance(addr, tuple) else ("", 0)

    def handle_error(self, request, client_address):
        """One line less than a traceback for what clients do."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, socket.timeout)):
            super().handle_error(request, client_address)


class StdlibServer(Server):
    """wsgiref on the inherited sockets."""

    name = "stdlib"

    def __init__(self, agent, settings, listeners):
        """Nothing runs yet."""
        super().__init__(agent, settings, listeners)
        self._posted = collections.deque()
        self._wake_read = self._wake_write = -1
        self._servers = []
        self._jobs = 0
        self._done = 0
        self._done_lock = threading.Lock()
        self._farewell = None

    def prepare(self):
        """Has no options."""
        self.require_kind("wsgi")
        self.version = "stdlib %s" % platform.python_version()
        self.ignore_unused("worker_connections", "gunicorn_config")
        options.collect(self.settings.server, _OWNED, (), None, self.version)
        self._threads = self.settings.threads or DEFAULT_THREADS

    def serve(self, load):
        """Runs the accept loop in this thread."""
        app = load()
        self.check(app)
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        for listener in self.listeners:
            server = _WSGIServer(listener, self.agent.counter,
                                 self.settings.log_level == "debug")
            server.set_app(app)
            self._servers.append(server)
            self._selector.register(listener, selectors.EVENT_READ, server)
        self._progress = Progress(self.agent.counter, self._threads)
        self.agent.ready()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="worker") as pool:
            self._loop(pool)

    def _loop(self, pool):
        """Until the drain has nothing left to wait for."""
        beat = self.settings.beat
        tick = min(_TICK, beat) if beat else _TICK
        while True:
            while self._posted:
                self._posted.popleft()()
            self.agent.beat(self._healthy)
            if self._farewell is not None:
                if self._is_drained():
                    return
                tick = LOOK
            for key, _ in self._selector.select(tick):
                if key.data is not None:
                    self._accept(key.data, pool)
                else:
                    os.read(self._wake_read, 4096)

    def _accept(self, server, pool):
        """One connection into the pool."""
        try:
            conn, addr = server.get_request()
        except OSError:
            return
        self._jobs += 1
        pool.submit(self._process, server, conn, addr)

    def _process(self, server, conn, addr):
        """In a thread: the whole connection."""
        try:
            server.finish_request(conn, addr)
        except Exception:
            server.handle_error(conn, addr)
        finally:
            server.shutdown_request(conn)
            with self._done_lock:
                self._done += 1

    def _healthy(self):
        """The pool gets on, or has nothing to do."""
        return self._progress.healthy(self._done, self._jobs - self._done > self._threads)

    def post(self, function):
        """Runs function in the loop."""
        self._posted.append(function)
        try:
            os.write(self._wake_write, b"p")
        except OSError:
            pass

    def drain(self):
        """In the loop: closes the doors."""
        for server in self._servers:
            self._selector.unregister(server.socket)
            server.socket.close()
        self.agent.stopped_accepting()
        self._farewell = Farewell(self.agent)

    def _is_drained(self):
        """True when every connection is done; silent clients are cut off after a while."""
        silent = [(conn, FRESH) for server in self._servers for conn in list(server.silent)]
        for conn in self._farewell.due(silent, socket.socket.fileno):
            stop_reading(conn.fileno())
        return self._done >= self._jobs


create = StdlibServer
