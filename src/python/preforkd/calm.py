# SPDX-License-Identifier: MIT
"""A moment without a request, for work that would be in the way of one.

The function runs in the server's own loop, where finalizers of the application's objects belong
and where no request of that thread can be under way. The channel's thread looks for the moment and
gives up when there is none; it is the one that calls everything but the function itself.
"""

from _thread import allocate_lock
from time import monotonic

# Seconds between two looks.
LOOK = 0.02


class Calm:
    """At most one function at a time waits for its moment."""

    def __init__(self, agent):
        """Nothing waits yet."""
        self._agent = agent
        self._lock = allocate_lock()
        self._function = self._late = None
        self._until = 0.0
        self._posted = False

    @property
    def is_waiting(self):
        """True until the function was called, or was given up."""
        return self._function is not None

    def run(self, function, late, seconds):
        """Calls function in the loop, or late in the channel's thread after so many seconds."""
        self._until = monotonic() + seconds
        self._late = late
        self._function = function
        self.turn()

    def due(self):
        """Seconds until turn() wants to be called, or None."""
        return LOOK if self.is_waiting else None

    def turn(self):
        """In the channel's thread: looks whether the moment has come, or will not."""
        if not self.is_waiting:
            return
        agent = self._agent
        if agent.draining or monotonic() >= self._until:
            if self._take() is not None:
                self._late()
        elif not self._posted and (agent.server.sync or not agent.counter.busy):
            # A sync worker comes by between two requests only, however many there are.
            self._posted = True
            agent.server.post(self._attempt)

    def _take(self):
        """The function, for the first who asks: the loop or the one who gives up."""
        with self._lock:
            function, self._function = self._function, None
        return function

    def _attempt(self):
        """In the loop: a request may have come since."""
        self._posted = False
        if self._agent.counter.busy or self._agent.draining:
            return
        function = self._take()
        if function is not None:
            function()
