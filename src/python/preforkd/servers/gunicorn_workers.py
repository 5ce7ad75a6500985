# SPDX-License-Identifier: MIT
"""gunicorn's worker classes, each with the little that they lack without the arbiter.

extend() makes a subclass of whatever class was asked for, by what it inherits from and not by its
name, since users subclass. The subclass counts requests where they are handled, keeps the signals
ours, and knows how to drain.
"""

import asyncio
import os
import selectors
import signal
import socket
import time

from .. import aio, signals, wrap
from .base import Progress

# A kept-alive connection without a request is closed this long after the drain began.
_IDLE_LINGER = 2.0

# Left of the grace for the worker's end when gunicorn gives up waiting.
_TAIL = 0.5

# Longest sleep of a loop that has its own ideas about it.
_TICK = 1.0


def _inherits(cls, module, name):
    """True when a class of that module and name is among the bases."""
    return any(base.__module__ == module and base.__name__ == name for base in cls.__mro__)


class Common:
    """For every worker class."""

    preforkd = None             # GunicornServer
    preforkd_each_turn = False  # preforkd_turn() is not for drains only

    def init_signals(self):
        """gunicorn's own, then none of them may end the worker before it is ready."""
        super().init_signals()
        loop = getattr(self, "loop", None)
        if loop is not None and hasattr(loop, "remove_signal_handler"):
            for number in signals.QUIET + (signal.SIGABRT, signal.SIGTERM):
                loop.remove_signal_handler(number)
        signals.quiet()
        if not self.preforkd.own_term:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def preforkd_wrap(self, app):
        """What the server calls in place of the application."""
        return app

    def preforkd_healthy(self):
        """Asked before a heartbeat."""
        return True

    def preforkd_turn(self):
        """Called from the worker's loop, at every notify() of a drain."""

    def preforkd_wake(self):
        """Any thread: makes the loop turn."""
        if self.PIPE:
            try:
                os.write(self.PIPE[1], b"1")
            except OSError:
                pass

    def preforkd_set_grace(self):
        """gunicorn's own waiting ends with the grace."""
        left = max(0.0, self.preforkd.agent.grace_left() - _TAIL)
        self.cfg.settings["graceful_timeout"].value = left

    def preforkd_announce(self):
        """At once and in any thread: a drain has begun."""

    def preforkd_drain(self):
        """In the loop."""
        self.preforkd_set_grace()
        self.alive = False
        self.preforkd.agent.stopped_accepting()
        self.preforkd_wake()


class Counting(Common):
    """Requests pass through handle_request(), or handle_http2_request() of newer gunicorns."""


class Sync(Counting):
    """One request at a time; no heartbeat within it."""

    def preforkd_announce(self):
        """The request at work is the last, also when the loop cannot be told before its end."""
        self.alive = False
        if self.preforkd.agent.counter.busy:
            self.preforkd.agent.stopped_accepting()

    def run(self):
        """Closes the doors before the interpreter's end, which may take a while."""
        super().run()
        for listener in self.sockets:
            listener.close()


class Threads(Counting):
    """gthread: an accept loop and a pool."""

    def init_process(self):
        """The count of the pool's jobs."""
        self.preforkd_jobs = 0
        self.preforkd_progress = Progress(self.preforkd.agent.counter, self.cfg.threads)
        super().init_process()

    def run(self):
        """The loop turns at least once per heartbeat."""
        beat = self.preforkd.settings.beat
        if beat and beat < _TICK:
            select = self.poller.select

            def quick_select(timeout=None):
                """select() that does not sleep through a heartbeat."""
                return select(beat if timeout is None else min(timeout, beat))
            self.poller.select = quick_select
        super().run()

    def enqueue_req(self, conn):
        """A job for the pool; main thread only."""
        self.preforkd_jobs += 1
        super().enqueue_req(conn)

    def preforkd_healthy(self):
        """The pool gets on, or has nothing to do."""
        waiting = self.tpool._work_queue.qsize()
        return self.preforkd_progress.healthy(self.preforkd_jobs - waiting, waiting > 0)

    def preforkd_drain(self):
        """In the loop: closes the doors before gunicorn's loop could accept once more."""
        self.preforkd_set_grace()
        self.worker_connections = 0
        self.set_accept_enabled(False)
        for listener in self.sockets:
            listener.close()
        self.preforkd.agent.stopped_accepting()
        self.alive = False
        self.preforkd_wake()

    def preforkd_wake(self):
        """Newer gunicorns have a queue that wakes the poller."""
        queue = getattr(self, "method_queue", None)
        if queue is not None:
            queue.defer(_nothing)
        else:
            super().preforkd_wake()


class OldThreads(Threads):
    """gthread before gunicorn 24, which ends with kept-alive connections cut off.

    The drain keeps its loop alive with the doors closed: every response closes its connection, and
    the loop ends when there is nothing left.
    """

    preforkd_stopping = False
    preforkd_fresh_until = 0.0

    def run(self):
        """The loop can be woken."""
        self.poller.register(self.PIPE[0], selectors.EVENT_READ, self.preforkd_drain_pipe)
        super().run()

    def preforkd_drain_pipe(self, fd):
        """Empties the pipe that woke the loop."""
        try:
            os.read(fd, 4096)
        except OSError:
            pass

    def preforkd_drain(self):
        """In the loop: closes the doors."""
        self.preforkd_set_grace()
        for listener in self.sockets:
            self.poller.unregister(listener)
            listener.close()
        self.preforkd.agent.stopped_accepting()
        self.cfg.settings["keepalive"].value = 0
        idle_end = time.time() + _IDLE_LINGER
        with self._lock:
            for conn in self._keep:
                conn.timeout = min(conn.timeout, idle_end)
        self.preforkd_fresh_until = time.monotonic() + self.preforkd.agent.fresh_wait()
        self.preforkd_stopping = True

    def preforkd_turn(self):
        """While stopping: silent connections are cut off in the end, and the loop too."""
        if not self.preforkd_stopping:
            return
        agent = self.preforkd.agent
        # From gunicorn 21 on the poller holds connections that have not asked yet, and our pipe.
        fresh = len(self.poller.get_map()) - 1 - len(self._keep) > 0
        if time.monotonic() >= self.preforkd_fresh_until:
            fresh = False
            for job in list(self.futures):
                if job.running() and _is_silent(job.conn):
                    _cut_off(job.conn.sock)
        busy = fresh or self._keep or any(not job.done() for job in list(self.futures))
        if not busy or agent.grace_left() < _TAIL:
            self.cfg.settings["graceful_timeout"].value = 0
            self.alive = False


class Gevent(Counting):
    """gevent: the loop is a greenlet that sleeps a second at a time."""

    preforkd_async = None

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
        self.preforkd_async = gevent.get_hub().loop.async_()
        self.preforkd_async.start(gevent.spawn, self.preforkd.turn)
        beat = self.preforkd.settings.beat
        if beat:
            gevent.spawn(self.preforkd_beat, min(beat, _TICK))
        super().run()

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

    def preforkd_drain(self):
        """The loop looks at it within a second; until then it accepts, and loses nothing."""
        self.preforkd_set_grace()
        self.alive = False

    def preforkd_turn(self):
        """gevent's servers close the sockets when the loop gets to it."""
        if not self.alive and not any(_is_open(listener) for listener in self.sockets):
            self.preforkd.agent.stopped_accepting()


class GeventPyWSGI(Gevent):
    """gevent's own HTTP server, which passes nothing through handle_request()."""

    def run(self):
        """Requests are counted where gevent handles them."""
        agent = self.preforkd.agent

        class Handler(self.wsgi_handler):
            """One connection."""

            def handle_one_response(self):
                """One request; while draining it is the connection's last."""
                serial = agent.counter.begin()
                try:
                    if agent.draining:
                        self.close_connection = True
                    super().handle_one_response()
                finally:
                    agent.counter.end(serial)

        self.wsgi_handler = Handler
        super().run()


class Uvicorn(Common):
    """uvicorn's worker class, in uvicorn before 0.30 and in uvicorn_worker."""

    def _install_sigquit_handler(self):
        """SIGQUIT is the launcher's."""

    async def _serve(self):
        """uvicorn's server extended, by way of the name that the method looks up."""
        from .uvicorn import extend_server
        names = _uvicorn_names(type(self))
        names["Server"] = extend_server(names["Server"], self.preforkd.agent,
                                        lambda server: bool(server.config.ssl))
        await super()._serve()

    def preforkd_wake(self):
        """Nothing waits for the pipe."""

    def preforkd_drain(self):
        """uvicorn's extension knows how."""
        self.preforkd.uvicorn_server.drain()


class NativeASGI(Common):
    """The ASGI worker of gunicorn 24 and newer."""

    def preforkd_wrap(self, app):
        """Counted around the application."""
        return wrap.CountedASGI(app, self.preforkd.agent)

    async def _serve(self):
        """The loop is known before the servers are made."""
        self.preforkd.aio = aio.Loop(self.preforkd.agent, self.loop)
        await super()._serve()

    def preforkd_wake(self):
        """The loop looks at alive within a second."""

    def preforkd_drain(self):
        """In the loop: gunicorn itself would close the doors on those who stand in them."""
        self.preforkd_set_grace()
        task = asyncio.ensure_future(self.preforkd.aio.close_doors(list(self.sockets)))
        task.add_done_callback(self.preforkd_closed)
        self.preforkd_task = task

    def preforkd_closed(self, _task):
        """The rest is gunicorn's."""
        self.alive = False


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

    preforkd_each_turn = False

    def preforkd_wrap(self, app):
        """Counted around the application."""
        return wrap.CountedASGI(app, self.preforkd.agent)

    def preforkd_turn(self):
        """The counts are ours."""


def _uvicorn_names(cls):
    """The module namespace in which UvicornWorker._serve() finds uvicorn's Server, or None."""
    for base in cls.__mro__:
        function = vars(base).get("_serve")
        names = getattr(function, "__globals__", {})
        native = names.get("Server")
        if isinstance(native, type) and hasattr(native, "main_loop"):
            return names
    return None


def _is_silent(conn):
    """True while a thread waits for a request, of which it has not the whole head."""
    parser = conn.parser
    if parser is None:
        return True
    message = parser.mesg
    # The parser counts a request when it begins to read, and keeps the one before until then.
    return message is None or message.req_number != parser.req_count


def _cut_off(sock):
    """Wakes who reads from a connection: there will be nothing."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def _is_open(sock):
    """False for a closed socket, of gevent's kind too."""
    try:
        return sock.fileno() >= 0
    except Exception:
        return False


def _nothing():
    """A callback that only wakes."""


def _mixin(cls):
    """Which of the above fits a class."""
    if _inherits(cls, "gunicorn.workers.sync", "SyncWorker"):
        return Sync
    if _inherits(cls, "gunicorn.workers.gthread", "ThreadWorker"):
        return Threads if hasattr(cls, "set_accept_enabled") else OldThreads
    if _inherits(cls, "gunicorn.workers.ggevent", "GeventWorker"):
        return GeventPyWSGI if cls.server_class is not None else Gevent
    if _inherits(cls, "gunicorn.workers.gasgi", "ASGIWorker"):
        return NativeASGI
    if any(base.__name__ == "UvicornWorker" for base in cls.__mro__):
        return Uvicorn if _uvicorn_names(cls) is not None else OtherASGI
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
