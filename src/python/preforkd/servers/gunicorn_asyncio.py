# SPDX-License-Identifier: MIT
"""gunicorn's worker classes that run an asyncio loop: uvicorn's, and gunicorn's own.

Imported for them only: asyncio takes 8 MB, which no other worker shall have.
"""

import asyncio
import sys
from time import monotonic

from .. import aio, wrap
from ..farewell import BUSY, FRESH, IDLE, LOOK
from .base import import_all
from .gunicorn_common import Common

# Close code of a websocket: the service restarts.
_RESTART = 1012


class Uvicorn(Common):
    """uvicorn's worker class, in uvicorn before 0.30 and in uvicorn_worker."""

    preforkd_kind = "asgi"

    @classmethod
    def preforkd_preload(cls):
        """What uvicorn imports for the options that the class has."""
        from .uvicorn import preload
        preload(cls.CONFIG_KWARGS)

    def _install_sigquit_handler(self):
        """SIGQUIT is the launcher's."""

    async def _serve(self):
        """uvicorn's server extended, by way of the name that the method looks up."""
        from .uvicorn import extend_server
        names = uvicorn_names(type(self))
        names["Server"] = extend_server(names["Server"], self.preforkd.agent,
                                        lambda server: bool(server.config.ssl))
        await super()._serve()

    def preforkd_wake(self):
        """Nothing waits for the pipe."""

    def preforkd_announce_close(self):
        """In the loop."""
        self.preforkd.uvicorn_server.announce_close()

    def preforkd_drain(self):
        """uvicorn's extension knows how."""
        self.preforkd.uvicorn_server.drain()


class NativeASGI(Common):
    """The ASGI worker of gunicorn 24 and newer."""

    preforkd_kind = "asgi"
    preforkd_app = None

    @classmethod
    def preforkd_preload(cls):
        """What it imports when it starts, and at its first websocket."""
        import_all("gunicorn.arbiter", "gunicorn.sock", "gunicorn.asgi.lifespan",
                   "gunicorn.asgi.websocket", "gunicorn.instrument.statsd", "gunicorn_h1c")
        if getattr(cls.preforkd.cfg, "asgi_loop", "auto") != "asyncio":
            import_all("uvloop")

    def preforkd_wrap(self, app):
        """Counted around the application."""
        self.preforkd_app = wrap.CountedASGI(app, self.preforkd.agent)
        return self.preforkd_app

    async def _serve(self):
        """The loop and the connections are known before the servers are made."""
        self.preforkd.aio = aio.Loop(self.preforkd.agent, self.loop)
        self.preforkd_watch = _Watch(type(self), self.preforkd_app)
        self.preforkd.agent.counter.connections = self.preforkd_watch.count
        self.preforkd_main = asyncio.current_task()
        await super()._serve()

    def preforkd_wake(self):
        """The loop looks at alive within a second."""

    def preforkd_announce_close(self):
        """In the loop."""
        self.preforkd_app.closing = True

    def preforkd_drain(self):
        """In the loop."""
        task = asyncio.ensure_future(self.preforkd_run_drain())
        task.add_done_callback(self.preforkd_drained)
        self.preforkd_task = task

    async def preforkd_run_drain(self):
        """gunicorn itself would close the doors on those who stand in them."""
        listeners, agent = list(self.sockets), self.preforkd.agent
        await self.preforkd.aio.close_doors(listeners)
        await self.preforkd.aio.wait_idle(listeners, self.preforkd_watch, self.cfg.is_ssl)
        await self.preforkd_watch.end(agent.grace_left() / 2)

    def preforkd_drained(self, _task):
        """The rest is gunicorn's, which sleeps and takes the cancellation for a waking."""
        self.cfg.settings["graceful_timeout"].value = self.preforkd.agent.grace_left() / 2
        if self.alive:
            self.alive = False
            self.preforkd_main.cancel()


class _Watch:
    """Connections of gunicorn's ASGI worker."""

    def __init__(self, cls, app):
        """Takes the place of the protocol class that the worker class makes."""
        self._open = set()
        module = next(sys.modules[base.__module__] for base in cls.__mro__
                      if base.__module__ == "gunicorn.workers.gasgi")
        module.ASGIProtocol = _extend_protocol(module.ASGIProtocol, self._open, app)

    def count(self):
        """How many connections there are."""
        return len(self._open)

    def connections(self):
        """Each connection with its state."""
        return [(connection, _state(connection)) for connection in self._open]

    def fileno(self, connection):
        """The descriptor."""
        return aio.fileno(connection.preforkd_transport)

    def close(self, connection):
        """As gunicorn's own timer does."""
        if hasattr(connection, "_keepalive_timeout"):
            connection._keepalive_timeout()
        else:
            connection._close_transport()

    async def end(self, seconds):
        """Closes websockets, and waits for their clients for some seconds."""
        sockets = [getattr(connection, "_websocket", None) for connection in self._open]
        tasks = [asyncio.ensure_future(websocket._send_close(_RESTART)) for websocket in sockets
                 if websocket is not None and websocket.accepted]
        end = monotonic() + seconds
        while tasks and self._open and monotonic() < end:
            await asyncio.sleep(LOOK)


def _extend_protocol(native, connections, app):
    """gunicorn's connections, kept in a set, that end when the application says so."""
    class Protocol(native):
        """One connection."""

        preforkd_busy = None

        def connection_made(self, transport):
            """It begins."""
            connections.add(self)
            self.preforkd_transport = transport
            super().connection_made(transport)

        def connection_lost(self, exc):
            """It has ended."""
            connections.discard(self)
            super().connection_lost(exc)

        if hasattr(native, "_will_close"):
            def _will_close(self, *args):
                """Asked when the head of a response is made."""
                return app.closing or super()._will_close(*args)
        else:
            async def _handle_http_request(self, *args, **kwargs):
                """Until gunicorn 26.1 the application's header closes nothing."""
                last = app.closing
                self.preforkd_busy = True
                try:
                    return await super()._handle_http_request(*args, **kwargs) and not last
                finally:
                    self.preforkd_busy = False

    return Protocol


def _state(connection):
    """Whether a connection has something to do."""
    transport, busy = connection.preforkd_transport, connection.preforkd_busy
    ready = getattr(connection, "_request_ready", None)
    if (busy or getattr(connection, "_websocket", None) is not None or transport.is_closing()
            or transport.get_write_buffer_size() or (ready is not None and ready.is_set())):
        return BUSY
    if busy is not None or getattr(connection, "_keepalive_handle", None) is not None:
        return IDLE
    return FRESH if connection.req_count < 2 else BUSY


def uvicorn_names(cls):
    """The module namespace in which UvicornWorker._serve() finds uvicorn's Server, or None."""
    for base in cls.__mro__:
        function = vars(base).get("_serve")
        names = getattr(function, "__globals__", {})
        native = names.get("Server")
        if isinstance(native, type) and hasattr(native, "main_loop"):
            return names
    return None
