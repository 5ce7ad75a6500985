# SPDX-License-Identifier: MIT
"""Signals of a worker.

HUP, USR1, USR2, INT and QUIT are for the master; a terminal sends some of them to everybody, so
they must not end a worker. They get a handler that does nothing rather than SIG_IGN, because exec
would hand SIG_IGN down to whatever the application starts. SIGTERM asks for a quick end. SIGABRT,
which the master sends before it kills a worker that hangs, prints the stacks of all threads.
"""

import faulthandler
import os
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
        agent.on_term = _handler_of_term(agent, os.getpid())
        signal.signal(signal.SIGTERM, agent.on_term)
        signal.siginterrupt(signal.SIGTERM, False)
        _tell_the_thread(agent.channel)
    for number in QUIET:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _ignore)
            signal.siginterrupt(number, False)
    return _stacks_on_abort(server.abort_handler)


def _tell_the_thread(channel):
    """The channel's thread hears of signals, too, and says so to who heard of them before.

    Python's handlers run in the main thread between two of its steps: a signal that arrives just
    before that one waits for something would be heard when it has waited. A loop's own descriptor
    is of no use while a request blocks the loop; gunicorn's is watched between requests only.
    """
    before = signal.set_wakeup_fd(channel.wake_fd(), warn_on_full_buffer=False)
    if before >= 0:
        channel.relay_signals(before)


def _handler_of_term(agent, pid):
    """SIGTERM: a quick end."""
    def on_term(_number, _frame):
        """In the worker; or in a child that has it still, since it was told while it was forked."""
        if os.getpid() == pid:
            agent.drain(TERM_GRACE)
        else:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
    return on_term


def unsettle(agent):
    """In a child that the application forked: a signal to it is none to the worker."""
    if agent.on_term is None:
        return
    # It would wake the parent, by what they share, or whoever has the number of what was closed.
    signal.set_wakeup_fd(-1)
    if signal.getsignal(signal.SIGTERM) == agent.on_term:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


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
