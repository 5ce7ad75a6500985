# SPDX-License-Identifier: MIT
"""An application that knows how often it was forked, and what it imported since.

The parts are those of plain.py; /modules tells what was imported after the fork, /calls which
functions were called and in which process, /random a number.
"""

import json
import os
import random
import sys

import plain

calls = []
_modules = set()


def _note(name):
    """One call, with its process."""
    calls.append([name, os.getpid()])


def before_fork():
    """In the mold."""
    _note("before_fork")


def after_fork():
    """In a worker."""
    _note("after_fork")
    _modules.update(sys.modules)


def warm():
    """A function of warm-up."""
    _note("warm")


async def warm_async():
    """One that is a coroutine function."""
    _note("warm_async")


os.register_at_fork(before=lambda: _note("at_fork_before"),
                    after_in_child=lambda: _note("at_fork_child"))


def _answer(path):
    """What is known here, or None."""
    if path == "/modules":
        return json.dumps(sorted(set(sys.modules) - _modules))
    if path == "/calls":
        return json.dumps(calls)
    if path == "/random":
        return json.dumps([random.random(), os.environ.get("PREFORKD_SLOT"),
                           os.environ.get("PREFORKD_WORKER_ID"), os.environ.get("PREFORKD_SERIAL")])
    return None


def app(environ, start_response):
    """WSGI."""
    text = _answer(environ["PATH_INFO"])
    if text is None:
        return plain.app(environ, start_response)
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return [text.encode()]


async def asgi(scope, receive, send):
    """ASGI 3."""
    text = _answer(scope["path"]) if scope["type"] == "http" else None
    if text is None:
        await plain.asgi(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [
        (b"content-length", str(len(text)).encode())]})
    await send({"type": "http.response.body", "body": text.encode()})
