# SPDX-License-Identifier: MIT
"""How evenly kept-alive connections, and with them requests, fall to the workers.

Connections are opened at random moments, as clients do, and then used until the end; which worker
got a request is counted by preforkd, slot by slot. At full load each connection asks again as soon
as it is answered. At low load each one waits for random times, so that all of them together ask
for a share of what was answered at full load; the workers sleep most of the time, and a shared
socket goes to whoever is woken first. A round has new processes: one deal of 64 says little.
"""

import heapq
import random
import selectors
import socket
import subprocess
import time

import benchlib
import servers
from bench_app import BODY

TARGET = 1.35
MODES = ("shared", "per-slot")
_REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"


class FullLoad:
    """Each connection is a process of the load client."""

    def __init__(self, port, connections, opening, seconds):
        """Opened within `opening` seconds, used for `seconds` more."""
        self._argv = [benchlib.LOAD, "--json", "--mode", "keep-alive", "--connections", "1",
                      "--body", str(len(BODY)), "--seconds", None, "127.0.0.1:%d" % port]
        self._begins = sorted(random.uniform(0, opening) for _ in range(connections))
        self._until = opening + seconds
        self._begun = time.monotonic()
        self._processes = []

    def run(self, seconds):
        """Goes on for that long."""
        end = time.monotonic() + seconds
        while self._begins and self._begun + self._begins[0] < end:
            begin = self._begins.pop(0)
            time.sleep(max(0.0, self._begun + begin - time.monotonic()))
            # A little longer than it is needed: none ends while others are counted.
            self._argv[-2] = "%.2f" % (self._until - begin + 1)
            self._processes.append(subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        time.sleep(max(0.0, end - time.monotonic()))

    def close(self):
        """Ends them all."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()


class Paced:
    """Connections that each ask at random moments, so many requests a second together."""

    def __init__(self, port, connections, opening, rate):
        """Opened within `opening` seconds."""
        self._port = port
        self._pause = connections / rate
        self._selector = selectors.DefaultSelector()
        now = time.monotonic()
        # (due, number, socket or None)
        self._due = [(now + random.uniform(0, opening), number, None)
                     for number in range(connections)]
        heapq.heapify(self._due)
        self.failed = 0

    def run(self, seconds):
        """Goes on for that long."""
        end = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            if now >= end:
                return
            while self._due and self._due[0][0] <= now:
                self._ask(*heapq.heappop(self._due)[1:])
            until = min(end, self._due[0][0]) if self._due else end
            for key, _ in self._selector.select(max(0.0, until - now)):
                self._answered(key.fileobj, *key.data)

    def _ask(self, number, sock):
        """A request, on a new connection if there is none."""
        try:
            if sock is None:
                sock = socket.create_connection(("127.0.0.1", self._port), 10)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(_REQUEST)
        except OSError:
            self._again(number, sock, False)
        else:
            self._selector.register(sock, selectors.EVENT_READ, (number, bytearray()))

    def _answered(self, sock, number, data):
        """A piece of a response, or its end."""
        try:
            piece = sock.recv(65536)
        except OSError:
            piece = b""
        data += piece
        if piece and not data.endswith(BODY):
            return
        self._selector.unregister(sock)
        self._again(number, sock, bool(piece) and data.startswith(b"HTTP/1.1 200 "))

    def _again(self, number, sock, good):
        """When it asks the next time."""
        if not good:
            self.failed += 1
            if sock is not None:
                sock.close()
            sock = None
        due = time.monotonic() + random.expovariate(1 / self._pause)
        heapq.heappush(self._due, (due, number, sock))

    def close(self):
        """Ends them all."""
        for _, _, sock in self._due:
            if sock is not None:
                sock.close()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()


def _requests(server):
    """Completed requests by slot."""
    return {worker["slot"]: worker["requests"] for worker in server.status()["workers"]}


def _measure(server, clients, args):
    """The requests of each slot while all connections are open; closes the clients."""
    try:
        clients.run(args.opening)
        before = _requests(server)
        clients.run(args.seconds)
        after = _requests(server)
    finally:
        clients.close()
    counts = [after[slot] - before[slot] for slot in sorted(after)]
    return {"requests": counts, "rate": sum(counts) / args.seconds,
            "busiest": max(counts) * len(counts) / max(1, sum(counts)),
            "failed": getattr(clients, "failed", 0)}


def _round(mode, rate, args):
    """Both loads, on new processes."""
    numbers = {}
    for load in args.only:
        with servers.Preforkd("uvicorn", args.workers, balance=mode, keepalive=60) as server:
            if load == "full":
                clients = FullLoad(server.port, args.connections, args.opening, args.seconds)
            else:
                rate = rate or args.share * numbers["full"]["rate"]
                clients = Paced(server.port, args.connections, args.opening, rate)
            numbers[load] = _measure(server, clients, args)
    return numbers


def _shares(numbers):
    """In percent, the busiest first."""
    total = max(1, sum(numbers["requests"]))
    return " ".join("%4.1f" % (100 * n / total)
                    for n in sorted(numbers["requests"], reverse=True))


def run(args):
    """All rounds of both modes."""
    found = servers.installed()
    if "uvicorn" not in found:
        raise servers.Trouble("no uvicorn for %s" % servers.PYTHON)
    if args.only not in ("", "full", "low") or (args.only == "low" and args.rate <= 0):
        raise servers.Trouble("--only is full or low, and low needs --rate")
    args.only = [args.only] if args.only else ["full", "low"]
    random.seed(args.seed or None)
    benchlib.say("Balance: %d connections over %d uvicorn workers (%s with %s and %s), %g s" % (
        (args.connections, args.workers, found["uvicorn"]) + tuple(servers.uvicorn_parts()) +
        (args.seconds,)))
    benchlib.say("    %-10s %-6s %12s   %-30s %s" % ("balance", "load", "requests/s",
                                                     "% of each worker", "busiest / mean"))
    raw = {mode: [] for mode in MODES}
    for _ in range(args.rounds):
        for mode in MODES:
            raw[mode].append(_round(mode, args.rate, args))
            for load, numbers in raw[mode][-1].items():
                benchlib.say("    %-10s %-6s %12.0f   %-30s %.2f%s" % (
                    mode, load, numbers["rate"], _shares(numbers), numbers["busiest"],
                    ", %d FAILED" % numbers["failed"] if numbers["failed"] else ""))
    for mode in MODES:
        for load in args.only:
            benchlib.say("    %-10s %-6s busiest / mean %s" % (mode, load, benchlib.spread(
                [numbers[load]["busiest"] for numbers in raw[mode]], "%.2f")))
    # balance = auto is per-slot for asgi.
    benchlib.verdict("busiest <= %.2f x mean with balance = auto" % TARGET, all(
        numbers[load]["busiest"] <= TARGET for numbers in raw["per-slot"] for load in numbers))
    return raw


if __name__ == "__main__":
    benchlib.main(__doc__, run, rounds=(3, "deals of each mode and load"),
                  seconds=(30.0, "counted"), opening=(5.0, "seconds in which clients connect"),
                  connections=(64, "connections"), workers=(4, "workers"),
                  share=(0.1, "low load, as a share of full load"),
                  rate=(0.0, "low load in requests/s instead"),
                  only=("", "one load: full or low"), seed=(0, "of the random times"))
