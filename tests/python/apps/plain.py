# SPDX-License-Identifier: MIT
"""Small WSGI and ASGI applications without any framework, for the launcher's tests.

Paths: / answers; /sleep?SECONDS blocks the thread or the loop; /wait?SECONDS waits politely;
/fail raises; /env, /pid, /path, /fork tell about the process; /stream streams; /slow?SECONDS sends
the half of its answer before it waits; /ticks?COUNT streams for a while; /echo sends the body back;
/touch/PATH makes a file; /deaf?SECONDS is /sleep with a SIGTERM that does not interrupt it. A
websocket echoes.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time


def _info(path, query):
    """The answers that both kinds have."""
    if path == "/env":
        return json.dumps({k: v for k, v in os.environ.items()})
    if path == "/pid":
        return str(os.getpid())
    if path == "/path":
        return json.dumps({"path": sys.path, "cwd": os.getcwd(), "argv": sys.argv})
    if path == "/children":
        code = ("import os, json, signal; print(json.dumps([sorted(int(f) for f in "
                "os.listdir('/proc/self/fd')), dict(os.environ), "
                "[int(signal.getsignal(s) == signal.SIG_IGN) for s in (1, 3, 10, 12)]]))")
        return subprocess.run([sys.executable, "-c", code], close_fds=False,
                              stdout=subprocess.PIPE, check=True).stdout.decode()
    if path == "/forked":
        pid = os.fork()
        if pid == 0:
            time.sleep(float(query))
            os._exit(0)
        return str(pid)
    if path == "/big":
        return "x" * int(query)
    return "hello"


def _deaf(seconds):
    """Sleeps; a SIGTERM comes in another thread, as if just before the call of sleep."""
    def late():
        """Once the caller sleeps."""
        time.sleep(0.2)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    threading.Thread(target=late, daemon=True).start()
    time.sleep(seconds)


def app(environ, start_response):
    """WSGI."""
    path, query = environ["PATH_INFO"], environ.get("QUERY_STRING", "")
    if path == "/deaf":
        _deaf(float(query))
    if path in ("/sleep", "/wait", "/spin"):
        print("inside", path)
    if path in ("/sleep", "/wait"):
        time.sleep(float(query))
    if path == "/spin":
        end = time.monotonic() + float(query)
        while time.monotonic() < end:
            pass
    if path == "/fail":
        raise RuntimeError("asked to fail")
    if path == "/exit":
        os._exit(int(query))
    if path == "/multi":
        body = "%s %s" % (environ["wsgi.multiprocess"], environ["wsgi.multithread"])
    elif path == "/scheme":
        body = environ["wsgi.url_scheme"]
    elif path == "/echo":
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
    elif path == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (b"part %d\n" % i for i in range(3))
    elif path == "/slow":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "10")])
        return (time.sleep(i * float(query)) or b"hello" for i in range(2))
    elif path == "/ticks":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (time.sleep(0.1) or b"tick\n" for i in range(int(query)))
    else:
        body = _info(path, query)
    data = body.encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(data)))])
    return [data]


def make_app(word="hello", number=1):
    """A factory."""
    def made(environ, start_response):
        """WSGI."""
        data = ("%s %d" % (word, number)).encode()
        start_response("200 OK", [("Content-Length", str(len(data)))])
        return [data]
    return made


async def _lifespan(receive, send):
    """Startup and shutdown."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            mode = os.environ.get("TEST_LIFESPAN")
            if mode == "fail":
                await send({"type": "lifespan.startup.failed", "message": "no database today"})
                return
            if mode == "raise":
                raise RuntimeError("lifespan raises")
            await send({"type": "lifespan.startup.complete"})
        else:
            marker = os.environ.get("TEST_SHUTDOWN_FILE")
            if marker:
                with open(marker, "w") as out:
                    out.write("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return


async def _echo(receive, send):
    """A websocket that repeats what it hears until it hears "bye"."""
    while True:
        message = await receive()
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif message["type"] == "websocket.disconnect":
            print("disconnect", message.get("code"))
            return
        elif message.get("text") == "bye":
            await send({"type": "websocket.close", "code": 1000})
            return
        else:
            await send({"type": "websocket.send", "text": message["text"]})


async def asgi(scope, receive, send):
    """ASGI 3."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    if scope["type"] == "websocket":
        await _echo(receive, send)
    if scope["type"] != "http":
        return
    path, query = scope["path"], scope["query_string"].decode()
    # Old hypercorns close kept-alive connections when the answer comes before the request's end.
    data, more = b"", True
    while more:
        message = await receive()
        data += message.get("body", b"")
        more = message.get("more_body", False)
    if path in ("/sleep", "/wait", "/spin"):
        print("inside", path)
    if path == "/deaf":
        _deaf(float(query))
    if path in ("/sleep", "/spin"):
        time.sleep(float(query))
    if path == "/wait":
        await asyncio.sleep(float(query))
    if path == "/fail":
        raise RuntimeError("asked to fail")
    if path == "/exit":
        os._exit(int(query))
    if path == "/scheme":
        body = scope["scheme"]
    elif path.endswith("/root"):
        body = scope.get("root_path", "")
    elif path == "/echo":
        body = data.decode()
    elif path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for i in range(3):
            await send({"type": "http.response.body", "body": b"part %d\n" % i, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    elif path in ("/slow", "/ticks"):
        slow = path == "/slow"
        count = 2 if slow else int(query)
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-length", b"10")] if slow else []})
        for i in range(count):
            await asyncio.sleep((i * float(query)) if slow else 0.1)
            await send({"type": "http.response.body", "more_body": i + 1 < count,
                        "body": b"hello" if slow else b"tick\n"})
        return
    else:
        body = _info(path, query)
    data = body.encode()
    await send({"type": "http.response.start", "status": 200, "headers": [
        (b"content-type", b"text/plain"), (b"content-length", str(len(data)).encode())]})
    await send({"type": "http.response.body", "body": data})


def make_asgi():
    """A factory."""
    async def made(scope, receive, send):
        """ASGI 3."""
        await asgi(scope, receive, send)
    return made


def asgi2(scope):
    """ASGI 2."""
    async def instance(receive, send):
        """The second half."""
        await asgi(scope, receive, send)
    return instance


not_callable = 42
