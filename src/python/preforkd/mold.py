# SPDX-License-Identifier: MIT
"""The mold: has imported the application, never serves, and forks a worker whenever it is told to.

It has no thread and no timer: between two forks it waits for the master, and ends with it. Only
workers return from run().
"""

import gc
import io
import os
import weakref

from . import application, findings, forking, memory
from .channel import close_received, encode_text, split_text
from .errors import BootError, flush
from .servers.base import import_all

# Room for the line about the decision, beside what else is in the datagram of READY.
_TEXT_MAX = 2000

# What a worker would import at its first look-up of a name, its first date, its first thread pool.
_LATER = ("encodings.idna", "_strptime", "concurrent.futures.thread")


class Mold:
    """One mold, from its boot to the end of its master."""

    def __init__(self, agent):
        """agent.server is prepared already."""
        self._agent = agent
        self._settings = agent.settings
        self._forker = forking.Forker()
        self._app = None
        self._before_fork = None

    def prepare(self):
        """Everything that can be done before a fork; the decision. Raises BootError."""
        settings, server = self._settings, self._agent.server
        if settings.preload == "no" or settings.master <= 0:
            raise BootError("PREFORKD_SETTINGS: a mold needs preload and master")
        import_all(*_LATER)
        server.preload()
        self._app = application.load(settings.app)
        server.check(self._app)
        server.make(self._app)
        if settings.warm_up:
            # All workers have what the mold imports.
            from . import warmup
            warmup.run(settings.warm_up, self._app, server.interface(), not server.sync,
                       self._agent.complain)
        if settings.before_fork is not None:
            self._before_fork = application.function(settings.before_fork, "before-fork")
        if settings.after_fork is not None:
            application.function(settings.after_fork, "after-fork")
        gc.collect()
        self._run_before_fork()
        decision = findings.decide(settings.preload, self._look())
        if decision.refused:
            raise BootError(decision.text)
        return decision

    def _run_before_fork(self):
        """The operator's function. Raises BootError."""
        if self._before_fork is not None:
            application.call_hook(self._before_fork, self._settings.before_fork, "before-fork")

    def _look(self):
        """Findings; the fork first, since it may end threads."""
        wrong = self._forker.trial()
        found = [findings.Finding(findings.FORK, wrong)] if wrong is not None else []
        return found + findings.look(self._agent.descriptors())

    def announce(self, decision):
        """READY: the master may send its orders, or knows that there will be no mold."""
        lines = [b"READY=1", b"SERVER=" + encode_text(self._agent.server.version)]
        if decision.forks:
            lines.append(b"FORKS=1")
        lines.append(b"TEXT=" + encode_text(split_text(decision.text, _TEXT_MAX)[0]))
        self._agent.restore_stderr()
        self._agent.channel.send_ready(b"\n".join(lines))

    def obey(self):
        """Waits for orders until the master is gone. Returns in new workers only, the order."""
        channel, agent = self._agent.channel, self._agent
        # What a later message brought along must not be open in the worker of an earlier one.
        channel.burst = 1
        while channel.is_open:
            for message in channel.wait(None):
                if message is None:
                    os._exit(0)
                if "FORK" in message:
                    order = self._fork(message)
                    if order is not None:
                        return order
                if "REOPEN" in message:
                    agent.reopen(message)
                    agent.server.reopen()
                close_received(message)
        # The application has closed what it does not know: there is nobody to listen to.
        os._exit(1)

    def _fork(self, message):
        """One order: returned in the new worker, None in the mold."""
        try:
            order = forking.Order(message)
        except ValueError as exc:
            self._agent.complain("not understood: %s" % exc)
            return None
        try:
            if order.missing:
                raise BootError("no room for %d descriptors (limit-nofile)" % order.missing)
            self._run_before_fork()
            if self._forker.fork():
                return order
        except (OSError, BootError) as exc:
            forking.tell_failure(order, exc)
        order.close()
        return None

    def load(self):
        """In a worker: the application, after the operator's function was called."""
        return application.loaded(self._app, self._settings)

    def settle(self, order):
        """In a worker: see Forker.settle()."""
        self._forker.settle(self._agent, order)


_FILES = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
_frozen = []        # weak references to files that the application opened before the freeze


def _open_files():
    """Files with a buffer, of those objects that are not frozen."""
    return [found for found in gc.get_objects() if type(found) in _FILES]


def files():
    """In a worker: what may hold something that was written and is in no file yet."""
    return [found for found in (known() for known in _frozen) if found is not None] + _open_files()


def run(agent):
    """The whole life of the mold. Returns in workers only, what gives the application there."""
    mold = Mold(agent)
    decision = mold.prepare()
    gc.collect()
    # What is in a buffer now would be written by every worker.
    flush(_open_files())
    _frozen[:] = [weakref.ref(found) for found in _open_files()]
    memory.settle()
    gc.freeze()
    mold.announce(decision)
    if not decision.forks:
        flush()
        os._exit(0)
    mold.settle(mold.obey())
    return mold.load
