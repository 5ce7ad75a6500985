# SPDX-License-Identifier: MIT
"""When the connections of a draining worker end.

A connection is BUSY with a request, FRESH when nothing was asked on it yet, or IDLE after a
response that did not announce its end. A request that is on its way to an idle connection must not
meet a closed one: so these stay open for a while, and none is closed on which something has
arrived. Functions of the operating system are bound at import, before gevent can patch them.
"""

from _socket import SHUT_RD, socket as _socket
from select import POLLIN, poll
from time import monotonic

BUSY, FRESH, IDLE = "busy", "fresh", "idle"

# Seconds between two looks at the connections of a drain, and how many times longer than the look
# itself that has to be: a worker may have very many of them.
LOOK = 0.02
_LOOK_SHARE = 20


def has_input(fd):
    """True when something is there to be read, the end of the stream included."""
    if fd < 0:
        return False
    poller = poll()
    poller.register(fd, POLLIN)
    try:
        return bool(poller.poll(0))
    except OSError:
        return False


def stop_reading(fd):
    """Whoever reads from the socket gets what has arrived, and then the end of the stream.

    For servers that notice the end only where they wait for the next request. On the descriptor
    itself, since TLS wrappers forget their session in a shutdown().
    """
    if fd < 0:
        return
    try:
        sock = _socket(fileno=fd)
    except OSError:
        return
    try:
        sock.shutdown(SHUT_RD)
    except OSError:
        pass
    finally:
        sock.detach()


class Farewell:
    """Asked again and again during one drain."""

    def __init__(self, agent):
        """The agent knows the times."""
        self._agent = agent
        self._since = {}

    def due(self, connections, fileno):
        """Connections to close at once, before anything else is done.

        connections are pairs of any hashable object and its state; fileno() gives the descriptor
        of one, or -1.
        """
        agent, now = self._agent, monotonic()
        since, due = {}, []
        for connection, state in connections:
            if state is BUSY:
                continue
            if state is FRESH:
                end = agent.fresh_end()
            else:
                start = since[connection] = self._since.get(connection, now)
                end = agent.idle_end(start)
            if now >= end and not has_input(fileno(connection)):
                due.append(connection)
        self._since = since
        return due

    def pause(self, began):
        """Seconds until the next look, after one that began at the monotonic time given."""
        return max(LOOK, (monotonic() - began) * _LOOK_SHARE)
