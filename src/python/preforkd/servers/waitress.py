# SPDX-License-Identifier: MIT
"""waitress, from 2.1 on.

Its servers, channels and dispatcher are used as they are; the loop around them is ours, because
waitress has no graceful stop: the drain closes the doors and ends when no channel is left.
"""

import collections
import math
import socket
from time import monotonic

from .. import options
from ..errors import BootError
from ..farewell import BUSY, FRESH, IDLE, Farewell
from . import not_installed
from .base import TLS_NAMES, Progress, Server

_NO_TLS = "waitress has no TLS: put a proxy in front, or use another worker-class"

_OWNED = {
    "host": options.use("listen"), "port": options.use("listen"), "listen": options.use("listen"),
    "sockets": options.use("listen"), "ipv4": options.use("listen"), "ipv6": options.use("listen"),
    "unix_socket": options.use("listen"), "unix_socket_perms": options.use("socket-mode"),
    "threads": options.use("threads"), "backlog": options.use("backlog"),
    "connection_limit": options.use("worker-connections"),
    "channel_timeout": options.use("keepalive"), "cleanup_interval": options.use("keepalive"),
    "asyncore_loop_timeout": "it is not needed", "asyncore_use_poll": "it is always on",
}
_OWNED.update({name: _NO_TLS for name in TLS_NAMES})

DEFAULT_THREADS = 4
_TICK = 1.0

# Idle connections are kept this long by a drain when nothing else was asked for: waitress's own
# timeout is two minutes.
_DRAIN_IDLE = 5.0


class WaitressServer(Server):
    """waitress on the inherited sockets."""

    name = "waitress"

    def __init__(self, agent, settings, listeners):
        """Nothing runs yet."""
        super().__init__(agent, settings, listeners)
        self._posted = collections.deque()
        self._servers = []
        self._map = {}
        self._farewell = None

    def prepare(self):
        """Imports waitress and checks its options."""
        self.require_kind("wsgi")
        try:
            import waitress.adjustments
            import waitress.channel
            import waitress.server
            import waitress.task
            from waitress import wasyncore
        except ImportError as exc:
            raise not_installed("waitress", exc, self.settings.worker_class) from None
        self._waitress = waitress
        self._wasyncore = wasyncore
        from importlib.metadata import version
        self.version = "waitress %s" % version("waitress")
        self.ignore_unused("gunicorn_config")
        known = dict(waitress.adjustments.Adjustments._params)
        bools = waitress.adjustments.asbool

        def convert(name, text):
            """waitress's own conversion, but a mistyped yes or no is an error."""
            return options.as_bool(text) if known[name] is bools else known[name](text)

        values = options.collect(self.settings.server, _OWNED, known, convert, self.version)
        self._threads = values["threads"] = self.settings.threads or DEFAULT_THREADS
        if self.settings.worker_connections:
            values["connection_limit"] = self.settings.worker_connections
        if self.settings.keepalive is not None:
            values["channel_timeout"] = max(1, math.ceil(self.settings.keepalive))
            values["cleanup_interval"] = min(30, values["channel_timeout"])
        self.keepalive = values.get("channel_timeout", _DRAIN_IDLE)
        try:
            self._adjustments = waitress.adjustments.Adjustments(**values)
        except ValueError as exc:
            raise BootError("section [server]: waitress: %s" % exc) from None

    def _classes(self):
        """waitress's classes with counting and the drain's mark."""
        agent, waitress = self.agent, self._waitress
        begin, end = agent.counter.begin, agent.counter.end

        class Task(waitress.task.WSGITask):
            """One request."""

            def service(self):
                """From the first byte of work to the last."""
                self.channel.preforkd_served = True
                serial = begin()
                try:
                    super().service()
                finally:
                    end(serial)

            def build_response_header(self):
                """The last response of a connection says so; requests read ahead are answered."""
                if agent.closing and len(self.channel.requests) < 2:
                    self.request.headers["CONNECTION"] = "close"
                return super().build_response_header()

        class Channel(waitress.channel.HTTPChannel):
            """One connection."""

            task_class = Task
            preforkd_served = False

        class Mixin:
            """A listening socket."""

            channel_class = Channel

        tcp = type("TcpServer", (Mixin, waitress.server.TcpWSGIServer), {})
        unix = type("UnixServer", (Mixin, waitress.server.UnixWSGIServer), {})
        return tcp, unix

    def serve(self, load):
        """Runs waitress's loop in this thread."""
        app = load()
        self.check(app)
        dispatcher = self._waitress.task.ThreadedTaskDispatcher()
        dispatcher.set_thread_count(self._threads)
        tcp, unix = self._classes()
        for listener in self.listeners:
            kind = unix if listener.family == socket.AF_UNIX else tcp
            info = (listener.family, listener.type, listener.proto, listener.getsockname())
            self._servers.append(kind(app, self._map, True, listener, dispatcher=dispatcher,
                                      adj=self._adjustments, bind_socket=False, sockinfo=info))
        self._progress = Progress(self.agent.counter, self._threads)
        self._dispatcher = dispatcher
        self.agent.ready()
        self._loop()
        dispatcher.set_thread_count(0)

    def _loop(self):
        """Until the drain has nothing left to wait for."""
        beat = self.settings.beat
        tick = min(_TICK, beat) if beat else _TICK
        while True:
            while self._posted:
                self._posted.popleft()()
            self.agent.beat(self._healthy)
            if self._farewell is not None:
                tick = self._say_farewell()
                if tick is None:
                    return
            self._wasyncore.loop(timeout=tick, use_poll=True, map=self._map, count=1)

    def _healthy(self):
        """The pool gets on, or has nothing to do."""
        return self._progress.healthy(self.agent.counter.done, len(self._dispatcher.queue) > 0)

    def post(self, function):
        """Runs function in the loop."""
        self._posted.append(function)
        if self._servers:
            self._servers[0].pull_trigger()

    def drain(self):
        """In the loop: closes the doors; the channels live on."""
        for server in self._servers:
            server.accepting = False
            server.del_channel(self._map)
            server.socket.close()
        self.agent.stopped_accepting()
        self._farewell = Farewell(self.agent)

    def _say_farewell(self):
        """Closes channels that have nothing to do; the time until the next look, or None."""
        began = monotonic()
        channels = [c for server in self._servers for c in list(server.active_channels.values())]
        for channel in self._farewell.due(((c, _state(c)) for c in channels), _fileno):
            channel.will_close = True
        if not (channels or self.agent.counter.busy):
            return None
        return self._farewell.pause(began)


def _state(channel):
    """Whether a channel has something to do."""
    if channel.requests or channel.request is not None or channel.total_outbufs_len \
            or channel.will_close or channel.close_when_flushed:
        return BUSY
    return IDLE if channel.preforkd_served else FRESH


def _fileno(channel):
    """The descriptor."""
    return channel.socket.fileno()


create = WaitressServer
