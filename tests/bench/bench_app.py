# SPDX-License-Identifier: MIT
"""The application of all benchmarks: answers at once with a body whose length is known."""

BODY = b"Hello, world, from a benchmark.\n"
_LENGTH = str(len(BODY))
_START = {"type": "http.response.start", "status": 200,
          "headers": [(b"content-type", b"text/plain"), (b"content-length", _LENGTH.encode())]}
_REST = {"type": "http.response.body", "body": BODY}


def wsgi(environ, start_response):
    """For WSGI servers."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", _LENGTH)])
    return [BODY]


async def asgi(scope, receive, send):
    """For ASGI servers; lifespan is not supported, which servers accept."""
    if scope["type"] != "http":
        raise RuntimeError("only http")
    await send(_START)
    await send(_REST)
