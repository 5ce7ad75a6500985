# SPDX-License-Identifier: MIT
"""An application that leaks 200 kB with each request, at full speed, under a limit on memory.

It runs with a limit of 100M for each of two workers, and beside it one that writes the same bytes
and lets go of them, without a limit; both are asked in short slices in turn. Where workers are
exec'd, and take hundreds of ms to start, all may have a successor at the same time
(recycle-concurrency). Clients keep their connections. The peak of a worker is the kernel's (VmHWM),
read from outside every 10 ms and, of ours, from preforkd's log at the end of each. uWSGI on the
same: its limit is looked at after each request, its replacements wait for the master's next second.
"""

import re
import statistics
import threading
import time

import benchlib
import processes
import servers

LIMIT_MB, PEAK_MB, STARTED_MB, RATE_TARGET = 100, 110, 105, 0.9
_MIB = 1 << 20


class _Peaks:
    """VmHWM of everything below a process, looked at again and again; a context manager."""

    def __init__(self, pid):
        """pid: the manager's, which does not count."""
        self._pid, self._over, self.most = pid, threading.Event(), 0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        """Begins."""
        self._thread.start()
        return self

    def __exit__(self, *_exc):
        """Ends."""
        self._over.set()
        self._thread.join()

    def _watch(self):
        """One look after the other; who comes is found five times a second."""
        pids, found = [], 0.0
        while not self._over.wait(0.01):
            if time.monotonic() - found > 0.2:
                pids, found = processes.tree(self._pid)[1:], time.monotonic()
            for pid in pids:
                self.most = max(self.most, processes.peak_bytes(pid))


def _ours(app, worker_class, args, **settings):
    """preforkd with that application."""
    kind = "asgi" if worker_class == "uvicorn" else "wsgi"
    keys = {kind: "%s:%s" % (app, kind)}
    keys.update(settings)
    return servers.Preforkd(worker_class, args.workers, **keys)


def _slice(server, args):
    """One slice of load."""
    before = server.recycles() or 0
    counted = benchlib.load(server, "keep-alive", args.connections, args.slice, 0.2)
    counted["recycles"] = (server.recycles() or 0) - before
    return counted


def _unbounded(leaky, args):
    """Requests a second of the same leak without a limit: what the leak itself costs."""
    rates = []
    for _ in range(3):
        with leaky() as server:
            rates.append(benchlib.load(server, "keep-alive", args.connections, args.slice,
                                       0.2)["requests_per_second"])
    return statistics.median(rates)


def _told(leaks):
    """Of workers that ended, by preforkd's log: peaks, and sizes when successors started; MB."""
    log = leaks.log_text()
    peaks = [float(size) * {"M": 1, "G": 1024}[unit]
             for size, unit in re.findall(r"peak RSS ([\d.]+)([MG])", log)]
    return peaks, [float(size) for size in re.findall(r"reload-on-rss: ([\d.]+)M of", log)]


def _measure(plain, leaky, args):
    """Slices of both in turn; what was said of the peaks."""
    slices = {"plain": [], "leaky": []}
    with leaky as leaks:
        with plain as flat, _Peaks(leaks.pid) as peaks:
            _slice(flat, args)
            sides = [("plain", flat), ("leaky", leaks)]
            for turn in range(max(2, round(args.seconds / args.slice))):
                for side, server in sides if turn % 2 else sides[::-1]:
                    slices[side].append(_slice(server, args))
        told, started = _told(leaks)
    return slices, [peaks.most / _MIB] + told, started


def _steady(label, leaky, args):
    """The leaking side alone, without the pauses of taking turns: only peaks, and what is lost."""
    with leaky as leaks, _Peaks(leaks.pid) as watched:
        slices = [_slice(leaks, args) for _ in range(max(2, round(args.seconds / args.slice)))]
        peaks, _ = _told(leaks)
    peaks.sort()
    lost = {name: sum(one[name] for one in slices) for name in benchlib.FAILURES}
    benchlib.say("%s, no pauses: peaks of %d workers: median %.1f, nine in ten below %.1f, highest "
                 "%.1f MB, %d above %d MB; lost: %s" % (
                     label, len(peaks), statistics.median(peaks), peaks[len(peaks) * 9 // 10],
                     max(peaks[-1], watched.most / _MIB), sum(peak > PEAK_MB for peak in peaks),
                     PEAK_MB, benchlib.failures(lost)))
    return {"slices": slices, "peaks_mb": peaks, "lost": lost}


def _report(label, slices, peaks, started, unbounded, wanted):
    """One server: two rows, and for ours the targets."""
    leaky, plain = slices["leaky"], slices["plain"]
    peak = max(peaks)
    recycles = sum(one["recycles"] for one in leaky)
    lost = {name: sum(one[name] for one in leaky) for name in benchlib.FAILURES}
    rate = statistics.median(b["requests_per_second"] / max(1.0, a["requests_per_second"])
                             for a, b in zip(plain, leaky))
    benchlib.say("%s: peak RSS of a worker %.1f MB, %d replaced, %.2f of the throughput without "
                 "the leak (leaking without a limit: %.2f)" % (
                     label, peak, recycles, rate, unbounded / max(1.0, statistics.median(
                         one["requests_per_second"] for one in plain))))
    benchlib.say("    %s requests/s, p99 %.1f ms, slowest %.0f ms, lost: %s" % (
        benchlib.spread([one["requests_per_second"] for one in leaky], "%.0f"),
        statistics.median(one["p99_ms"] for one in leaky), max(one["max_ms"] for one in leaky),
        benchlib.failures(lost)))
    if started:
        benchlib.say("    successors were started at %.1f MB (%.1f to %.1f); peaks of all workers: "
                     "median %.1f, nine in ten below %.1f MB" % (
                         statistics.median(started), min(started), max(started),
                         statistics.median(peaks), sorted(peaks)[len(peaks) * 9 // 10]))
    failed = sum(lost.values())
    met = {"peak": ("peak <= %d MB" % PEAK_MB, peak <= PEAK_MB),
           "started": ("successor started before %d MB" % STARTED_MB,
                       bool(started) and max(started) < STARTED_MB),
           "rate": ("throughput >= %.1f" % RATE_TARGET, rate >= RATE_TARGET),
           "lost": ("nothing lost", failed == 0)}
    for name in wanted:
        benchlib.verdict("%s: %s" % (label, met[name][0]), met[name][1])
    return {"slices": slices, "peaks_mb": peaks, "started_mb": started, "throughput": rate,
            "recycles": recycles, "lost": lost}


def _cases(args, found):
    """(label, what is missing or None, leaky without a limit, plain, leaky, targets)."""
    limit = {"reload_on_rss": "%dM" % LIMIT_MB, "min_worker_lifetime": 0}
    for worker_class, needs in (("gthread", "gunicorn"), ("uvicorn", "uvicorn")):
        missing = None if needs in found else needs
        yield ("preforkd, %s, mold" % worker_class, missing,
               lambda c=worker_class: _ours("bench_leak", c, args, preload="yes"),
               lambda c=worker_class: _ours("bench_touch", c, args, preload="yes"),
               lambda c=worker_class: _ours("bench_leak", c, args, preload="yes", **limit),
               ("peak", "started", "rate", "lost"))
        yield ("preforkd, %s, exec" % worker_class, missing,
               lambda c=worker_class: _ours("bench_leak", c, args, preload="no"),
               lambda c=worker_class: _ours("bench_touch", c, args, preload="no"),
               lambda c=worker_class: _ours("bench_leak", c, args, preload="no",
                                            recycle_concurrency=args.workers, **limit),
               ("started", "lost"))
    missing = None if "uWSGI" in found else "uWSGI"
    for key in ("reload-on-rss", "evil-reload-on-rss"):
        yield ("uWSGI, " + key, missing,
               lambda: servers.Uwsgi(args.workers, keepalive=True, app="bench_leak"),
               lambda: servers.Uwsgi(args.workers, keepalive=True, app="bench_touch"),
               lambda k=key: servers.Uwsgi(args.workers, "--memory-report", "--" + k,
                                           str(LIMIT_MB), "--min-worker-lifetime", "0",
                                           "--forkbomb-delay", "0", keepalive=True,
                                           app="bench_leak"), ())


def run(args):
    """All kinds."""
    found = servers.installed()
    benchlib.say("200 kB leaked with each request, limit %d MB, %d workers, %d keep-alive "
                 "connections; %s" % (LIMIT_MB, args.workers, args.connections,
                                      ", ".join("%s %s" % p for p in found.items())))
    raw = {}
    for label, missing, unbounded, plain, leaky, wanted in _cases(args, found):
        if args.only not in label:
            continue
        if missing:
            benchlib.say("%s: not run: no %s" % (label, missing))
            continue
        if args.steady:
            if "peak" in wanted:
                raw[label] = _steady(label, leaky(), args)
            continue
        raw[label] = _report(label, *_measure(plain(), leaky(), args),
                             _unbounded(unbounded, args), wanted)
    return raw


if __name__ == "__main__":
    benchlib.main(__doc__, run, seconds=(8.0, "of load on each side"),
                  slice=(1.0, "seconds of a slice"), workers=(2, "workers"),
                  connections=(8, "connections"), only=("", "kinds that contain that"),
                  steady=(0, "1: only the side that leaks, without pauses, and only its peaks"))
