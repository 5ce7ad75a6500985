# SPDX-License-Identifier: MIT
"""hypercorn, from 0.13 on, on asyncio or uvloop ([server] worker_class).

Its worker_serve() waits for a shutdown trigger as soon as it listens: that is readiness, and the
drain returns from it when the connections have ended, or shortly before the end of the grace.
"""

import asyncio
import enum
import inspect
import ssl
import sys

from .. import application, options, wrap
from ..aio import Loop
from ..errors import BootError
from . import hypercorn_connections, not_installed
from .base import Server, import_all

_OWNED = {
    "bind": options.use("listen"), "insecure_bind": options.use("listen"),
    "quic_bind": "HTTP/3 is not supported", "application_path": options.use("asgi"),
    "backlog": options.use("backlog"), "workers": options.use("workers"),
    "use_reloader": "use preforkctl reload", "debug": "it is not supported",
    "daemon": "preforkd stays in the foreground, use systemd",
    "pid_path": options.use("pidfile"), "user": options.use("user"),
    "group": options.use("group"), "umask": options.use("umask"),
    "max_requests": options.use("max-requests"),
    "max_requests_jitter": options.use("max-requests-jitter"),
    "graceful_timeout": options.use("graceful-timeout"),
    "keep_alive_timeout": options.use("keepalive"), "cert_reqs": "use verify_mode",
    "logconfig_dict": "use logconfig", "logger_class": "it takes a class, use logconfig",
}

# What is left of the grace for hypercorn's own end after it gave up waiting.
_TAIL = 0.5
_NEVER = 3600


class HypercornServer(Server):
    """hypercorn on the inherited sockets."""

    name = "hypercorn"

    def __init__(self, agent, settings, listeners):
        """Nothing runs yet."""
        super().__init__(agent, settings, listeners)
        self._loop = None
        self._wanted = None
        self._config = None
        self._counted = None
        self._watch = None

    def prepare(self):
        """Imports hypercorn and fills its Config."""
        self.require_kind("asgi")
        try:
            import hypercorn.asyncio.run
            import hypercorn.config
            import hypercorn.utils
        except ImportError as exc:
            raise not_installed("hypercorn", exc, self.settings.worker_class) from None
        self._hypercorn = hypercorn
        self.version = "hypercorn %s" % _version()
        self.ignore_unused("threads", "worker_connections", "gunicorn_config")
        self._fill_config(hypercorn.config.Config)

    def _fill_config(self, config_class):
        """Options become attributes of the Config, as hypercorn's own files do."""
        known = {name for name in list(vars(config_class)) + list(
            getattr(config_class, "__annotations__", {})) if not name.startswith("_")}
        known = {name for name in known if not inspect.isroutine(getattr(config_class, name, None))
                 and not isinstance(vars(config_class).get(name), classmethod)}
        known -= {"log", "ssl_enabled"}
        self._hints = getattr(config_class, "__annotations__", {})
        self._defaults = config_class
        values = options.collect(self.settings.server, _OWNED, known, self._convert, self.version)
        self._uvloop = values.pop("worker_class", "asyncio") == "uvloop"
        self._config = config = config_class()
        config.loglevel = self.settings.log_level
        config.backlog = self.settings.backlog
        if self.settings.keepalive is not None:
            config.keep_alive_timeout = self.settings.keepalive
        for name, value in values.items():
            setattr(config, name, value)
        self.keepalive = config.keep_alive_timeout
        if (config.certfile is None) != (config.keyfile is None):
            raise BootError("section [server]: hypercorn needs both certfile and keyfile")

    def _convert(self, name, text):
        """The value of one option, typed by its default and annotation."""
        if name == "worker_class":
            return options.as_choice("asyncio", "uvloop")(text)
        if name == "verify_mode":
            return ssl.VerifyMode(options.as_constant("CERT_")(text))
        if name == "verify_flags":
            return ssl.VerifyFlags(options.as_constant("VERIFY_")(text))
        default, hint = getattr(self._defaults, name, None), str(self._hints.get(name, ""))
        if isinstance(default, bool):
            return options.as_bool(text)
        if isinstance(default, (list, tuple)):
            return options.as_list(text)
        if isinstance(default, (int, float)) and not isinstance(default, enum.Enum):
            return options.as_number(text)
        if default is None and ("int" in hint or "float" in hint) and "str" not in hint:
            return options.as_number(text)
        return text

    def preload(self):
        """The loop."""
        if self._uvloop:
            import_all("uvloop")

    def serve(self, load):
        """Runs a loop in this thread."""
        app = load()
        if application.is_double_callable(app):
            app = wrap.as_asgi3(app)
        self.check(app)
        app = self._counted = wrap.CountedASGI(app, self.agent)
        wrap_app = getattr(self._hypercorn.utils, "wrap_app", None)
        if wrap_app is not None:
            app = wrap_app(app, self._config.wsgi_max_body_size, "asgi")
        else:
            app = _patient(app)
        self._watch = hypercorn_connections.watch(self._hypercorn.asyncio.run)
        self.agent.counter.connections = self._watch.open.__len__
        try:
            self._run(self._main(app))
        except asyncio.CancelledError:
            # 0.13 ends this way when its graceful timeout cut connections.
            if not self.agent.draining:
                raise

    def _run(self, main):
        """asyncio.run() with uvloop where it is wanted, and hypercorn's exception handler."""
        if self._uvloop:
            try:
                import uvloop
            except ImportError as exc:
                raise not_installed("uvloop", exc, "hypercorn with uvloop") from None
            loop = uvloop.new_event_loop()
        else:
            loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(_on_exception)
        try:
            loop.run_until_complete(main)
        finally:
            try:
                _cancel_all(loop)
                loop.run_until_complete(loop.shutdown_asyncgens())
            finally:
                asyncio.set_event_loop(None)
                loop.close()

    async def _main(self, app):
        """hypercorn's worker function between our loop and our sockets."""
        self._loop = Loop(self.agent, asyncio.get_running_loop())
        self._wanted = asyncio.Event()
        secure = self.listeners if self._config.ssl_enabled else []
        insecure = [] if self._config.ssl_enabled else self.listeners
        sockets = self._hypercorn.config.Sockets(secure, insecure, [])
        await self._hypercorn.asyncio.run.worker_serve(
            app, self._config, sockets=sockets, shutdown_trigger=self._trigger)

    async def _trigger(self):
        """Awaited when everything listens; returns when hypercorn shall shut down."""
        try:
            self.agent.ready()
        except BootError:
            return
        self._loop.start_beating()
        await self._wanted.wait()
        await self._loop.close_doors(self.listeners)
        self._watch.begin()
        await self._loop.wait_idle(self.listeners, self._watch, self._config.ssl_enabled)
        await self._watch.end(self.agent.grace_left() / 2)
        tail = _TAIL
        if "taskgroup" in sys.modules:
            # This backport for Python < 3.11 loops for ever when its tasks are cancelled: the
            # end of the grace has to come first.
            tail = -_NEVER
        self._config.graceful_timeout = max(0.0, self.agent.grace_left() - tail)

    def post(self, function):
        """Runs function in the loop."""
        if self._loop is not None:
            self._loop.post(function)

    def announce_close(self):
        """In the loop."""
        self._counted.closing = True
        self._watch.announce_close()

    def drain(self):
        """In the loop."""
        self._wanted.set()


def _patient(app):
    """Calls the application when the request is complete, where it has no body.

    hypercorn 0.13 cuts the connection when it is answered before it has noticed the request's end.
    """
    async def wrapped(scope, receive, send):
        """One connection of the application."""
        if scope["type"] == "http" and not any(
                name.lower() in (b"content-length", b"transfer-encoding")
                for name, _ in scope["headers"]):
            receive = _with_first(await receive(), receive)
        await app(scope, receive, send)
    return wrapped


def _with_first(message, receive):
    """receive() after one message was taken."""
    first = [message]

    async def wrapped():
        """What was taken already, then the rest."""
        return first.pop() if first else await receive()
    return wrapped


def _version():
    """hypercorn keeps its version in its package's metadata only."""
    from importlib.metadata import PackageNotFoundError, version
    try:
        return version("hypercorn")
    except PackageNotFoundError:
        return "?"


def _on_exception(loop, context):
    """Failed TLS handshakes are the clients' business."""
    if not isinstance(context.get("exception"), ssl.SSLError):
        loop.default_exception_handler(context)


def _cancel_all(loop):
    """Cancels what is left over and lets it end."""
    tasks = [task for task in asyncio.all_tasks(loop) if not task.done()]
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


create = HypercornServer
