# SPDX-License-Identifier: MIT
"""What all asyncio servers need: bounded accepts, the heartbeat, and closing the doors.

asyncio accepts as many connections per turn as its backlog says, so that one worker grabs what
others could serve: it is told a small one, and listen() of a Listener leaves the real backlog
alone. uvloop accepts singly but listens by itself: it gets the real value.
"""

import asyncio
from time import monotonic

from . import memory
from .farewell import Farewell
from .listeners import Listener

# Connections per turn: 1 would be fairest, but costs a third more time per connection.
ACCEPTS = 4

# Turns of the loop from accept() to the server's own notion of a connection, with much to spare.
TURNS = 20

# uvloop hides TLS handshakes from us: they get this long.
HANDSHAKE_WAIT = 0.5


class Loop:
    """One running asyncio loop and the servers on our listeners."""

    def __init__(self, agent, loop):
        """Takes hold of the loop's create_server; only calls with our sockets are changed."""
        memory.keep_large_buffers()
        self._agent = agent
        self._loop = loop
        self._servers = []
        self._is_uvloop = type(loop).__module__.split(".")[0] == "uvloop"
        self._native = loop.create_server
        loop.create_server = self._create_server
        agent.loop = loop

    async def _create_server(self, *args, **kwargs):
        """Stands in for the loop's method."""
        ours = isinstance(kwargs.get("sock"), Listener)
        if ours:
            kwargs["backlog"] = self._agent.settings.backlog if self._is_uvloop else ACCEPTS
            if kwargs.get("ssl") and not self._is_uvloop:
                kwargs["sock"].track()
        server = await self._native(*args, **kwargs)
        if ours:
            self._servers.append(server)
        return server

    def start_beating(self):
        """Heartbeats from the loop until it ends, also while it drains."""
        interval = self._agent.settings.beat
        if interval:
            self._beat(interval)

    def _beat(self, interval):
        """One turn."""
        self._agent.beat()
        self._loop.call_later(interval, self._beat, interval)

    def post(self, function):
        """Runs function in the loop; from any thread or signal handler."""
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            pass

    async def close_doors(self, listeners):
        """Stops accepting, then closes this process's copies of the listeners.

        asyncio drops a connection that it has accepted and not yet attached when its server is
        closed, so it gets some turns in between. On return the server knows every connection.
        """
        if not self._is_uvloop:
            for listener in listeners:
                if listener.fileno() >= 0:
                    self._loop.remove_reader(listener.fileno())
        await self._turns()
        for server in self._servers:
            server.close()
        for listener in listeners:
            listener.close()
        self._agent.stopped_accepting()
        await self._turns()

    async def _turns(self):
        """Lets the loop turn often enough for whatever is under way."""
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def _handshakes(self, listeners, known):
        """TLS connections that were accepted and that the server does not know yet."""
        return sum(listener.open_connections() for listener in listeners) - known

    async def wait_idle(self, listeners, watch, tls):
        """Doors are closed: waits for the end of all connections, at most until the last call.

        watch.connections() gives pairs of connection and state, watch.fileno() the descriptor of
        one; watch.close() closes one without giving way to the loop.
        """
        agent, farewell = self._agent, Farewell(self._agent)
        blind = monotonic() + (min(HANDSHAKE_WAIT, agent.grace_left() / 4)
                               if tls and self._is_uvloop else 0)
        while not agent.last_call():
            began = monotonic()
            known = list(watch.connections())
            for connection in farewell.due(known, watch.fileno):
                watch.close(connection)
            waiting = known or began < blind
            if tls and not self._is_uvloop and began < agent.fresh_end():
                waiting = waiting or self._handshakes(listeners, len(known)) > 0
            if not waiting:
                break
            await asyncio.sleep(farewell.pause(began))
        # A request that has just begun may still have an idle timer to get rid of.
        await self._turns()


def fileno(transport):
    """The descriptor of a transport, or -1."""
    sock = transport.get_extra_info("socket")
    return sock.fileno() if sock is not None else -1


def has_ended(transport):
    """True when nothing more will be sent or received."""
    try:
        return transport.is_closing() and not transport.get_write_buffer_size()
    except AttributeError:
        # TLS before Python 3.11 has nothing left to ask.
        return True
