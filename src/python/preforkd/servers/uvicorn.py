# SPDX-License-Identifier: MIT
"""uvicorn, from 0.17 on.

Its Server class is extended rather than its command line: readiness is known when startup() has
returned, SIGTERM is ours, and before its own shutdown (which closes idle connections and websockets
at once) the doors are closed and connections get the time to end. gunicorn's UvicornWorker uses
the same extension.
"""

import contextlib
import inspect

from .. import options, wrap
from ..aio import Loop, fileno
from ..farewell import BUSY, FRESH, IDLE
from . import not_installed
from .base import Server, import_all

_OWNED = {
    "app": options.use("asgi"), "host": options.use("listen"), "port": options.use("listen"),
    "uds": options.use("listen"), "fd": options.use("listen"),
    "reload": "use preforkctl reload", "reload_dirs": "use preforkctl reload",
    "reload_delay": "use preforkctl reload", "reload_includes": "use preforkctl reload",
    "reload_excludes": "use preforkctl reload",
    "workers": options.use("workers"), "limit_max_requests": options.use("max-requests"),
    "limit_max_requests_jitter": options.use("max-requests-jitter"),
    "backlog": options.use("backlog"), "timeout_keep_alive": options.use("keepalive"),
    "timeout_notify": options.use("timeout"), "callback_notify": options.use("timeout"),
    "timeout_graceful_shutdown": options.use("graceful-timeout"),
    "timeout_worker_healthcheck": options.use("timeout"),
    "factory": "write asgi = module:factory()", "env_file": "use section [env]",
    "ssl_context_factory": "it takes a function, use certfile and keyfile",
    "self": "it is no option",
}

_ALIASES = {
    "certfile": "ssl_certfile", "keyfile": "ssl_keyfile", "keyfile_password":
    "ssl_keyfile_password", "ca_certs": "ssl_ca_certs", "cert_reqs": "ssl_cert_reqs",
    "ciphers": "ssl_ciphers",
}

# Options whose legal words are the keys of a dictionary of uvicorn.config.
_WORDS = {"loop": ("LOOP_SETUPS", "LOOP_FACTORIES"), "http": ("HTTP_PROTOCOLS",),
          "ws": ("WS_PROTOCOLS",), "lifespan": ("LIFESPAN",)}

# Close code of a websocket: the service restarts.
RESTART = 1012

# Left of the grace for cancelled tasks and the lifespan's shutdown.
_TAIL = 0.5


def preload(chosen):
    """Imports what Config.load() would import for the options; it would also open files."""
    import uvicorn.config
    for name in _WORDS:
        wanted = chosen.get(name, "auto")
        for table in _WORDS[name]:
            wanted = getattr(uvicorn.config, table, {}).get(wanted, wanted)
        if isinstance(wanted, str):
            import_all(wanted.partition(":")[0])
    if chosen.get("loop", "auto") in ("auto", "uvloop"):
        import_all("uvloop", "uvicorn.loops.uvloop")
    import_all("uvicorn.loops.asyncio", "uvicorn.logging", "uvicorn.server", "uvicorn.lifespan.on",
               "uvicorn.middleware.proxy_headers", "uvicorn.middleware.asgi2")


def extend_server(base, agent, tls):
    """A subclass of uvicorn.Server that belongs to preforkd."""

    class PreforkdServer(base):
        """uvicorn's server with the master's wishes."""

        def __init__(self, *args, **kwargs):
            """Known to the agent's server, which posts to it."""
            super().__init__(*args, **kwargs)
            self._preforkd_loop = None
            self._preforkd_listeners = []
            self._preforkd_counted = None
            agent.server.uvicorn_server = self

        async def serve(self, sockets=None):
            """Counts at the outermost layer of what uvicorn makes of the application."""
            config = self.config
            if not config.loaded:
                config.load()
            config.loaded_app = wrap.CountedASGI(config.loaded_app, agent)
            self._preforkd_counted = config.loaded_app
            agent.server.keepalive = config.timeout_keep_alive
            self._preforkd_listeners = list(sockets or ())
            await super().serve(sockets=sockets)

        async def startup(self, sockets=None):
            """Ready when this has succeeded."""
            import asyncio
            self._preforkd_loop = Loop(agent, asyncio.get_running_loop())
            await super().startup(sockets=sockets)
            if self.started and not self.should_exit:
                agent.counter.connections = self.server_state.connections.__len__
                agent.ready()
                self._preforkd_loop.start_beating()

        def install_signal_handlers(self):
            """Of old versions: signals are the launcher's."""

        @contextlib.contextmanager
        def capture_signals(self):
            """Of new versions: signals are the launcher's, and none is raised again at the end."""
            yield

        def post(self, function):
            """Runs function in the loop."""
            if self._preforkd_loop is not None:
                self._preforkd_loop.post(function)

        def announce_close(self):
            """In the loop: new responses close their connection, and those not begun yet."""
            self._preforkd_counted.closing = True
            for connection in self.server_state.connections:
                cycle = getattr(connection, "cycle", None)
                # With requests in a pipeline this is the last of them, which has not begun.
                if cycle is not None and not getattr(connection, "pipeline", None) \
                        and not cycle.response_started:
                    cycle.default_headers = list(cycle.default_headers) + [wrap.CLOSE]
                    self._preforkd_counted.announced.append(cycle.scope)

        def drain(self):
            """In the loop: what takes time is done in a task."""
            import asyncio
            task = asyncio.ensure_future(self._preforkd_drain())
            # Kept alive by a reference; an error must not keep the server from ending.
            task.add_done_callback(self._preforkd_drained)
            self._preforkd_task = task

        def _preforkd_drained(self, _task):
            """uvicorn's own shutdown begins at its next tick."""
            self.should_exit = True

        async def _preforkd_drain(self):
            """Closes the doors, and waits for the end of the connections."""
            connections = self.server_state.connections
            await self._preforkd_loop.close_doors(self._preforkd_listeners)
            await self._preforkd_loop.wait_idle(
                self._preforkd_listeners, _Watch(connections), tls(self))
            if hasattr(self.config, "timeout_graceful_shutdown"):
                left = agent.grace_left()
                self.config.timeout_graceful_shutdown = max(left - _TAIL, left / 2)
            for connection in list(connections):
                _restart_websocket(connection)

    return PreforkdServer


class _Watch:
    """uvicorn's connections, for the drain."""

    def __init__(self, connections):
        """The set that uvicorn keeps."""
        self._connections = connections

    def connections(self):
        """Each connection with its state."""
        return [(connection, _state(connection)) for connection in self._connections]

    def fileno(self, connection):
        """The descriptor."""
        return fileno(connection.transport)

    def close(self, connection):
        """As uvicorn closes idle ones."""
        connection.shutdown()


def _state(connection):
    """Whether a connection has something to do."""
    cycle = getattr(connection, "cycle", connection)
    if cycle is connection or connection.transport.is_closing():
        # A websocket, or an end that has not been sent yet.
        return BUSY
    if cycle is None:
        return BUSY if _is_asking(connection) else FRESH
    if not cycle.response_complete or connection.transport.get_write_buffer_size():
        return BUSY
    # Its first byte stops the timer: then a request is on its way.
    return BUSY if connection.timeout_keep_alive_task is None else IDLE


def _is_asking(connection):
    """True when a part of the first request has come."""
    h11 = getattr(connection, "conn", None)
    return connection.headers is not None if h11 is None else bool(h11.trailing_data[0])


def _restart_websocket(connection):
    """Says to a websocket that the service restarts, where uvicorn's shutdown does not."""
    fail = getattr(connection, "fail_connection", None)
    if fail is not None and connection.handshake_completed_event.is_set():
        fail(RESTART)


class UvicornServer(Server):
    """uvicorn on the inherited sockets."""

    name = "uvicorn"
    uvicorn_server = None

    def prepare(self):
        """Imports uvicorn and builds the arguments of its Config."""
        self.require_kind("asgi")
        try:
            import uvicorn
            import uvicorn.config
            import uvicorn.server
        except ImportError as exc:
            raise not_installed("uvicorn", exc, self.settings.worker_class) from None
        self._uvicorn = uvicorn
        self.version = "uvicorn %s" % uvicorn.__version__
        self.ignore_unused("threads", "worker_connections", "gunicorn_config")
        self._parameters = inspect.signature(uvicorn.Config.__init__).parameters
        self._options = options.collect(
            self.settings.server, _OWNED, self._parameters, self._convert, self.version,
            {alias: name for alias, name in _ALIASES.items() if name in self._parameters})

    def _words(self, name):
        """Legal words of an option, or ()."""
        for table in _WORDS.get(name, ()):
            words = getattr(self._uvicorn.config, table, None)
            if words:
                return tuple(words)
        return ()

    def _convert(self, name, text):
        """The value of one option, typed by its default and annotation."""
        words = self._words(name)
        if words and ":" not in text:
            return options.as_choice(*words)(text)
        if name == "interface":
            return options.as_choice("auto", "asgi3", "asgi2", "wsgi")(text)
        if name == "ssl_version":
            return options.as_constant("PROTOCOL_")(text)
        if name == "ssl_cert_reqs":
            return options.as_constant("CERT_")(text)
        if name == "headers":
            return _headers(text)
        parameter = self._parameters[name]
        default, hint = parameter.default, str(parameter.annotation)
        if isinstance(default, bool) or (default is None and "bool" in hint):
            return options.as_bool(text)
        if isinstance(default, int) and "float" not in hint:
            return options.as_int(text)
        if isinstance(default, (int, float)) or (
                default is None and ("int" in hint or "float" in hint)):
            if text.strip().lower() in ("", "none"):
                return None
            if "str" in hint and not text.strip().isdigit():
                return text
            return options.as_number(text)
        return text

    def preload(self):
        """What its options lead to."""
        preload(self._options)

    def interface(self):
        """uvicorn also takes WSGI applications, when it is told to."""
        return "wsgi" if self._options.get("interface") == "wsgi" else "asgi"

    def check(self, app):
        """Refuses an application of the other kind."""
        if self.interface() == "asgi":
            super().check(app)

    def make(self, app):
        """Config and Server: they set up logging, which takes half the time of a worker's boot."""
        settings = self.settings
        arguments = {"log_level": settings.log_level, "workers": 1, "backlog": settings.backlog}
        if settings.keepalive is not None:
            arguments["timeout_keep_alive"] = settings.keepalive
        arguments.update(self._options)
        if arguments.get("loop", "auto") == "auto":
            # uvicorn would look for uvloop in every folder of the path again.
            arguments["loop"] = "uvloop" if _has_uvloop() else "asyncio"
        config = self._uvicorn.Config(app, **arguments)
        server_class = extend_server(self._uvicorn.Server, self.agent,
                                     lambda server: bool(server.config.ssl))
        server_class(config)

    def serve(self, load):
        """Runs uvicorn's loop in this thread."""
        app = load()
        self.check(app)
        if self.uvicorn_server is None:
            self.make(app)
        self.uvicorn_server.run(sockets=self.listeners)

    def post(self, function):
        """Runs function in the loop."""
        if self.uvicorn_server is not None:
            self.uvicorn_server.post(function)

    def announce_close(self):
        """In the loop."""
        self.uvicorn_server.announce_close()

    def drain(self):
        """In the loop."""
        self.uvicorn_server.drain()


def _has_uvloop():
    """True when it can be imported, which is how uvicorn decides."""
    try:
        import uvloop  # noqa: F401
        return True
    except ImportError:
        return False


def _headers(text):
    """Either a Python list of pairs, or one "Name: value"."""
    if text.lstrip().startswith("["):
        pairs = options.as_literal(text)
        return [(str(name), str(value)) for name, value in pairs]
    name, sign, value = text.partition(":")
    if not sign:
        raise ValueError("write Name: value")
    return [(name.strip(), value.strip())]


create = UvicornServer
