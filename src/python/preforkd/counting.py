# SPDX-License-Identifier: MIT
"""Requests completed, requests in flight, and the start of the oldest one.

begin() and end() are called for every request, from any thread, and together cost a fraction of a
microsecond: they take no lock, since what they do to shared state is atomic in CPython, and make no
system call but for the first change after a quiet moment (which wakes the channel's thread) and for
the request that reaches the limit. The channel's thread sends what changed, after INTERVAL at the
earliest, and less and less often while requests keep coming: each of its turns takes the
interpreter's lock twice, from threads that want it for requests. A change is never lost: a request
moves a count before it looks whether the thread is awake; the thread says that it sleeps before it
looks at the counts a last time.
"""

import itertools
import sys
from _thread import allocate_lock
from functools import wraps
from time import monotonic_ns

# Seconds between two messages of counts: after a quiet moment, and when there was none for long.
INTERVAL = 0.05
INTERVAL_MAX = 0.2

_NEVER = float("inf")


class _LockedCount:
    """itertools.count for interpreters without a global lock, where it may lose steps."""

    def __init__(self, start):
        """The first value."""
        self._value = start
        self._lock = allocate_lock()

    def __next__(self):
        """The next value."""
        with self._lock:
            value = self._value
            self._value += 1
        return value

    def __repr__(self):
        """As itertools.count shows itself."""
        return "count(%d)" % self._value


count_from = itertools.count if getattr(sys, "_is_gil_enabled", lambda: True)() else _LockedCount


def steps(count):
    """How often next() was called on a count that began with 1, without calling it."""
    return int(repr(count)[6:-1]) - 1


class Counter:
    """The counts of one worker. Bound to originals at import, so that gevent cannot patch them."""

    def __init__(self, wake, urgent):
        """wake() rouses the channel's thread; urgent() sends the counts at once."""
        self._wake = wake
        self._urgent = urgent
        self._serials = count_from(1)
        self._ends = count_from(1)
        self._changes = count_from(1)
        self._flying = {}       # serial -> start in ns; insertion order is age
        self._told = self._moves()
        self._awake = False
        self.interval = INTERVAL    # seconds after which the channel's thread looks again
        self.connections = None     # function: how many are open; None where nobody knows
        self._alarm = _NEVER    # number of completed requests that is told at once

    @property
    def busy(self):
        """Requests in flight."""
        return len(self._flying)

    @property
    def done(self):
        """Requests completed."""
        return steps(self._ends)

    def begin(self):
        """A request has begun; returns what end() needs."""
        serial = next(self._serials)
        self._flying[serial] = monotonic_ns()
        if not self._awake:
            self._rouse()
        return serial

    def end(self, serial):
        """The request has ended, well or not; a second time does nothing."""
        if self._flying.pop(serial, None) is None:
            return
        if next(self._ends) >= self._alarm:
            self._ring()
        if not self._awake:
            self._rouse()

    def changed(self):
        """Something has changed that is no request: a connection that waits for its messages."""
        next(self._changes)
        if not self._awake:
            self._rouse()

    def counted(self, method):
        """A method each call of which, with two or more arguments, is one request.

        begin() and end() once more, without their calls: a server with a request every 50 us pays
        two per cent of its processor for those.
        """
        serials, ends, flying, clock = self._serials, self._ends, self._flying, monotonic_ns

        @wraps(method)
        def call(owner, first, second, *more):
            """The method, counted."""
            serial = next(serials)
            flying[serial] = clock()
            if not self._awake:
                self._rouse()
            try:
                if more:
                    return method(owner, first, second, *more)
                return method(owner, first, second)
            finally:
                flying.pop(serial, None)
                if next(ends) >= self._alarm:
                    self._ring()
                if not self._awake:
                    self._rouse()
        return call

    def completed(self, total):
        """For servers that only know a total: requests completed since are added to ours."""
        while self.done < total:
            self.end(self.begin())

    def _rouse(self):
        """The thread shall look."""
        self._awake = True
        self._wake()

    def _ring(self):
        """The limit is reached: once."""
        self._alarm = _NEVER
        self._urgent()

    def set_limit(self, limit):
        """A new limit, 0 for none: told again, at once when it is reached already."""
        self._alarm = limit or _NEVER
        if limit and self.done >= limit:
            self._ring()

    def _oldest(self):
        """Start of the oldest request in flight in ns, or 0."""
        while True:
            try:
                return next(iter(self._flying.values()), 0)
            except RuntimeError:
                # A request began or ended in between.
                continue

    def message(self):
        """The counts as lines of a datagram."""
        oldest = self._oldest()
        counts = "REQUESTS=%d\nBUSY=%d\nOLDEST_USEC=%d" % (
            self.done, len(self._flying) if oldest else 0, oldest // 1000)
        return counts if self.connections is None else "%s\nCONNECTIONS=%d" % (
            counts, self.connections())

    def oldest_seconds(self):
        """Age of the oldest request in flight, or None."""
        oldest = self._oldest()
        return (monotonic_ns() - oldest) / 1e9 if oldest else None

    def is_awake(self):
        """True while the channel's thread should look again after the interval."""
        return self._awake

    def _moves(self):
        """Requests begun and completed, changes: what differs when there is something to say."""
        return repr(self._serials), repr(self._ends), repr(self._changes)

    def take_change(self):
        """For the channel's thread: a message when something changed, else None and rest."""
        moves = self._moves()
        if moves == self._told:
            self._awake = False
            moves = self._moves()
            if moves == self._told:
                self.interval = INTERVAL
                return None
            self._awake = True
        self.interval = min(self.interval * 1.5, INTERVAL_MAX)
        self._told = moves
        return self.message()

    def not_sent(self):
        """The last message did not get through: there is still something to say."""
        self._told = None

    def after_fork_in_child(self):
        """A forked child has no requests and nobody to tell."""
        self._wake = self._urgent = _nothing
        self._flying.clear()


def _nothing():
    """What a forked child does instead of talking to the master."""
