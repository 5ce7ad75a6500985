# SPDX-License-Identifier: MIT
"""Throughput under preforkd in relation to the same server under its own manager.

Per case, rounds with fresh processes on both sides. Within a round the two are asked in short
slices in turn, the idle one waiting, so that what else the machine does hits both; every slice
makes new connections, which spread over the workers anew. A round gives one ratio.
Processor time per request is compared too: it shows the cost of counting and of the channel with
far less noise than the rate does, which depends on how connections happen to spread.
"""

import statistics

import benchlib
import servers

TARGET = 0.98
CASES = (("uvicorn", "keep-alive"), ("uvicorn", "keep-alive as it comes"), ("uvicorn", "close"),
         ("gthread", "keep-alive"), ("gthread", "close"), ("sync", "close"))

_ROWS = (("requests_per_second", "requests/s", "%.0f"),
         ("cpu_usec_per_request", "processor us/request", "%.1f"),
         ("p50_ms", "p50 ms", "%.2f"), ("p99_ms", "p99 ms", "%.2f"),
         ("busiest_share", "share of busiest process", "%.2f"))


def _make(side, worker_class, mode, workers):
    """A server."""
    if side == "preforkd":
        return servers.Preforkd(worker_class, workers)
    if worker_class == "uvicorn":
        return servers.Uvicorn(workers, nodelay=not mode.endswith("as it comes"))
    return servers.Gunicorn(worker_class, workers)


class _Side:
    """What one side of a round was asked, used and answered."""

    def __init__(self, server, args):
        """server runs; the warm-up is not counted."""
        self._server = server
        self._used = {}
        self.slices = []
        self._args = args

    def ask(self, mode, seconds, keep=True):
        """One slice of load."""
        before = self._server.cpu()
        counted = benchlib.load(self._server, mode.split()[0], self._args.connections, seconds, 0)
        after = self._server.cpu()
        if keep:
            self.slices.append(counted)
            for pid in after:
                used = after[pid] - before.get(pid, 0.0)
                self._used[pid] = self._used.get(pid, 0.0) + used

    def numbers(self):
        """The sums and means of the slices."""
        used = sum(self._used.values())
        numbers = {name: sum(part[name] for part in self.slices)
                   for name in ("ok", "failed") + benchlib.FAILURES}
        numbers.update(
            requests_per_second=statistics.mean(p["requests_per_second"] for p in self.slices),
            p50_ms=statistics.median(part["p50_ms"] for part in self.slices),
            p99_ms=statistics.median(part["p99_ms"] for part in self.slices),
            max_ms=max(part["max_ms"] for part in self.slices),
            cpu_usec_per_request=used * 1e6 / max(1, numbers["ok"]),
            manager_cpu_share=self._used.get(self._server.pid, 0.0) / max(1e-9, used),
            busiest_share=max(self._used.values()) / max(1e-9, used))
        return numbers


def _round(number, worker_class, mode, args):
    """One round: the numbers of both sides, preforkd's first."""
    with _make("preforkd", worker_class, mode, args.workers) as ours, \
            _make("peer", worker_class, mode, args.workers) as theirs:
        sides = [_Side(ours, args), _Side(theirs, args)]
        for side in sides:
            side.ask(mode, args.warm_up, keep=False)
        for turn in range(max(1, round(args.seconds / args.slice))):
            order = sides if (number + turn) % 2 == 0 else sides[::-1]
            for side in order:
                side.ask(mode, args.slice)
        return [side.numbers() for side in sides]


def _case(worker_class, mode, args):
    """All rounds of a case."""
    rounds = [_round(number, worker_class, mode, args) for number in range(args.rounds)]
    return {"preforkd": [ours for ours, _ in rounds], "peer": [theirs for _, theirs in rounds]}


def _ratios(sides, name):
    """Of each round."""
    return [ours[name] / theirs[name] if theirs[name] else 0.0
            for ours, theirs in zip(sides["preforkd"], sides["peer"])]


def _report(worker_class, mode, sides):
    """A case as a small table: median and range of the rounds."""
    manager = "uvicorn" if worker_class == "uvicorn" else "gunicorn"
    benchlib.say("%-29s %-27s %-27s %s" % ("%s, %s" % (worker_class, mode), "preforkd",
                                           manager + "'s manager", "ratio"))
    for name, text, form in _ROWS:
        both = [benchlib.spread([r[name] for r in sides[side]], form)
                for side in ("preforkd", "peer")]
        benchlib.say("    %-25s %-27s %-27s %s" % (
            text, both[0], both[1], benchlib.spread(_ratios(sides, name))))
    for side, label in (("preforkd", "preforkd"), ("peer", manager)):
        total = {name: sum(r[name] for r in sides[side]) for name in benchlib.FAILURES}
        if any(total.values()):
            benchlib.say("    FAILED under %s: %s" % (label, benchlib.failures(total)))
    rates = _ratios(sides, "requests_per_second")
    benchlib.verdict(">= %.2f" % TARGET, statistics.median(rates) >= TARGET)


def run(args):
    """All cases, or the one that was asked for."""
    found = servers.installed()
    benchlib.say("Throughput, %d workers, %d connections; %s; uvicorn with %s and %s" % (
        (args.workers, args.connections, ", ".join("%s %s" % pair for pair in found.items()))
        + tuple(servers.uvicorn_parts())))
    raw = {}
    for worker_class, mode in CASES:
        needed = "uvicorn" if worker_class == "uvicorn" else "gunicorn"
        if args.only not in ("", worker_class, "%s/%s" % (worker_class, mode)):
            continue
        if needed not in found:
            benchlib.say("%s, %s: skipped, no %s for %s" % (worker_class, mode, needed,
                                                            servers.PYTHON))
            continue
        raw["%s/%s" % (worker_class, mode)] = sides = _case(worker_class, mode, args)
        _report(worker_class, mode, sides)
    return raw


if __name__ == "__main__":
    benchlib.main(__doc__, run, rounds=(5, "rounds of each case"),
                  seconds=(4.0, "of load on each side of a round"),
                  slice=(1.0, "seconds of a slice"), warm_up=(1.0, "seconds before"),
                  workers=(2, "workers"), connections=(16, "connections"),
                  only=("", "one case: uvicorn, gthread, sync, or with /keep-alive or /close"))
