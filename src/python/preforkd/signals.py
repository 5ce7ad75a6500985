# SPDX-License-Identifier: MIT
"""Signals of a worker.

HUP, USR1, USR2, INT and QUIT are for the master; a terminal sends some of them to everybody, so
they must not end a worker. They get a handler that does nothing rather than SIG_IGN, because exec
would hand SIG_IGN down to whatever the application starts. SIGTERM asks for a quick end. SIGABRT,
which the master sends before it kills a worker that hangs, prints the stacks of all threads.
"""

import faulthandler
import signal

# Seconds that SIGTERM leaves to requests in flight.
TERM_GRACE = 1.0

# What the interpreter writes to the wake-up descriptor.
TERM_BYTE = bytes([signal.SIGTERM])

QUIET = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGQUIT)


def _ignore(_number, _frame):
    """Does nothing; exec resets a handler to the default."""


def quiet():
    """Nothing of QUIET ends this process. To be called again after a server's own set-up."""
    for number in QUIET:
        signal.signal(number, _ignore)
        signal.siginterrupt(number, False)


def settle(agent):
    """Final dispositions, after the server's own set-up. True when SIGABRT prints stacks."""
    server = agent.server
    if not server.own_term:
        def on_term(_number, _frame):
            """SIGTERM: a quick end."""
            agent.drain(TERM_GRACE)
        signal.signal(signal.SIGTERM, on_term)
        signal.siginterrupt(signal.SIGTERM, False)
        _tell_the_thread(agent.channel, server.sync)
    for number in QUIET:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _ignore)
            signal.siginterrupt(number, False)
    return _stacks_on_abort(server.abort_handler)


def _tell_the_thread(channel, sync):
    """The channel's thread hears of signals, too.

    Python's handlers run in the main thread between two of its steps: a signal that arrives just
    before that one waits for something would be heard when it has waited. Event loops have a
    descriptor of their own for this; gunicorn's is watched between requests only.
    """
    before = signal.set_wakeup_fd(channel.wake_fd(), warn_on_full_buffer=False)
    if before >= 0 and not sync:
        signal.set_wakeup_fd(before)


def _stacks_on_abort(handler):
    """Prints stacks on SIGABRT, then does what handler says (None: die of it)."""
    try:
        if faulthandler.is_enabled():
            # Enabling twice would not renew the handler that a server has replaced since.
            faulthandler.disable()
        signal.signal(signal.SIGABRT, handler or signal.SIG_DFL)
        faulthandler.enable(file=2, all_threads=True)
        return True
    except (OSError, RuntimeError, ValueError):
        return False
