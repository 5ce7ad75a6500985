# SPDX-License-Identifier: MIT
"""Full load while workers are replaced several times a second, against none being replaced.

Two servers of a kind run side by side, one without and one with max-requests, and are asked in
short slices in turn, so that what else the machine does hits both. max-requests follows from the
rate that was seen first. The clients keep their connections; latencies are medians of the slices,
"slowest" is the slowest answer of all. Processor time, that of boots and ends included, says the
same as the throughput with less noise: at full load there is no other reserve. What a recycle costs
of it follows, whatever the rate: a worker's start and end, and its first requests.

gthread has a socket for each slot (balance = per-slot), which is better where connections are kept:
at one socket they gather at one of the workers with each recycle. It runs with one as well.
"""

import statistics

import benchlib
import processes
import servers

RATE_TARGET, P99_TARGET, MAX_TARGET = 0.95, 2.0, 10.0


def _pairs(args, found):
    """(label, what is missing or None, function(limit or None) -> server)."""
    def ours(worker_class, **settings):
        """preforkd."""
        def make(limit):
            """limit: of requests."""
            limits = {} if limit is None else {
                "max_requests": limit, "max_requests_jitter": limit // 10,
                "min_worker_lifetime": 0}
            return servers.Preforkd(worker_class, args.workers, log_level="warning",
                                    preload="yes", **dict(limits, **settings))
        return make

    def gunicorn(limit):
        """gunicorn's arbiter, with its mold's equivalent."""
        limits = [] if limit is None else ["--max-requests", str(limit), "--max-requests-jitter",
                                           str(limit // 10)]
        return servers.Gunicorn("gthread", args.workers, "--preload", *limits)

    lacks = {name: None if name in found else name for name in ("uvicorn", "gunicorn")}
    yield "preforkd, uvicorn", lacks["uvicorn"], ours("uvicorn")
    yield "preforkd, gthread", lacks["gunicorn"], ours("gthread", balance="per-slot")
    yield "preforkd, gthread, one socket", lacks["gunicorn"], ours("gthread")
    yield "gunicorn, gthread", lacks["gunicorn"], gunicorn


def _slice(server, args):
    """One slice of load, which has no warm-up but the connections."""
    before, used = server.recycles() or 0, processes.cpu_with_ended(server.pid)
    counted = benchlib.load(server, "keep-alive", args.connections, args.slice, 0.2)
    counted["recycles"] = (server.recycles() or 0) - before
    used = processes.cpu_with_ended(server.pid) - used
    counted["cpu_usec"] = used * 1e6
    counted["cpu_usec_per_request"] = used * 1e6 / max(1, counted["ok"])
    return counted


def _measure(make, args):
    """The slices of both sides."""
    with make(None) as plain:
        rates = [_slice(plain, args)["requests_per_second"] for _ in range(2)]
        limit = max(10, int(rates[-1] / args.rate))
        slices = {"plain": [], "recycled": []}
        with make(limit) as recycled:
            sides = [("plain", plain), ("recycled", recycled)]
            _slice(recycled, args)
            for turn in range(max(2, round(args.seconds / args.slice))):
                for side, server in sides if turn % 2 else sides[::-1]:
                    slices[side].append(_slice(server, args))
    return limit, slices


def _ratio(slices, name, join):
    """Of one number, joined over the slices of each side."""
    plain, recycled = (join([one[name] for one in slices[side]])
                       for side in ("plain", "recycled"))
    return recycled / plain if plain else 0.0


def _each_costs(slices):
    """Milliseconds of processor time for a recycle: the middle of pairs of slices."""
    costs = [(b["cpu_usec"] - a["cpu_usec_per_request"] * b["ok"]) / b["recycles"]
             for a, b in zip(slices["plain"], slices["recycled"]) if b["recycles"]]
    return statistics.median(costs) / 1000 if costs else 0.0


def _report(label, limit, slices, args):
    """One kind of server: two rows and, for ours, the targets."""
    recycles = sum(one["recycles"] for one in slices["recycled"])
    each = recycles / (len(slices["recycled"]) * (args.slice + 0.2))
    benchlib.say("%s, max-requests %d: %.1f recycles/s" % (label, limit, each))
    for side, text in (("plain", "none replaced"), ("recycled", "recycling")):
        total = {name: sum(one[name] for one in slices[side]) for name in benchlib.FAILURES}
        benchlib.say("    %-14s %s requests/s, p99 %.1f ms, slowest %.1f ms, lost: %s" % (
            text, benchlib.spread([one["requests_per_second"] for one in slices[side]], "%.0f"),
            statistics.median(one["p99_ms"] for one in slices[side]),
            max(one["max_ms"] for one in slices[side]), benchlib.failures(total)))
    rate = statistics.median(
        b["requests_per_second"] / max(1.0, a["requests_per_second"])
        for a, b in zip(slices["plain"], slices["recycled"]))
    p99 = _ratio(slices, "p99_ms", statistics.median)
    slowest = _ratio(slices, "max_ms", max)
    lost = sum(one["failed"] for one in slices["recycled"])
    cpu = _ratio(slices, "cpu_usec_per_request", statistics.median)
    cost = _each_costs(slices)
    benchlib.say("    ratios: throughput %.3f, processor time per request %.2f, p99 %.2f, "
                 "slowest %.1f; a recycle takes %.1f ms of processor time" % (
                     rate, cpu, p99, slowest, cost))
    if label.startswith("preforkd"):
        for what, met in ((">= 5 recycles/s", each >= 5.0),
                          ("throughput >= %.2f" % RATE_TARGET, rate >= RATE_TARGET),
                          ("p99 <= %g x" % P99_TARGET, p99 <= P99_TARGET),
                          ("slowest <= %g x" % MAX_TARGET, slowest <= MAX_TARGET),
                          ("nothing lost", lost == 0)):
            benchlib.verdict("%s: %s" % (label, what), met)
    return {"limit": limit, "slices": slices, "recycles_per_second": each, "throughput": rate,
            "cpu": cpu, "ms_per_recycle": cost, "p99": p99, "slowest": slowest, "lost": lost}


def run(args):
    """All kinds."""
    found = servers.installed()
    benchlib.say("Recycling by a mold under full load, %d workers, %d keep-alive connections; "
                 "%s; uvicorn with %s and %s" % (
                     (args.workers, args.connections, ", ".join("%s %s" % p for p in found.items()))
                     + tuple(servers.uvicorn_parts())))
    raw = {}
    for label, missing, make in _pairs(args, found):
        if not label.startswith(args.only):
            continue
        if missing:
            benchlib.say("%s: not run: no %s" % (label, missing))
            continue
        limit, slices = _measure(make, args)
        raw[label] = _report(label, limit, slices, args)
    return raw


if __name__ == "__main__":
    benchlib.main(__doc__, run, seconds=(8.0, "of load on each side"),
                  slice=(1.0, "seconds of a slice"), workers=(2, "workers"),
                  connections=(16, "connections"), rate=(6.5, "recycles a second to aim at"),
                  only=("", "kinds that begin with that"))
