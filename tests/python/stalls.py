# SPDX-License-Identifier: MIT
"""Time that passed, without that in which the machine stood still.

A virtual machine that is paused, or a processor that somebody else has, is not what a test of a
deadline is about: a thread that wants to run every 20 ms tells how long nobody did.
"""

import threading
import time

_TICK = 0.02
# Later than this the thread is not for a busy processor's sake.
_LATE = 0.2


class _Meter:
    """Sums up how late its thread was."""

    def __init__(self):
        """Starts it."""
        self._lock = threading.Lock()
        self._last = time.monotonic()
        self._lost = []             # (when, seconds)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        """Until the process ends."""
        while True:
            time.sleep(_TICK)
            self._look()

    def _look(self):
        """How late it is now. Also for who asks, who may be the first after a stall."""
        with self._lock:
            now = time.monotonic()
            late = now - self._last - _TICK
            if late > _LATE:
                self._lost.append((now, late))
            self._last = now

    def lost_since(self, begin):
        """Seconds."""
        self._look()
        with self._lock:
            return sum(min(late, when - begin) for when, late in self._lost if when > begin)


_meter = _Meter()


def elapsed(begin):
    """Seconds since then, time.monotonic(), in which this machine ran. For upper limits only."""
    return time.monotonic() - begin - _meter.lost_since(begin)
