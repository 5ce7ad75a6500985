# SPDX-License-Identifier: MIT
"""gunicorn's gevent workers, with gunicorn's HTTP or gevent's own.

gunicorn's loop is a greenlet that looks at the world once a second. A drain is a greenlet of its
own, which closes the doors, waits for the connections, and ends the loop.
"""

import sys
from time import monotonic

from ..farewell import BUSY, FRESH, IDLE, Farewell, stop_reading
from .base import import_all
from .gunicorn_common import Counting

# Longest time between two heartbeats.
_TICK = 1.0


class Drained(BaseException):
    """Ends gunicorn's loop from its sleep."""


class _Closed:
    """What is left of a listener."""

    def __init__(self, name):
        """Its address."""
        self.getsockname = lambda: name


class Gevent(Counting):
    """gunicorn's HTTP."""

    preforkd_async = None
    preforkd_draining = False

    @classmethod
    def preforkd_preload(cls):
        """What gevent imports when a name is looked up."""
        import_all("gevent.resolver.thread", "gevent.threadpool", "gevent.util")

    def init_process(self):
        """What is known of the connections, by their greenlets."""
        self.preforkd_open = {}
        self.preforkd_waits = {}    # greenlet -> (was there a request before, gevent.Timeout)
        self.preforkd_servers = []
        super().init_process()

    def patch(self):
        """Older gunicorns leave two owners of one descriptor; one is enough."""
        before = list(self.sockets)
        super().patch()
        for listener in before:
            if listener not in self.sockets and listener.fileno() >= 0:
                listener.detach()

    def run(self):
        """Heartbeats by a greenlet of their own, since the loop has its own ideas of time."""
        import gevent
        self.preforkd_current = gevent.getcurrent
        self.preforkd_main = gevent.getcurrent()
        self.preforkd_async = gevent.get_hub().loop.async_()
        self.preforkd_async.start(gevent.spawn, self.preforkd.turn)
        beat = self.preforkd.settings.beat
        if beat:
            gevent.spawn(self.preforkd_beat, min(beat, _TICK))
        self.preforkd_know_servers()
        self.preforkd_runs = True
        try:
            super().run()
        except Drained:
            pass
        finally:
            self.preforkd_runs = False

    def preforkd_know_servers(self):
        """gunicorn keeps its servers to itself."""
        module = next(sys.modules[base.__module__] for base in type(self).__mro__
                      if base.__module__ == "gunicorn.workers.ggevent")
        if self.server_class is not None:
            self.server_class = _known(self.server_class, self.preforkd_servers)
        else:
            module.StreamServer = _known(module.StreamServer, self.preforkd_servers)

    def preforkd_beat(self, interval):
        """The greenlet."""
        import gevent
        while True:
            gevent.sleep(interval)
            self.preforkd.turn()

    def preforkd_wake(self):
        """gevent's only thread-safe call."""
        if self.preforkd_async is not None:
            self.preforkd_async.send()

    def handle(self, listener, client, addr):
        """One connection."""
        if self.preforkd_draining:
            # Accepted before the doors were closed; gunicorn asks the listener for its address.
            listener = _Closed(self.preforkd_names[listener])
        greenlet = self.preforkd_current()
        self.preforkd_open[greenlet] = client
        try:
            super().handle(listener, client, addr)
        finally:
            del self.preforkd_open[greenlet]
            self.preforkd_waits.pop(greenlet, None)

    def timeout_ctx(self):
        """Around the wait for a request; gunicorn closes the connection when it is over."""
        timeout = super().timeout_ctx()
        greenlet, waits = self.preforkd_current(), self.preforkd_waits
        waits[greenlet] = greenlet in waits, timeout
        return timeout

    def preforkd_drain(self):
        """In any greenlet."""
        if not self.preforkd_draining:
            import gevent
            self.preforkd_names = {sock: sock.getsockname() for sock in self.sockets}
            self.preforkd_draining = True
            gevent.spawn(self.preforkd_run_drain)

    def preforkd_run_drain(self):
        """The greenlet: whatever goes wrong, the worker ends."""
        import gevent
        agent = self.preforkd.agent
        try:
            for server in self.preforkd_servers:
                server.close()
            agent.stopped_accepting()
            farewell = Farewell(agent)
            while self.preforkd_left() and not agent.last_call():
                began = monotonic()
                for connection in farewell.due(self.preforkd_connections(), self.preforkd_fileno):
                    stop_reading(self.preforkd_fileno(connection))
                gevent.sleep(farewell.pause(began))
        finally:
            # What is left is gunicorn's business.
            self.cfg.settings["graceful_timeout"].value = agent.grace_left() / 2
            self.alive = False
        if not self.preforkd_left():
            gevent.get_hub().loop.run_callback(self.preforkd_end_loop)

    def preforkd_end_loop(self):
        """In the hub: the loop sleeps, unless it has just ended by itself."""
        if self.preforkd_runs:
            self.preforkd_main.throw(Drained)

    def preforkd_left(self):
        """True while there are connections."""
        return any(server.pool.free_count() != server.pool.size
                   for server in self.preforkd_servers)

    def preforkd_connections(self):
        """Each connection with its state."""
        for greenlet in list(self.preforkd_open):
            before, timeout = self.preforkd_waits.get(greenlet, (False, None))
            if timeout is None:
                # A TLS handshake; without keep-alive nothing is known of it.
                yield greenlet, FRESH if self.cfg.keepalive else BUSY
            elif timeout.pending:
                yield greenlet, IDLE if before else FRESH

    def preforkd_fileno(self, greenlet):
        """The descriptor of a connection, or -1."""
        client = self.preforkd_open.get(greenlet)
        return client.fileno() if client is not None else -1


class GeventPyWSGI(Gevent):
    """gevent's own HTTP server, which passes nothing through handle_request()."""

    def run(self):
        """Requests are counted where gevent handles them."""
        agent, handlers = self.preforkd.agent, self.preforkd_open

        class Handler(self.wsgi_handler):
            """One connection."""

            preforkd_state = FRESH

            def handle(self):
                """All of its requests."""
                handlers[self] = self
                try:
                    super().handle()
                finally:
                    del handlers[self]

            def handle_one_response(self):
                """One request."""
                serial = agent.counter.begin()
                self.preforkd_state = BUSY
                try:
                    super().handle_one_response()
                finally:
                    self.preforkd_state = IDLE
                    agent.counter.end(serial)

            def finalize_headers(self):
                """The head of the response: the last one says so."""
                if agent.closing and self.code != 101:
                    self.close_connection = True
                    self.response_headers = [pair for pair in self.response_headers
                                             if pair[0].lower() != b"connection"]
                    self.response_headers.append((b"Connection", b"close"))
                super().finalize_headers()

        self.wsgi_handler = Handler
        super().run()

    def preforkd_connections(self):
        """Each connection with its state."""
        return [(handler, handler.preforkd_state) for handler in list(self.preforkd_open)]

    def preforkd_fileno(self, handler):
        """The descriptor of a connection, or -1."""
        sock = getattr(handler, "socket", None)
        return sock.fileno() if sock is not None else -1


def _known(native, found):
    """A class of gevent's servers each of which is remembered."""
    class Server(native):
        """One listening socket."""

        def __init__(self, *args, **kwargs):
            """As gevent makes it."""
            super().__init__(*args, **kwargs)
            found.append(self)

    return Server
