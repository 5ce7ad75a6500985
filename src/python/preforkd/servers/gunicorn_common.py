# SPDX-License-Identifier: MIT
"""What all of gunicorn's worker classes lack without the arbiter.

Signals stay ours, the loop can be woken, gunicorn's own waiting ends with the grace.
"""

import os
import signal

from .. import signals

# Left of the grace for the worker's end when gunicorn gives up waiting.
TAIL = 0.5


class Common:
    """For every worker class."""

    preforkd = None             # GunicornServer
    preforkd_kind = None        # of the applications: wsgi, asgi, or not known
    preforkd_each_turn = False  # preforkd_turn() is not for drains only

    @classmethod
    def preforkd_preload(cls):
        """In a mold: imports what the class leaves to its workers."""

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
        left = max(0.0, self.preforkd.agent.grace_left() - TAIL)
        self.cfg.settings["graceful_timeout"].value = left

    def preforkd_announce(self):
        """At once and in any thread: a drain has begun."""

    def preforkd_announce_close(self):
        """In the loop: what else has to be done when connections begin to close."""

    def preforkd_drain(self):
        """In the loop."""
        self.preforkd_set_grace()
        self.alive = False
        self.preforkd.agent.stopped_accepting()
        self.preforkd_wake()


class Counting(Common):
    """Requests pass through handle_request(), or handle_http2_request() of newer gunicorns."""

    preforkd_kind = "wsgi"
