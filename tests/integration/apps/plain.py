# SPDX-License-Identifier: MIT
"""Applications without any framework; what they do is chosen by the path.

    /            hello                     /pid        the worker's pid
    /env         environment as JSON       /info       cwd, sys.path, ids, umask, limits, pid
    /sleep?S     blocks S seconds          /big?N      N bytes
    /gate?PATH   blocks until it exists
    /leak?MIB    keeps so much memory      /leakfds?N  keeps N descriptors open
    /leakas?MIB  reserves address space    /childleak?MIB  a child process keeps the memory
    /hang        never answers, in Python  /spin       never answers and never sleeps
    /freeze      stops the whole process   /crash      SIGSEGV
    /exit?CODE   os._exit                  /fail       raises
    /fork?S      a grandchild for S seconds; its pid
    /say?TEXT    writes a line to stderr   /print?TEXT to stdout
    /shutdown    shutdown() on every listening socket
    /channel?WHAT  close, replace, garbage, huge or flood: misuses the worker's channel
"""

import asyncio
import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.parse

KEPT = []


def _leak(mib):
    """Memory that is really there."""
    KEPT.append(bytearray(os.urandom(4096) * int(float(mib) * 256)))
    return str(len(KEPT))


def _leak_fds(n):
    """Open descriptors."""
    KEPT.extend(os.open("/dev/null", os.O_RDONLY) for _ in range(int(n)))
    return str(len(os.listdir("/proc/self/fd")))


def _leak_as(mib):
    """Address space without memory."""
    KEPT.append(mmap.mmap(-1, int(mib) << 20, mmap.MAP_PRIVATE, mmap.PROT_READ))
    return "ok"


def _child(code):
    """A child process that stays; answers when it says so."""
    child = subprocess.Popen([sys.executable, "-S", "-E", "-c", code], stdout=subprocess.PIPE)
    KEPT.append(child)
    child.stdout.readline()
    return str(child.pid)


def _child_leak(mib):
    """A child with memory."""
    return _child("import sys, time; x = b'x' * (%d << 20); print('ok', flush=True); "
                  "time.sleep(600)" % int(mib))


def _fork(seconds):
    """A grandchild that outlives the request, and would outlive its parent."""
    pid = os.fork()
    if pid == 0:
        time.sleep(float(seconds or 600))
        os._exit(0)
    return str(pid)


def _sockets(kind, listening):
    """Copies of the process's sockets of a kind, by number."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            sock = socket.socket(fileno=int(name))
        except OSError:
            continue
        try:
            if sock.type == kind and bool(
                    sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)) == listening:
                found.append(int(name))
        except OSError:
            pass
        finally:
            sock.detach()
    return found


def _shutdown(_):
    """What a server must never do to a shared socket."""
    for fd in _sockets(socket.SOCK_STREAM, True):
        sock = socket.socket(fileno=fd)
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        finally:
            sock.detach()
    return "done"


def _channel(what):
    """Misuses the channel to the master."""
    fd = _sockets(socket.SOCK_SEQPACKET, False)[0]
    if what == "close":
        # Another thread blocks in it: only shutdown() is seen by the other side at once.
        sock = socket.socket(fileno=fd)
        sock.shutdown(socket.SHUT_RDWR)
        sock.detach()
    elif what == "replace":
        # by one that nobody writes to: only the master sees that something is wrong
        KEPT.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        with socket.socket(fileno=os.dup(fd)) as old:
            os.dup2(KEPT[-1][0].fileno(), fd)
            old.shutdown(socket.SHUT_RDWR)
    elif what == "garbage":
        for data in (b"\0\xff\xfe", b"REQUESTS=-5\n", b"no equals sign", b"=", b"\n\n\n",
                     b"REQUESTS=99999999999999999999999\n", b"READY=2\nREADY=1\nBUSY=x\n",
                     b"OLDEST_USEC=18446744073709551615\n", b"A" * 4096, os.urandom(4000)):
            _send(fd, data)
    elif what == "huge":
        _send(fd, b"STATUS=" + b"x" * 60000)
    else:
        # a forked child closes what it knows of the channel
        fd = os.dup(fd)
        pid = os.fork()
        if pid == 0:
            end = time.monotonic() + 4
            while time.monotonic() < end:
                _send(fd, b"STATUS=flooded\n")
            os._exit(0)
        os.close(fd)
    return "done"


def _send(fd, data):
    """Waits when the buffer is full."""
    sock = socket.socket(fileno=fd)
    try:
        sock.send(data)
    except BlockingIOError:
        time.sleep(0.0005)
    except OSError:
        pass
    finally:
        sock.detach()


def _info(_):
    """What a worker was given."""
    mask = os.umask(0)
    os.umask(mask)
    with open("/proc/self/oom_score_adj") as f:
        score = int(f.read())
    return json.dumps({
        "cwd": os.getcwd(), "path": sys.path, "argv": sys.argv, "pid": os.getpid(),
        "uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(), "umask": mask,
        "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
        "as": resource.getrlimit(resource.RLIMIT_AS), "oom": score, "pgid": os.getpgid(0),
        "executable": sys.executable, "prefix": sys.prefix,
        "stdin": os.readlink("/proc/self/fd/0"), "ppid": os.getppid(),
        "fds": sorted(int(n) for n in os.listdir("/proc/self/fd"))})


def _say(stream, text):
    """A line of output."""
    stream.write(urllib.parse.unquote_plus(text) + "\n")
    stream.flush()
    return "said"


def _hang(_):
    """A request that never ends, with a telling name in its stack."""
    def stuck_in_this_function():
        """The bottom of the stack."""
        while True:
            time.sleep(1)
    stuck_in_this_function()


def _spin(_):
    """A request that holds the interpreter's lock most of the time."""
    while True:
        pass


def _freeze(_):
    """The process stops, as a debugger would stop it."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return "continued"


def _crash(_):
    """A fault in C."""
    # faulthandler would print to the log, which is fine
    ctypes.string_at(0)


def _fail(_):
    """An exception."""
    raise RuntimeError("asked to fail")


def _sleep(seconds):
    """Blocks."""
    time.sleep(float(seconds))
    return "slept"


def _gate(path):
    """Blocks until the file exists."""
    while not os.path.exists(path):
        time.sleep(0.01)
    return "open"


ACTIONS = {
    "/": lambda q: "hello",
    "/pid": lambda q: str(os.getpid()),
    "/env": lambda q: json.dumps(dict(os.environ)),
    "/info": _info,
    "/sleep": _sleep,
    "/gate": _gate,
    "/big": lambda q: "x" * int(q),
    "/leak": _leak,
    "/leakfds": _leak_fds,
    "/leakas": _leak_as,
    "/childleak": _child_leak,
    "/fork": _fork,
    "/hang": _hang,
    "/spin": _spin,
    "/freeze": _freeze,
    "/crash": _crash,
    "/exit": lambda q: os._exit(int(q)),
    "/fail": _fail,
    "/say": lambda q: _say(sys.stderr, q),
    "/print": lambda q: _say(sys.stdout, q),
    "/shutdown": _shutdown,
    "/channel": _channel,
}


def app(environ, start_response):
    """WSGI."""
    path, query = environ["PATH_INFO"], environ.get("QUERY_STRING", "")
    action = ACTIONS.get(path)
    if path == "/scheme":
        body = environ["wsgi.url_scheme"]
    elif action is None:
        start_response("404 Not Found", [("Content-Length", "0")])
        return [b""]
    else:
        body = action(query)
    data = body.encode()
    start_response("200 OK", [("Content-Type", "text/plain"),
                              ("Content-Length", str(len(data)))])
    return [data]


def make_app(word="made"):
    """A factory."""
    def made(environ, start_response):
        """WSGI."""
        data = word.encode()
        start_response("200 OK", [("Content-Length", str(len(data)))])
        return [data]
    return made


async def _lifespan(receive, send):
    """Startup and shutdown, as the environment wants it."""
    mode = os.environ.get("TEST_LIFESPAN")
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            if mode == "fail":
                await send({"type": "lifespan.startup.failed", "message": "no database today"})
                return
            if mode == "never":
                await asyncio.sleep(3600)
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return


async def asgi(scope, receive, send):
    """ASGI 3."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    path, query = scope["path"], scope["query_string"].decode()
    status = 200
    if path == "/wait":
        await asyncio.sleep(float(query))
        body = "waited"
    elif path == "/hangpolitely":
        await asyncio.sleep(3600)
    elif path == "/scheme":
        body = scope["scheme"]
    elif path in ACTIONS:
        body = ACTIONS[path](query)
    else:
        status, body = 404, ""
    data = body.encode()
    await send({"type": "http.response.start", "status": status, "headers": [
        (b"content-type", b"text/plain"), (b"content-length", str(len(data)).encode())]})
    await send({"type": "http.response.body", "body": data})


def make_asgi():
    """A factory."""
    return asgi
