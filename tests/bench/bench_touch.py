# SPDX-License-Identifier: MIT
"""bench_app.py that writes 200 kB of memory with each request, and lets go of it."""

import bench_app

EACH = 200_000


def touch():
    """Each page of it."""
    return b"x" * EACH


def wsgi(environ, start_response):
    """For WSGI servers."""
    touch()
    return bench_app.wsgi(environ, start_response)


async def asgi(scope, receive, send):
    """For ASGI servers."""
    if scope["type"] == "http":
        touch()
    await bench_app.asgi(scope, receive, send)
