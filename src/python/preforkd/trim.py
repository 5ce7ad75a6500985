# SPDX-License-Identifier: MIT
"""Gives memory back that Python and malloc keep although nobody uses it: TRIM.

gc.collect() holds the interpreter's lock for as long as it takes (100 ms for a million objects), so
that requests of all threads wait: hence only when none is in progress. What a mold has frozen is
not looked at, and stays shared.
"""

import gc
from time import monotonic

from . import memory
from .calm import Calm
from .channel import encode_text

# Seconds to wait for a moment without a request.
PATIENCE = 5.0


class Trimmer:
    """One trim at a time."""

    def __init__(self, agent):
        """Nothing is asked yet."""
        self._agent = agent
        self._calm = Calm(agent)
        self._answer = None

    def ask(self):
        """TRIM=1 has come."""
        if self._calm.is_waiting:
            return
        if not self._agent.is_ready:
            self._refuse("it does not serve yet")
        else:
            self._calm.run(self._trim, self._late, PATIENCE)

    def due(self):
        """Seconds until turn() wants to be called, or None."""
        return self._calm.due()

    def turn(self):
        """In the channel's thread."""
        self._calm.turn()
        answer, self._answer = self._answer, None
        if answer is not None:
            self._agent.channel.send(answer, True)

    def _say(self, answer):
        """The channel's thread sends it: it may wait, the loop may not."""
        self._answer = answer
        self._agent.channel.wake()

    def _refuse(self, why):
        """No trim this time."""
        self._say(b"UNTRIMMED=" + encode_text(why))

    def _late(self):
        """There was no such moment."""
        self._refuse("it drains" if self._agent.draining else
                     "requests were in progress for all of %g s" % PATIENCE)

    def _trim(self):
        """In the server's loop, no request being in progress."""
        try:
            trim = memory.malloc_trim()
            began = monotonic()
            before = memory.own()
            gc.collect()
            collected = memory.own()
            if trim is not None:
                trim()
            after = memory.own()
            self._say(b"TRIMMED=%d,%d,%d\nTOOK_USEC=%d" % (
                before, collected, after, (monotonic() - began) * 1e6))
        except Exception as exc:
            # Finalizers and callbacks of the application may raise whatever they like.
            self._refuse("it failed: %r" % exc)
