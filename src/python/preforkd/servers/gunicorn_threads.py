# SPDX-License-Identifier: MIT
"""gthread, gunicorn's accept loop with a pool of threads.

gunicorn's own ways to stop differ from version to version, and most cut kept-alive connections off.
Here a drain leaves the loop running with closed doors until no connection is left: every response
closes its connection, and those that stay silent get the end of the stream to read, so that
whatever has arrived before is answered.
"""

import collections
import inspect
import os
import selectors
import sys
import weakref
from _socket import SHUT_WR, socket as _socket
from time import monotonic

from ..farewell import FRESH, IDLE, LOOK, Farewell, stop_reading
from .base import Progress
from .gunicorn_common import Counting

# Longest sleep of a loop that has its own ideas about it.
_TICK = 1.0

# Seconds after which a connection that only a count knows of is none.
_ON_ITS_WAY = 1.0

# A client has this long to close its end after a response that said so.
_LINGER = 2.0


class _Pool(Counting):
    """What all versions have in common."""

    preforkd_farewell = None
    preforkd_lingering = None   # False where gunicorn does that itself

    @classmethod
    def preforkd_preload(cls):
        """Looks into gunicorn, which each worker would do anew."""
        super().preforkd_preload()
        cls.preforkd_lingering = _linger(cls)

    def init_process(self):
        """Everything until the worker's end."""
        self.preforkd_progress = Progress(self.preforkd.agent.counter, self.cfg.threads)
        super().init_process()

    def run(self):
        """The loop turns at least once per heartbeat."""
        self.preforkd.agent.counter.connections = self.preforkd_open
        self.preforkd_select = self.poller.select
        beat = self.preforkd.settings.beat
        if beat and beat < _TICK:
            self.preforkd_nap(beat)
        if self.preforkd_lingering is None:
            self.preforkd_preload()
        if self.preforkd_lingering:
            self.preforkd_lingering.begin(self.poller)
            self.preforkd_expire(self.preforkd_lingering)
        super().run()

    def preforkd_open(self):
        """How many connections there are."""
        return max(0, self.nr_conns)

    def preforkd_nap(self, seconds):
        """No select() takes longer than this."""
        select = self.preforkd_select

        def quick_select(timeout=None):
            """select() that does not sleep through what is due."""
            return select(seconds if timeout is None else min(timeout, seconds))
        self.poller.select = quick_select

    def preforkd_expire(self, lingering):
        """Once per turn of the loop, where gunicorn ends kept connections."""
        murder = self.murder_keepalived

        def expire(*args, **kwargs):
            """murder_keepalived()"""
            lingering.expire()
            murder(*args, **kwargs)
        self.murder_keepalived = expire

    def preforkd_healthy(self):
        """The pool gets on, or has nothing to do."""
        waiting = self.tpool._work_queue.qsize()
        return self.preforkd_progress.healthy(self.preforkd_done(waiting), waiting > 0)

    def preforkd_drain(self):
        """In the loop: closes the doors before gunicorn's loop could accept once more."""
        self.preforkd_unregister()
        for listener in self.sockets:
            listener.close()
        self.preforkd.agent.stopped_accepting()
        self.preforkd_nap(LOOK)
        self.preforkd_farewell = Farewell(self.preforkd.agent)

    def preforkd_turn(self):
        """While draining: silent connections end after a while, and then the loop."""
        farewell, agent = self.preforkd_farewell, self.preforkd.agent
        if farewell is None:
            return
        began = monotonic()
        for conn in farewell.due(self.preforkd_connections(), _fileno):
            stop_reading(_fileno(conn))
        left = self.preforkd_left()
        if not left or agent.last_call():
            self.cfg.settings["graceful_timeout"].value = agent.grace_left() / 2 if left else 0
            self.preforkd_nap(0)
            self.alive = False
        else:
            self.preforkd_nap(farewell.pause(began))


class Threads(_Pool):
    """gunicorn 24 and newer."""

    def init_process(self):
        """The count of the pool's jobs."""
        self.preforkd_jobs = 0
        self.preforkd_new = weakref.WeakSet()
        super().init_process()

    def enqueue_req(self, conn):
        """A job for the pool; main thread only."""
        self.preforkd_jobs += 1
        if not conn.initialized:
            self.preforkd_new.add(conn)
        super().enqueue_req(conn)

    def preforkd_done(self, waiting):
        """Jobs begun."""
        return self.preforkd_jobs - waiting

    def preforkd_unregister(self):
        """The loop shall not look at the listeners again."""
        self.worker_connections = 0
        self.set_accept_enabled(False)

    def preforkd_connections(self):
        """Those on which nothing is being done, with their states."""
        found = [(conn, IDLE) for conn in self.keepalived_conns]
        found += [(conn, FRESH) for conn in getattr(self, "pending_conns", ())]
        return found + [(conn, FRESH) for conn in self.preforkd_new if _is_silent(conn)]

    def preforkd_left(self):
        """True while there are connections."""
        return self.nr_conns > 0

    def preforkd_wake(self):
        """gunicorn has a queue that wakes the poller."""
        self.method_queue.defer(_nothing)


class OldThreads(_Pool):
    """Before gunicorn 24. 20.1 has a thread wait for the first request of a connection."""

    preforkd_changes = 0
    preforkd_running = frozenset()
    preforkd_quiet_since = None

    def run(self):
        """The loop can be woken."""
        self.poller.register(self.PIPE[0], selectors.EVENT_READ, self.preforkd_drain_pipe)
        super().run()

    def preforkd_done(self, waiting):
        """Another number whenever one of the jobs at work has changed."""
        running = frozenset(job for job in self.futures if job.running())
        if running != self.preforkd_running:
            self.preforkd_running = running
            self.preforkd_changes += 1
        return self.preforkd_changes

    def preforkd_drain_pipe(self, fd):
        """Empties the pipe that woke the loop."""
        try:
            os.read(fd, 4096)
        except OSError:
            pass

    def preforkd_unregister(self):
        """The loop shall not look at the listeners again."""
        for listener in self.sockets:
            self.poller.unregister(listener)

    def preforkd_connections(self):
        """Those on which nothing is being done, with their states."""
        with self._lock:
            found = [(conn.sock, IDLE) for conn in self._keep]
        kept = {sock for sock, _ in found}
        # From gunicorn 21 on the poller holds connections that have not asked yet, and our pipe.
        found += [(key.fileobj, FRESH) for key in list(self.poller.get_map().values())
                  if key.fileobj != self.PIPE[0] and key.fileobj not in kept]
        return found + [(job.conn.sock, FRESH) for job in self.futures
                        if not job.done() and _is_silent(job.conn)]

    def preforkd_left(self):
        """True while there are connections.

        A job that is done may still be on its way to where connections wait; then only gunicorn's
        own count knows of it, which threads of older interpreters can get wrong.
        """
        if len(self.poller.get_map()) > 1 or not all(job.done() for job in self.futures):
            self.preforkd_quiet_since = None
            return True
        if self.preforkd_quiet_since is None:
            self.preforkd_quiet_since = monotonic()
        return self.nr_conns > 0 and monotonic() - self.preforkd_quiet_since < _ON_ITS_WAY

    def preforkd_wake(self):
        """The pipe of gunicorn's signal handlers."""
        super(_Pool, self).preforkd_wake()


class _Lingering:
    """Connections that wait for their client to close, as newer gunicorns want it.

    gunicorn waits for each of them in its main loop, for two seconds if need be.
    """

    def __init__(self):
        """Of one worker."""
        self._poller = None
        self._waiting = collections.deque()

    def begin(self, poller):
        """The worker's loop calls the data of a key of that poller with its file."""
        self._poller = poller

    def add(self, sock):
        """Nothing more will be sent on it."""
        try:
            sock.setblocking(False)
            _socket.shutdown(sock, SHUT_WR)
            self._poller.register(sock, selectors.EVENT_READ, self._read)
        except (OSError, ValueError, KeyError):
            sock.close()
            return
        self._waiting.append((monotonic() + _LINGER, sock))

    def _read(self, sock):
        """Something came that nobody will read."""
        try:
            if os.read(sock.fileno(), 65536):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._end(sock)

    def _end(self, sock):
        """Closes it."""
        try:
            self._poller.unregister(sock)
        except (OSError, ValueError, KeyError):
            pass
        sock.close()

    def expire(self):
        """Closes what has waited for too long, and forgets what is closed."""
        now, waiting = monotonic(), self._waiting
        while waiting and (waiting[0][0] <= now or waiting[0][1].fileno() < 0):
            _, sock = waiting.popleft()
            if sock.fileno() >= 0:
                self._end(sock)


def _linger(cls):
    """Makes connections of the worker class linger, or gives False."""
    module = next(sys.modules[base.__module__] for base in cls.__mro__
                  if base.__module__ == "gunicorn.workers.gthread")
    native = module.TConn
    if "graceful" not in inspect.signature(native.close).parameters:
        return False
    lingering = _Lingering()

    class Conn(native):
        """One connection."""

        def close(self, graceful=False):
            """In the main thread."""
            if graceful:
                lingering.add(self.sock)
            else:
                super().close()

    module.TConn = Conn
    return lingering


def _fileno(conn):
    """The descriptor of a socket, or of gunicorn's object around it."""
    return getattr(conn, "sock", conn).fileno()


def _is_silent(conn):
    """True while a thread waits for a request, of which it has not the whole head."""
    parser = conn.parser
    if parser is None:
        return not getattr(conn, "data_ready", False)
    if not hasattr(parser, "req_count"):
        # HTTP/2
        return False
    message = parser.mesg
    # The parser counts a request when it begins to read, and keeps the one before until then.
    return message is None or message.req_number != parser.req_count


def _nothing():
    """A callback that only wakes."""
