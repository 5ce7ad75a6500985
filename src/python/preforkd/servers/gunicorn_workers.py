# SPDX-License-Identifier: MIT
"""gunicorn's worker classes, each with the little that they lack without the arbiter.

extend() makes a subclass of whatever class was asked for, by what it inherits from and not by its
name, since users subclass. The subclass counts requests where they are handled, keeps the signals
ours, and knows how to drain.
"""

import os
import signal
from _thread import start_new_thread
from time import monotonic, sleep as real_sleep

from .. import wrap
from ..farewell import stop_reading
from .gunicorn_common import Common, Counting
from .gunicorn_threads import OldThreads, Threads


def _inherits(cls, module, name):
    """True when a class of that module and name is among the bases."""
    return any(base.__module__ == module and base.__name__ == name for base in cls.__mro__)


class Sync(Counting):
    """One request at a time; no heartbeat within it."""

    preforkd_client = None

    def handle(self, listener, client, addr):
        """One connection with one request."""
        self.preforkd_client = client
        super().handle(listener, client, addr)

    def preforkd_announce(self):
        """The request at work is the last, also when the loop cannot be told before its end."""
        self.alive = False
        if self.preforkd.agent.counter.busy:
            self.preforkd.agent.stopped_accepting()
        start_new_thread(self.preforkd_cut_silent, ())

    def preforkd_cut_silent(self):
        """In a thread: the worker itself waits for a client that perhaps never asks."""
        agent = self.preforkd.agent
        real_sleep(max(0.0, agent.fresh_end() - monotonic()))
        if self.preforkd_client is not None and not agent.counter.busy:
            stop_reading(self.preforkd_client.fileno())

    def run(self):
        """Closes the doors before the interpreter's end, which may take a while."""
        super().run()
        for listener in self.sockets:
            listener.close()


class Other(Common):
    """A class that we know nothing about: its own SIGTERM is the drain, its nr the count."""

    preforkd_each_turn = True

    def preforkd_turn(self):
        """All that base.Worker promises is the number of requests."""
        self.preforkd.agent.counter.completed(self.nr)

    def preforkd_drain(self):
        """As the arbiter would."""
        self.preforkd_set_grace()
        os.kill(os.getpid(), signal.SIGTERM)


class OtherASGI(Other):
    """A relative of uvicorn's worker that makes its server in its own way."""

    preforkd_kind = "asgi"
    preforkd_each_turn = False

    def preforkd_wrap(self, app):
        """Counted around the application."""
        return wrap.CountedASGI(app, self.preforkd.agent)

    def preforkd_turn(self):
        """The counts are ours."""


def _mixin(cls):
    """Which of the above fits a class."""
    if _inherits(cls, "gunicorn.workers.sync", "SyncWorker"):
        return Sync
    if _inherits(cls, "gunicorn.workers.gthread", "ThreadWorker"):
        return Threads if hasattr(cls, "set_accept_enabled") else OldThreads
    if _inherits(cls, "gunicorn.workers.ggevent", "GeventWorker"):
        from .gunicorn_gevent import Gevent, GeventPyWSGI
        return GeventPyWSGI if cls.server_class is not None else Gevent
    native = _inherits(cls, "gunicorn.workers.gasgi", "ASGIWorker")
    if native or any(base.__name__ == "UvicornWorker" for base in cls.__mro__):
        from .gunicorn_asyncio import NativeASGI, Uvicorn, uvicorn_names
        return NativeASGI if native else Uvicorn if uvicorn_names(cls) is not None else OtherASGI
    return Other


def extend(cls, server):
    """The subclass to run, for the class that was asked for."""
    mixin = _mixin(cls)
    body = {"preforkd": server, "__module__": cls.__module__, "__doc__": cls.__doc__}
    if issubclass(mixin, Counting):
        for name in ("handle_request", "handle_http2_request"):
            if hasattr(cls, name):
                body[name] = server.agent.counter.counted(getattr(cls, name))
    return type(cls.__name__, (mixin, cls), body), mixin
