# SPDX-License-Identifier: MIT
"""hypercorn's connections: what each of them is doing, and their end.

hypercorn itself closes idle connections at once when it shuts down, sends no "Connection: close"
and no close code to websockets. All of this looks at attributes that 0.13 and 0.18 share.
"""

import asyncio
import dataclasses
from time import monotonic

from ..aio import fileno, has_ended
from ..farewell import BUSY, FRESH, IDLE, LOOK
from ..wrap import CLOSE

# Close code of a websocket: the service restarts.
_RESTART = 1012

# Looks, each at least a turn of the loop after the one before, until what was read has reached
# hypercorn's protocol.
_DIGESTED = 10


class Watch:
    """All connections of this process."""

    def __init__(self):
        """None yet."""
        self.open = set()

    def begin(self):
        """A drain begins: from now on it is noticed when something is read."""
        for connection in self.open:
            connection.preforkd_quiet = 0
            _notice_input(connection)

    def connections(self):
        """Each connection with its state."""
        found = []
        for connection in list(self.open):
            state = _state(connection)
            if state is not None:
                found.append((connection, state))
        return found

    def fileno(self, connection):
        """The descriptor."""
        return fileno(connection.writer.transport)

    def close(self, connection):
        """At once for HTTP/1; HTTP/2 says goodbye."""
        protocol = _protocol(connection)
        if hasattr(protocol, "streams"):
            try:
                protocol.connection.close_connection()
                connection.writer.write(protocol.connection.data_to_send())
            except Exception:
                # It was closed already; anything else must not stop the drain.
                pass
        connection.writer.close()

    def announce_close(self):
        """Responses that have not begun yet close their connection; HTTP/2 gets a GOAWAY.

        It names the highest stream there can be: what is on its way is served all the same.
        """
        for connection in list(self.open):
            protocol = _protocol(connection)
            if hasattr(protocol, "streams"):
                connection.writer.write(_goaway())
            elif _is_http(getattr(protocol, "stream", None)):
                protocol.stream.send = _closing(protocol.stream.send)

    async def end(self, seconds):
        """Closes websockets, and waits for their clients for some seconds."""
        from hypercorn.events import Closed
        closing = []
        for connection in list(self.open):
            protocol = _protocol(connection)
            if hasattr(protocol, "streams") and has_ended(connection.writer.transport):
                # 0.13 leaves its sending task behind.
                asyncio.ensure_future(protocol.handle(Closed()))
                continue
            streams = getattr(protocol, "streams", {0: getattr(protocol, "stream", None)})
            closing += [asyncio.ensure_future(_restart(stream)) for stream in streams.values()
                        if stream is not None and not _is_http(stream)]
        end = monotonic() + seconds
        while closing and monotonic() < end:
            if not self.connections():
                break
            await asyncio.sleep(LOOK)


def _protocol(connection):
    """The connection's H11Protocol or H2Protocol, or None."""
    return getattr(getattr(connection, "protocol", None), "protocol", None)


def _is_http(stream):
    """False for a websocket, and for None."""
    return type(stream).__name__ == "HTTPStream"


def _state(connection):
    """What a connection is doing, or None when it has ended."""
    protocol, transport = _protocol(connection), connection.writer.transport
    h2 = hasattr(protocol, "streams")
    works = not protocol.idle if h2 else getattr(protocol, "stream", None) is not None
    if works:
        return BUSY
    if transport.is_closing():
        return None if has_ended(transport) else BUSY
    if connection.reader.at_eof():
        # The client has gone; hypercorn would wait for a timer of its own.
        connection.writer.close()
        return None
    connection.preforkd_quiet += 1
    if connection.preforkd_quiet < _DIGESTED or transport.get_write_buffer_size():
        return BUSY
    if h2:
        return IDLE
    if protocol is not None and protocol.connection.trailing_data[0]:
        return BUSY
    return FRESH if connection.preforkd_fresh else IDLE


def _notice_input(connection):
    """Between the reader and the protocol there are some turns of the loop."""
    feed = connection.reader.feed_data

    def noticed(data):
        """feed_data() of this one reader."""
        connection.preforkd_quiet = 0
        feed(data)
    connection.reader.feed_data = noticed


def _closing(send):
    """send() of a stream whose response has perhaps not begun."""
    async def wrapped(event):
        """Adds the header to the head of the response."""
        if type(event).__name__ == "Response" and event.status_code >= 200 and not any(
                bytes(name).lower() == CLOSE[0] for name, _ in event.headers):
            event = dataclasses.replace(event, headers=list(event.headers) + [CLOSE])
        await send(event)
    return wrapped


def _goaway():
    """The frame that announces the end of an HTTP/2 connection."""
    from hyperframe.frame import GoAwayFrame
    return GoAwayFrame(0, last_stream_id=2**31 - 1, error_code=0).serialize()


async def _restart(stream):
    """Closes one websocket as its application could."""
    if getattr(stream.state, "name", "") == "CONNECTED":
        await stream.app_send({"type": "websocket.close", "code": _RESTART})


def watch(run):
    """Makes connections of hypercorn.asyncio.run known; gives the Watch."""
    seen = Watch()

    class WatchedTCPServer(run.TCPServer):
        """One connection."""

        preforkd_fresh = True
        preforkd_quiet = 0

        async def run(self):
            """The whole life of the connection."""
            seen.open.add(self)
            try:
                await super().run()
            finally:
                seen.open.discard(self)

        async def protocol_send(self, event):
            """The first event is sent when a request has begun; then no idle timer runs."""
            await super().protocol_send(event)
            self.preforkd_fresh = False

    run.TCPServer = WatchedTCPServer
    return seen
