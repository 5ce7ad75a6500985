# SPDX-License-Identifier: MIT
"""The worker as the master sees it: ready, beating, counting, draining, gone.

One real thread listens to the master and sends the counts, so that a report and the end of the
grace work while a request hangs. It never sends heartbeats: those come from the server's own loop,
by beat().
"""

import os
import sys
from _thread import allocate_lock, start_new_thread
from time import monotonic, sleep as real_sleep

from . import report, signals
from .channel import FD_KEY, close_received, encode_text
from .counting import Counter
from .errors import BootError
from .tracing import FINISH, Tracer
from .trim import Trimmer

# A drain waits this long for the first request of connections, at most a share of the grace.
FRESH_WAIT = 5.0
FRESH_SHARE = 0.5

# What is left of the grace when waiting ends: for close handshakes and the server's own end.
_TAIL_MAX = 1.0
_TAIL_SHARE = 0.1
_TAIL_MIN = 0.75
_TAIL_MIN_SHARE = 0.25

# Seconds that requests in flight have when the master is gone.
ORPHAN_GRACE = 0.8

# The process ends this much before the master would lose its patience.
_MARGIN = 0.05

_NEVER = float("inf")

_exit = os._exit
_write = os.write


class Agent:
    """State shared by the launcher, the channel's thread and the server."""

    def __init__(self, channel, role="worker"):
        """Starts nothing yet. role is worker or mold."""
        self.channel = channel
        self.counter = Counter(channel.wake, self._send_counts)
        self._telling = allocate_lock()     # counts are sent in the order in which they were read
        self.settings = None
        self.server = None          # servers.base.Server
        self.loop = None            # asyncio loop, for the report
        self.lifespan_error = None  # the application said that its startup failed
        self.lifespan_raised = None  # an exception instead, which may mean nothing
        self.closing = False        # responses begun from now on close their connection
        self.draining = False
        self._said_stopping = False
        self.deadline = None        # monotonic time of the end of the grace
        self._last_call = _NEVER    # after this nothing is waited for
        self._drain_began = 0.0
        self._fresh_until = 0.0
        self.exit_code = 0
        self._stderr = -1
        self._ready = False
        self._last_beat = 0.0
        self._gone = False
        self.on_term = None         # the handler of SIGTERM once it is ours
        self.role = role
        self._trimmer = Trimmer(self)
        self._tracer = Tracer(self)

    @property
    def is_ready(self):
        """True once READY was sent."""
        return self._ready

    def configure(self, settings, stderr):
        """The settings are known; stderr is the descriptor to put in the place of 2, or -1."""
        self.settings = settings
        self._stderr = stderr
        self.counter.set_limit(settings.limit)

    def descriptors(self):
        """Those that are the launcher's own."""
        return self.channel.descriptors() | {self._stderr}

    def start(self):
        """Starts the channel's thread."""
        os.register_at_fork(after_in_child=self._after_fork_in_child)
        start_new_thread(self._run, ())

    def _after_fork_in_child(self):
        """A child that the application forked is no worker."""
        self._telling = allocate_lock()
        self.channel.after_fork_in_child()
        self.counter.after_fork_in_child()
        self._tracer.after_fork_in_child()
        signals.unsettle(self)
        self._gone = True

    # called by the server

    def ready(self):
        """The server accepts connections. Main thread only; raises BootError."""
        if self._ready:
            return
        if self.lifespan_error is not None:
            raise BootError(self.lifespan_error)
        self.lifespan_raised = None
        stacks = signals.settle(self)
        self.restore_stderr()
        lines = [b"READY=1", b"SERVER=" + encode_text(self.server.version)]
        if self.server.sync:
            lines.append(b"SYNC=1")
        if stacks:
            lines.append(b"STACKS=1")
        self._last_beat = monotonic()
        self._ready = True
        self.channel.send_ready(b"\n".join(lines))
        if self.closing:
            self.server.post(self.server.announce_close)

    def restore_stderr(self):
        """Puts the real standard error back in the place of the master's pipe."""
        if self._stderr < 0:
            return
        sys.stderr.flush()
        try:
            os.dup2(self._stderr, 2)
            os.close(self._stderr)
        except OSError:
            pass
        self._stderr = -1

    def beat(self, healthy=None):
        """The server's loop turns. Cheap: sends at most one message per interval.

        healthy, asked only when a heartbeat is due, may hold it back. Returns the monotonic time
        of the next one that is due, which is past when this one was held back.
        """
        interval = self.settings.beat
        if not interval or not self._ready:
            return _NEVER
        now = monotonic()
        if now - self._last_beat >= interval * 0.8 and (healthy is None or healthy()):
            self._last_beat = now
            self.channel.send(b"WATCHDOG=1")
        return self._last_beat + interval * 0.8

    def grace_left(self):
        """Seconds until the grace ends; the whole grace when nothing drains."""
        if self.deadline is None:
            return float(self.settings.graceful_timeout)
        return max(0.0, self.deadline - monotonic())

    def last_call(self):
        """True when a drain waits for nothing any more: what is open now has to be closed."""
        return monotonic() >= self._last_call

    def fresh_end(self):
        """Until when a drain waits for the first request of a connection, monotonic."""
        return min(max(self._fresh_until, self._drain_began + self._idle_seconds()),
                   self._last_call)

    def idle_end(self, since):
        """Until when a drain keeps a connection that is idle since then, monotonic."""
        return min(max(since, self._drain_began) + self._idle_seconds(), self._last_call)

    def _idle_seconds(self):
        """The setting drain-idle, by default the server's own keep-alive timeout."""
        wanted = self.settings.drain_idle
        return self.server.keepalive if wanted is None else wanted

    # asked by the master, a signal, or the end of the channel

    def close_connections(self):
        """Each connection ends with its next response. Any thread, also a signal handler."""
        first = not self.closing
        self.closing = True
        if not first or self.server is None:
            return
        self.server.close_responses()
        if self._ready:
            self.server.post(self.server.announce_close)

    def drain(self, grace, exit_code=0):
        """Ends gracefully within grace seconds. Any thread, also a signal handler: no locks."""
        now = monotonic()
        deadline = now + grace
        if self.deadline is None or deadline < self.deadline:
            self.deadline = deadline
            self._last_call = deadline - _tail(grace)
        self.exit_code = exit_code
        if not self._ready or self.server is None:
            _exit(exit_code)
        first = not self.draining
        if first:
            self._drain_began = now
            self._fresh_until = now + min(FRESH_WAIT, grace * FRESH_SHARE)
        self.draining = True
        self.close_connections()
        if first:
            self.server.announce_drain()
            if self.server.sync:
                # In a request it accepts nothing, and after it no more.
                self.stopped_accepting()
            self.server.post(self.server.drain)
        self.channel.wake()

    def stopped_accepting(self):
        """This process takes no new connections any more: a reload waits to hear that."""
        if not self._said_stopping:
            self._said_stopping = self.channel.send(b"STOPPING=1")

    def finish(self):
        """The server has ended: the last counts must not stay behind."""
        if self.draining:
            self.stopped_accepting()
        self._tell(self.counter.take_change, True)
        self._tracer.finish(min(FINISH, self.grace_left() / 2))

    def end_within(self, seconds):
        """The process is ending by itself, and has this long for its exit handlers."""
        self.deadline = monotonic() + seconds
        self.channel.wake()

    # the channel's thread

    def _run(self):
        """Main function of the thread: whatever goes wrong must not end it."""
        while not self._gone:
            try:
                self._turn()
            except Exception as exc:
                self.complain("the channel's thread: %r" % exc)
                # Whatever it is may come again at once: neither spin nor flood the log.
                real_sleep(1)

    def _turn(self):
        """Waits once, and deals with all that is due."""
        timeout = self._trimmer.due()
        if self.counter.is_awake():
            timeout = _sooner(timeout, self.counter.interval)
        if self.deadline is not None:
            timeout = _sooner(timeout, max(0.0, self.deadline - _MARGIN - monotonic()))
        messages = self.channel.wait(timeout)
        if signals.TERM_BYTE in self.channel.wakes and not self.server.own_term:
            self.drain(signals.TERM_GRACE)
        for message in messages:
            if message is None:
                self._orphaned()
                return
            try:
                self._handle(message)
            except Exception as exc:
                # The next one may be DRAIN.
                self.complain("the channel's thread: %r" % exc)
                close_received(message)
        self._flush()
        self._trimmer.turn()
        if self.deadline is not None and monotonic() >= self.deadline - _MARGIN:
            self._expire()

    def _flush(self):
        """Sends the counts when they changed; at most once per interval, but for COUNT."""
        if self.counter.is_awake():
            self._tell(self.counter.take_change)

    def _send_counts(self):
        """The limit is reached: tells it at once, from the thread of a request."""
        self._tell(self.counter.message)

    def _tell(self, read, wait=False):
        """Sends what read() says of the counts, if anything: then true.

        Any thread, but no signal handler.
        """
        with self._telling:
            message = read()
            if message is not None and not self.channel.send(message, wait):
                self.counter.not_sent()
            return message is not None

    def _handle(self, message):
        """One datagram of the master; unknown keys are ignored."""
        if "LIMITS" in message:
            self.counter.set_limit(_number(message["LIMITS"]))
        if "REPORT" in message and message.get("WHAT") == "memory":
            self._tracer.ask(_number(message["REPORT"]), _number(message.get("SECONDS")))
        elif "REPORT" in message:
            self.channel.send_report(_number(message["REPORT"]), report.build(self))
        if message.get("COUNT") == "1":
            if not self._tell(self.counter.take_change):
                self._tell(self.counter.message)
        if message.get("TRIM") == "1":
            self._trimmer.ask()
        if "TRACE" in message:
            self._tracer.set(message["TRACE"] == "1")
        if "REOPEN" in message:
            self.reopen(message)
        close_received(message)
        if message.get("CLOSE") == "1":
            self.close_connections()
        if message.get("DRAIN") == "1":
            grace = message.get("GRACE_USEC")
            if grace is None and self.settings is not None:
                self.drain(float(self.settings.graceful_timeout))
            else:
                self.drain(_number(grace) / 1e6)

    def reopen(self, message):
        """Log files were moved away; the master sends the new one along if it is its own."""
        fds = message.get(FD_KEY)
        if fds:
            # Until READY standard error is a pipe of the master, and the file waits its turn.
            if self._stderr >= 0:
                os.dup2(fds[0], self._stderr, inheritable=False)
            else:
                os.dup2(fds[0], 2)
            os.dup2(fds[0], 1)
        if self.server is not None and self._ready:
            self.server.post(self.server.reopen)

    def _orphaned(self):
        """The master is gone: nobody will restart or stop this worker."""
        if self.deadline is None:
            self.complain("the master is gone: ending")
        deadline = monotonic() + ORPHAN_GRACE
        if self._ready:
            self.drain(ORPHAN_GRACE, 1)
            while monotonic() < deadline - _MARGIN:
                real_sleep(max(0.001, deadline - _MARGIN - monotonic()))
        _exit(1)

    def _expire(self):
        """The grace is over: what is not finished now never will be."""
        busy = self.counter.busy
        if busy:
            self.complain("the grace is over with %d request%s unfinished"
                          % (busy, "" if busy == 1 else "s"))
        _exit(self.exit_code)

    def complain(self, text):
        """One line to standard error, past all buffers."""
        try:
            _write(2, ("preforkd: %s %d: %s\n" % (self.role, os.getpid(), text)).encode())
        except OSError:
            pass


def _tail(grace):
    """What a drain leaves of the grace for the end itself."""
    return min(_TAIL_MAX, max(grace * _TAIL_SHARE, min(_TAIL_MIN, grace * _TAIL_MIN_SHARE)))


def _sooner(a, b):
    """The shorter of two times to wait; None is without end."""
    return b if a is None else a if b is None else min(a, b)


def _number(text):
    """A number of the master, 0 for rubbish."""
    try:
        return max(0, int(text))
    except (TypeError, ValueError):
        return 0
