# SPDX-License-Identifier: MIT
"""Counts requests around an ASGI application.

Invisible to the application and to the server: scope and exceptions pass untouched, every request
ends exactly once. WSGI applications are not wrapped, because servers look at the types of what they
return: there requests are counted where the server handles them.
"""

from .errors import shorten

CLOSE = (b"connection", b"close")


class CountedASGI:
    """Counts http requests, not websockets, which are long-lived connections. Watches lifespan."""

    def __init__(self, app, agent):
        """Wraps an ASGI 3 application."""
        self._app = app
        self._agent = agent
        self._begin = agent.counter.begin
        self._end = agent.counter.end
        self._changed = agent.counter.changed
        # Set in the loop, together with what is done for requests that are in progress.
        self.closing = False
        # Scopes of requests whose response has the announcement from the server already.
        self.announced = []

    async def __call__(self, scope, receive, send):
        """One connection of the application."""
        kind = scope["type"]
        if kind == "http":
            serial = self._begin()
            try:
                if self.closing and scope.get("http_version", "")[:1] == "1" \
                        and not any(scope is known for known in self.announced):
                    send = _closing(send)
                await self._app(scope, receive, send)
            finally:
                self._end(serial)
        elif kind == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            self._changed()
            try:
                await self._app(scope, receive, send)
            finally:
                self._changed()

    async def _lifespan(self, scope, receive, send):
        """Passes lifespan through; remembers why startup failed, as servers only log it."""
        agent = self._agent
        started = False

        async def watched(message):
            """send() of the lifespan."""
            nonlocal started
            if message["type"] == "lifespan.startup.complete":
                started = True
            elif message["type"] == "lifespan.startup.failed":
                agent.lifespan_error = lifespan_text(message.get("message") or "")
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as exc:
            if not started:
                # Many applications just do not know lifespan: no error unless the server gives up.
                agent.lifespan_raised = exc
            raise


def lifespan_text(text):
    """A summary line, and what the application said."""
    lines = text.strip().splitlines()
    if not lines:
        return "the application's lifespan startup failed"
    head = "the application's lifespan startup failed: %s" % lines[-1].strip()
    return shorten(head, text.strip()) if len(lines) > 1 else head


def _closing(send):
    """send() for a response after which an HTTP/1 connection ends."""
    async def wrapped(message):
        """Adds the header unless the application did."""
        if message["type"] == "http.response.start":
            headers = list(message.get("headers") or ())
            if not any(bytes(name).lower() == b"connection" for name, _ in headers):
                headers.append(CLOSE)
            message = dict(message, headers=headers)
        await send(message)
    return wrapped


def as_asgi3(app):
    """Makes one callable of an ASGI 2 application's two."""
    async def single(scope, receive, send):
        """The usual signature."""
        await app(scope)(receive, send)
    return single
