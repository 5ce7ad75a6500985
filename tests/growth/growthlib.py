# SPDX-License-Identifier: MIT
"""The patterns of memory that preforkctl memory knows, each played by a real worker.

One Pattern is an application of tests/growth/apps, settings, and a load; play() runs it and leaves
a ready preforkd whose samples tell the story. tests/growth/record writes them as CSV, and
tests/integration/test_330_memory_report.py reads them and plays some.
"""

import http.client
import os
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
APPS = os.path.join(HERE, "apps")
sys.path.insert(0, os.path.join(HERE, "..", "integration"))
import harness  # noqa: E402


class Load:
    """Clients that ask for a path again and again, each with a connection for each request."""

    def __init__(self, p, path="/", clients=1, pause=0.0):
        """Nothing is asked for before start()."""
        self._p, self._path, self._pause = p, path, pause
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        self.done = 0
        self.failed = []

    def _run(self):
        """One client."""
        while not self._stop.is_set():
            try:
                get(self._p, self._path)
                self.done += 1
            except (OSError, http.client.HTTPException) as e:
                self.failed.append(repr(e))
            self._stop.wait(self._pause)

    def __enter__(self):
        """Starts all of them."""
        for t in self._threads:
            t.start()
        return self

    def __exit__(self, *exc):
        """Lets each end its request."""
        self._stop.set()
        for t in self._threads:
            t.join()
        return False


def get(p, path="/"):
    """One request; its body."""
    host, port = p.address()
    connection = http.client.HTTPConnection(host, port, timeout=harness.stretched(30))
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def rss(p, slot=1):
    """Resident bytes of a slot's worker, as the master has sampled them."""
    for w in p.workers():
        if w["slot"] == slot:
            return w["rss_bytes"]
    return 0


class Pattern:
    """One of them."""

    def __init__(self, verdict, seconds, play, app=None, **settings):
        """play(p, seconds): the load, for about so long."""
        self.verdict, self.seconds, self._play = verdict, seconds, play
        self.settings = dict({
            "wsgi": "patterns:" + (app or "leak") if app is None or ":" not in app else app,
            "workers": 1, "threads": 16, "worker_class": "stdlib", "memory_interval": "200ms",
            "pythonpath": APPS, "preload": "no", "reload_on_fds": 100000}, **settings)

    def play(self, seconds=None, **settings):
        """Starts it and plays; a running harness.Preforkd for a with statement's end."""
        p = harness.Preforkd(**dict(self.settings, **settings))
        p.__enter__()
        try:
            p.wait_ready(self.settings["workers"])
            self._play(p, seconds or self.seconds)
        except BaseException:
            p.__exit__(*sys.exc_info())
            raise
        return p


def _steady(p, seconds, path="/", clients=2, pause=0.01):
    """Requests one after another."""
    with Load(p, path, clients, pause) as load:
        time.sleep(seconds)
    assert load.done and not load.failed, load.failed[:3]


def _idle(p, seconds):
    """One request, then nothing."""
    get(p)
    time.sleep(seconds)


def _waves(p, seconds):
    """Many requests at a time and few, three times."""
    for _ in range(3):
        with Load(p, clients=1):
            time.sleep(seconds / 6)
        with Load(p, clients=12):
            time.sleep(seconds / 6)
    with Load(p, clients=1):
        time.sleep(seconds / 6)


def _one_big(p, seconds):
    """In the middle, one that costs much."""
    with Load(p, "/", 2, 0.01):
        time.sleep(seconds / 2)
        get(p, "/table")
        time.sleep(seconds / 2)


def _burst(p, seconds):
    """Few, many at a time, none; then what is free is given back."""
    _steady(p, seconds / 4)
    with Load(p, "/burst", 12):
        time.sleep(seconds / 4)
    time.sleep(seconds / 4)
    get(p, "/trim")
    time.sleep(seconds / 4)


PATTERNS = {
    "leak": Pattern("grows-with-requests", 25, _steady, "leak"),
    "idle": Pattern("grows-while-idle", 40, _idle, "idle"),
    "concurrency": Pattern("follows-concurrency", 35, _waves, "concurrency"),
    "step": Pattern("step", 25, _one_big, "step"),
    "warm": Pattern("warm-up-then-flat", 50, lambda p, s: _steady(p, s, clients=4, pause=0.002),
                    "warm"),
    "large": Pattern("large-but-stable", 25, lambda p, s: _steady(p, s, clients=6),
                     "large_app:app", workers=3),
    "kept": Pattern("kept-after-load", 32, _burst, "kept"),
    "unsharing": Pattern("unsharing", 90, _steady, "shared_app:app", preload="yes",
                         reload_on_uss="1500M"),
    "descriptors": Pattern("descriptors-grow", 25, _steady, "descriptors"),
}
