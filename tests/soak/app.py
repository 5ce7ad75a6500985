# SPDX-License-Identifier: MIT
"""The application of the loss tests: answers with a body that only the right request can expect.

    /echo?token=T&size=N          N bytes: T and a newline, again and again, cut off
    /slow?ms=M&token=T&size=N     the same after M ms
    POST to one of them           the request's body must be made of T in the same way

Anything else gets 404, a request body that is not as it has to be 400. The import takes
SOAK_IMPORT_SECONDS.
"""

import asyncio
import os
import time

time.sleep(float(os.environ.get("SOAK_IMPORT_SECONDS") or 0))


class Wrong(Exception):
    """The request is not one of ours; the text is the status."""


def _body(token, size):
    """That many bytes made of a token."""
    unit = token.encode() + b"\n"
    return (unit * (size // len(unit) + 1))[:size]


def _understand(path, query):
    """(token, size, seconds) of a request."""
    try:
        words = dict(word.split("=", 1) for word in query.split("&"))
        pause = {"/echo": 0.0, "/slow": int(words.get("ms", 0)) / 1000}[path]
        return words["token"], int(words["size"]), pause
    except (KeyError, ValueError):
        raise Wrong("404 Not Found") from None


def _check(received, token):
    """The body of a request, read whole."""
    if received != _body(token, len(received)):
        raise Wrong("400 Bad Request")


def wsgi(environ, start_response):
    """For WSGI servers."""
    try:
        token, size, pause = _understand(environ["PATH_INFO"], environ["QUERY_STRING"])
        expected = int(environ.get("CONTENT_LENGTH") or 0)
        received = environ["wsgi.input"].read(expected) if expected else b""
        if len(received) != expected:
            raise Wrong("400 Bad Request")
        _check(received, token)
        if pause:
            time.sleep(pause)
        status, body = "200 OK", _body(token, size)
    except Wrong as why:
        status, body = str(why), b""
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def _lifespan(receive, send):
    """Nothing to do, but said properly."""
    while True:
        kind = (await receive())["type"]
        await send({"type": kind + ".complete"})
        if kind == "lifespan.shutdown":
            return


async def _receive_all(receive):
    """The whole body of a request."""
    received = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Wrong("400 Bad Request")
        received += message.get("body", b"")
        if not message.get("more_body"):
            return received


async def asgi(scope, receive, send):
    """For ASGI servers."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    try:
        token, size, pause = _understand(scope["path"], scope["query_string"].decode())
        _check(await _receive_all(receive), token)
        if pause:
            await asyncio.sleep(pause)
        status, body = 200, _body(token, size)
    except Wrong as why:
        status, body = int(str(why)[:3]), b""
    await send({"type": "http.response.start", "status": status,
                "headers": [(b"content-type", b"text/plain"),
                            (b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
