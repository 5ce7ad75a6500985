# SPDX-License-Identifier: MIT
"""Setting warm-up: what the mold does once, so that no worker has to.

A word is a function, or the path or URL of a request that goes through the application without any
socket. An exception, a status of 500 or more, and no response at all fail the boot; a status of 400
or more is a warning. ASGI requests run in a loop of their own that is closed afterwards; the
application's lifespan is not run, since what it makes belongs to a worker's loop.
"""

import inspect
import io
import sys
from urllib.parse import unquote_to_bytes, urlsplit

from . import application, wrap
from .errors import BootError, describe

AGENT = "preforkd-warm-up"
HOST = "localhost"

_PORTS = {"http": 80, "https": 443}


class Request:
    """A GET request, from a word of the setting."""

    def __init__(self, word):
        """Raises BootError for a URL that makes no sense."""
        self.word = word
        try:
            parts = urlsplit(word)
            self.scheme = parts.scheme or "http"
            self.host = parts.hostname or HOST
            self.port = parts.port or _PORTS.get(self.scheme)
            self.netloc = parts.netloc or HOST
        except ValueError as exc:
            raise BootError("warm-up = %s: %s" % (word, exc)) from None
        if self.port is None:
            raise BootError("warm-up = %s: only http and https can be asked for" % word)
        self.raw_path = (parts.path or "/").encode("utf-8", "surrogateescape")
        self.path = unquote_to_bytes(self.raw_path)
        self.query = parts.query.encode("utf-8", "surrogateescape")


def is_request(word):
    """True for a path or URL, False for "module:function"."""
    return word.startswith("/") or "://" in word


def _environ(request, multithread):
    """A WSGI environment, complete by PEP 3333."""
    return {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": request.path.decode("latin-1"),
        "QUERY_STRING": request.query.decode("latin-1"), "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": request.host, "SERVER_PORT": str(request.port), "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": request.netloc, "HTTP_USER_AGENT": AGENT, "HTTP_ACCEPT": "*/*",
        "wsgi.version": (1, 0), "wsgi.url_scheme": request.scheme, "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr, "wsgi.multithread": multithread, "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def ask_wsgi(app, request, multithread):
    """The status of the response as a number, or None when there was none."""
    statuses, written = [], []

    def start_response(status, headers, exc_info=None):
        """The application's answer; an error may replace it until something was sent."""
        if exc_info is not None and written:
            raise exc_info[1].with_traceback(exc_info[2])
        statuses.append(status)
        return written.append

    result = app(_environ(request, multithread), start_response)
    try:
        for part in result:
            if part:
                written.append(True)
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            close()
    return int(statuses[-1].split()[0]) if statuses else None


def _scope(request):
    """An ASGI http scope."""
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "method": "GET", "scheme": request.scheme, "path": request.path.decode("utf-8", "replace"),
        "raw_path": request.raw_path, "query_string": request.query, "root_path": "",
        "headers": [(b"host", request.netloc.encode("latin-1", "replace")),
                    (b"user-agent", AGENT.encode()), (b"accept", b"*/*")],
        "client": ("127.0.0.1", 0), "server": (request.host, request.port),
    }


async def _ask_asgi(app, request):
    """The status, or None."""
    import asyncio
    statuses, asked, complete = [], [], asyncio.Event()

    async def receive():
        """An empty body, then the end when the response is complete, as with a client."""
        if not asked:
            asked.append(True)
            return {"type": "http.request", "body": b"", "more_body": False}
        await complete.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        """The application's answer."""
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            complete.set()

    await app(_scope(request), receive, send)
    return statuses[-1] if statuses else None


async def _without_threads(coroutine):
    """Awaits it. asgiref's thread for synchronous code would stay, unless it is this context's."""
    context = getattr(sys.modules.get("asgiref.sync"), "ThreadSensitiveContext", None)
    if context is None:
        return await coroutine
    async with context():
        return await coroutine


def run_coroutine(coroutine):
    """Runs it in a loop of which nothing is left: no task, no generator, no thread.

    Not by asyncio.run(), after which this thread has no loop and cannot get one by itself.
    """
    import asyncio
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(_without_threads(coroutine))
    finally:
        try:
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            # Without arguments gather() would look for the loop of this thread, and make one.
            if tasks:
                loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            if hasattr(loop, "shutdown_default_executor"):
                loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()


def _function(word):
    """Calls a function of the application's; what is a coroutine is run."""
    found = application.function(word, "warm-up")
    try:
        result = found()
        if inspect.iscoroutine(result):
            run_coroutine(result)
    except BaseException as exc:
        raise BootError(describe(exc, "warm-up = %s failed" % word)) from None


def run(words, app, kind, multithread, complain):
    """Does everything in order. complain(text) is told of warnings. Raises BootError.

    kind of the application: wsgi or asgi.
    """
    if kind == "asgi" and application.is_double_callable(app):
        app = wrap.as_asgi3(app)
    for word in words:
        if not is_request(word):
            _function(word)
            continue
        request = Request(word)
        try:
            if kind == "asgi":
                status = run_coroutine(_ask_asgi(app, request))
            else:
                status = ask_wsgi(app, request, multithread)
        except BaseException as exc:
            raise BootError(describe(exc, "warm-up = %s failed" % word)) from None
        if status is None:
            raise BootError("warm-up = %s: the application gave no response" % word)
        if status >= 500:
            raise BootError("warm-up = %s: the application answered with status %d"
                            % (word, status))
        if status >= 400:
            complain("warm-up = %s: the application answered with status %d" % (word, status))
