# SPDX-License-Identifier: MIT
"""A small load for the demonstration: load.py PORT.

Asks for /leak for a while, then faster for /light, and so on until it is told to end, each request
on a connection of its own. Says every 10 seconds what it got; a request that fails is said at once.
"""

import signal
import sys
import threading
import time
from http.client import HTTPConnection, HTTPException

# Path, requests per second, seconds.
PHASES = (("/leak", 20, 20), ("/light", 80, 15))
SAY_EVERY = 10


class Load:
    """Counts, and the word to stop."""

    def __init__(self, port):
        """Nothing is sent yet."""
        self.port = port
        self.stop = threading.Event()
        self.answered = 0
        self.failed = 0
        self.pids = set()

    def ask(self, path):
        """One request. Returns None or what went wrong."""
        conn = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            conn.request("GET", path)
            response = conn.getresponse()
            body = response.read()
        except (OSError, HTTPException) as exc:
            return "%s: %s" % (type(exc).__name__, exc)
        finally:
            conn.close()
        if response.status != 200:
            return "status %d" % response.status
        self.pids.add(body)
        self.answered += 1
        return None

    def wait_until_served(self):
        """The server has to boot first."""
        while not self.stop.is_set() and self.ask("/light") is not None:
            self.stop.wait(0.1)

    def run(self):
        """Until stop is set."""
        self.wait_until_served()
        said = time.monotonic()
        while True:
            for path, rate, seconds in PHASES:
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    if self.stop.wait(1 / rate):
                        return
                    error = self.ask(path)
                    if error is not None and not self.stop.is_set():
                        self.failed += 1
                        self.say("GET %s failed: %s" % (path, error))
                    if time.monotonic() - said >= SAY_EVERY:
                        said = time.monotonic()
                        self.sum_up()

    def sum_up(self):
        """One line about everything so far."""
        self.say("%d requests answered by %d processes, %d failed"
                 % (self.answered, len(self.pids), self.failed))

    @staticmethod
    def say(text):
        """One line among those of the server's log."""
        print("load: " + text, flush=True)


def main():
    """The program."""
    load = Load(int(sys.argv[1]))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: load.stop.set())
    load.run()
    load.sum_up()


if __name__ == "__main__":
    main()
