# SPDX-License-Identifier: MIT
"""bench_touch.py that keeps what it writes, for ever."""

import bench_app
import bench_touch

_KEPT = []


def wsgi(environ, start_response):
    """For WSGI servers."""
    _KEPT.append(bench_touch.touch())
    return bench_app.wsgi(environ, start_response)


async def asgi(scope, receive, send):
    """For ASGI servers."""
    if scope["type"] == "http":
        _KEPT.append(bench_touch.touch())
    await bench_app.asgi(scope, receive, send)
