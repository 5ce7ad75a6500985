# SPDX-License-Identifier: MIT
"""Small WSGI applications whose memory does one thing each, for tests/growth/record.

Each is a function of its own; what a request allocates is given in the name's docstring.
"""

import ctypes
import gc
import mmap
import os
import random
import threading
import time

KIB, MIB = 1 << 10, 1 << 20
_LOCK = threading.Lock()


def _answer(start, text="ok"):
    """A plain answer."""
    body = text.encode()
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def _touched(size):
    """Memory that is really there."""
    return bytearray(os.urandom(64) * (size // 64))


_kept = []


def leak(environ, start):
    """20 kB of small objects for each request stay in a list."""
    _kept.append([str(i) * 8 for i in range(200)])
    return _answer(start)


def _idle_thread():
    """Keeps 100 kB ten times a second."""
    while True:
        _kept.append(_touched(100 * KIB))
        time.sleep(0.1)


_started = []


def idle(environ, start):
    """The first request starts a thread that leaks."""
    with _LOCK:
        if not _started:
            _started.append(threading.Thread(target=_idle_thread, daemon=True))
            _started[0].start()
    return _answer(start)


def concurrency(environ, start):
    """Each request needs 4 MB while it runs, for 0.2 s."""
    # Not from malloc(), which keeps what is as large as something that was freed before.
    with mmap.mmap(-1, 4 * MIB) as buffer:
        for page in range(0, len(buffer), 4096):
            buffer[page] = 1
        time.sleep(0.2)
    return _answer(start)


_table = {}


def step(environ, start):
    """/table loads 60 MB, once."""
    if environ["PATH_INFO"] == "/table" and not _table:
        _table[0] = _touched(60 * MIB)
    return _answer(start)


_cache = {}


def warm(environ, start):
    """A cache of 2000 pages of 10 kB, for random keys."""
    key = random.randrange(2000)
    if key not in _cache:
        _cache[key] = _touched(10 * KIB)
    return _answer(start)


_large = []


def large(environ, start):
    """150 MB from the import on; see large_app.py."""
    return _answer(start, str(len(_large)))


def make_large():
    """Called by the import of the application that is large."""
    _large.append(_touched(150 * MIB))


def kept(environ, start):
    """/burst needs 6 MB of small objects, of which one in a thousand stays until /trim."""
    if environ["PATH_INFO"] == "/burst":
        objects = [os.urandom(480) for _ in range(12000)]
        time.sleep(0.3)
        with _LOCK:
            _kept.extend(objects[::100])
        del objects
    elif environ["PATH_INFO"] == "/trim":
        with _LOCK:
            _kept.clear()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
    return _answer(start)


_shared = []


def make_shared():
    """Called by the import of the application that is forked: 60 MB of small objects."""
    _shared.extend([str(i) for i in range(900000)])


def unsharing(environ, start):
    """Each request looks at some of them: the reference counts are written to."""
    begin = random.randrange(len(_shared) - 9000)
    looked_at = _shared[begin:begin + 9000]
    return _answer(start, str(len(looked_at)))


def descriptors(environ, start):
    """Each tenth request or so forgets an open file."""
    if random.random() < 0.1:
        _kept.append(open("/dev/null", "rb"))
    return _answer(start)
