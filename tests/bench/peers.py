# SPDX-License-Identifier: MIT
"""preforkd and its peers on the same application, without and with workers that are replaced.

All get the same interpreter and the same clients, which keep their connections. max-requests is far
below what an operator would choose; what is interesting is the ratio, the slowest answers, and what
was lost: a connection that the server closed instead of answering, without having said so before.
In a round each server is started twice, without and with the limit, one right after the other;
rates, their ratio and the percentiles are medians of the rounds.

Nobody keeps the limit exactly when it is reached so fast: a worker may serve on until there is
another, or until somebody looks. A ratio is to be read with how often workers were replaced, and
after how many requests each.
"""

import statistics

import benchlib
import servers

_COLUMNS = (("req/s", 6), ("recycled", 8), ("ratio", 5), ("times/s", 7), ("each", 6), ("p50", 5),
            ("p99", 6), ("p99.9", 6), ("max", 6), ("lost", 14))
_NAME = 17


def _rows(args, found):
    """(label, what is missing or None, function(recycle) -> server or None: it cannot)."""
    limit, jitter, workers = str(args.max_requests), str(args.jitter), args.workers

    def ours(worker_class):
        """preforkd."""
        settings = {"max_requests": limit, "max_requests_jitter": jitter,
                    "min_worker_lifetime": 0, "log_level": "warning"}
        return lambda recycle: servers.Preforkd(worker_class, workers,
                                                **(settings if recycle else {}))

    def gunicorn(worker_class):
        """gunicorn's arbiter."""
        options = ["--max-requests", limit, "--max-requests-jitter", jitter]
        return lambda recycle: servers.Gunicorn(worker_class, workers,
                                                *(options if recycle else []))

    def uvicorn(recycle):
        """uvicorn's manager; asyncio alone would leave delays in its connections."""
        limits = servers.uvicorn_limits(limit, jitter) if recycle else []
        nodelay = servers.uvicorn_parts()[0] == "asyncio"
        return None if limits is None else servers.Uvicorn(workers, *limits, nodelay=nodelay)

    def granian(recycle):
        """granian knows limits of age and memory only."""
        return None if recycle else servers.Granian("asgi", workers, "--log-level", "warning")

    def uwsgi(recycle):
        """uWSGI, which draws no jitter."""
        return servers.Uwsgi(workers, *(servers.uwsgi_limits(limit) if recycle else []),
                             keepalive=True)

    def lacks(*names):
        """The first one that is not installed."""
        return next((name for name in names if name not in found), None)

    no_worker = lacks("gunicorn", "uvicorn") or (
        None if servers.uvicorn_worker() else "uvicorn-worker")
    yield "preforkd, uvicorn", lacks("uvicorn"), ours("uvicorn")
    yield "gunicorn, uvicorn", no_worker, gunicorn("uvicorn")
    yield "uvicorn", lacks("uvicorn"), uvicorn
    yield "granian, asgi", lacks("granian"), granian
    yield "preforkd, gthread", lacks("gunicorn"), ours("gthread")
    yield "gunicorn, gthread", lacks("gunicorn"), gunicorn("gthread")
    yield "uWSGI, its router", lacks("uWSGI"), uwsgi


def _load(server, args):
    """One server under load."""
    with server:
        before = server.recycles()
        counted = benchlib.load(server, "keep-alive", args.connections, args.seconds, 1)
        counted["recycles"] = server.recycles() - before
        counted["recycles_per_second"] = counted["recycles"] / (args.seconds + 1)
    return counted


def _round(make, args):
    """Without and with recycling; the second is None where there is none."""
    plain = _load(make(False), args)
    server = make(True)
    return {"plain": plain, "recycled": _load(server, args) if server else None}


def _median(rounds, name):
    """Of one number."""
    return statistics.median(counted[name] for counted in rounds)


def _cells(rounds):
    """One row of the table, as text. Times and losses are those with recycling, if there is."""
    plain = [numbers["plain"] for numbers in rounds]
    recycled = [numbers["recycled"] for numbers in rounds if numbers["recycled"]]
    shown = recycled or plain
    cells = ["%.0f" % _median(plain, "requests_per_second")]
    if recycled:
        ratios = [b["requests_per_second"] / max(1.0, a["requests_per_second"])
                  for a, b in zip(plain, recycled)]
        cells += ["%.0f" % _median(recycled, "requests_per_second"),
                  "%.2f" % statistics.median(ratios),
                  "%.1f" % _median(recycled, "recycles_per_second")]
        recycles = sum(counted["recycles"] for counted in recycled)
        answers = sum(counted["ok"] for counted in recycled)
        cells.append("%.0f" % (answers / recycles) if recycles else "-")
    else:
        cells += ["-"] * 4
    cells += ["%.1f" % _median(shown, name) for name in ("p50_ms", "p99_ms", "p999_ms")]
    failed = sum(counted["failed"] for counted in shown)
    asked = failed + sum(counted["ok"] for counted in shown)
    return cells + ["%.1f" % max(counted["max_ms"] for counted in shown),
                    "%d of %d" % (failed, asked)]


def _say_failures(rounds):
    """What kinds of failures there were."""
    for kind in ("plain", "recycled"):
        total = {name: sum(numbers[kind][name] for numbers in rounds if numbers[kind])
                 for name in benchlib.FAILURES}
        if any(total.values()):
            benchlib.say("        %s: %s" % (kind, benchlib.failures(total)))


def _line(label, cells):
    """Aligned columns."""
    return "    %-*s " % (_NAME, label) + " ".join(
        "%*s" % (width, cell) for (_, width), cell in zip(_COLUMNS, cells))


def _markdown(rows):
    """The table for a page in Markdown."""
    names = [name for name, _ in _COLUMNS]
    lines = [["server"] + names, [":--"] + ["--:"] * len(names)]
    lines += [[label] + cells for label, cells in rows]
    return "".join("| %s |\n" % " | ".join(cells) for cells in lines)


def run(args):
    """Every server that is there; those that are not are named."""
    found = servers.installed()
    benchlib.say("Peers: max-requests %d, jitter %d, %d workers, %d keep-alive connections, "
                 "%d x %g s; uvicorn with %s and %s" % (
                     (args.max_requests, args.jitter, args.workers, args.connections,
                      args.rounds, args.seconds) + tuple(servers.uvicorn_parts())))
    benchlib.say("    %s; %s" % (", ".join("%s %s" % pair for pair in found.items()),
                                 servers.PYTHON))
    benchlib.say("    recycled: requests/s while workers are replaced so many times/s, after so "
                 "many requests")
    benchlib.say("    each; percentiles and maximum in ms, and what was lost, are of that run")
    benchlib.say(_line("", [name for name, _ in _COLUMNS]))
    raw, rows = {}, []
    for label, missing, make in _rows(args, found):
        if not label.startswith(args.only):
            continue
        if missing:
            benchlib.say("    %-*s not run: no %s" % (_NAME, label, missing))
            continue
        raw[label] = [_round(make, args) for _ in range(args.rounds)]
        rows.append((label, _cells(raw[label])))
        benchlib.say(_line(*rows[-1]))
        _say_failures(raw[label])
    if args.markdown:
        with open(args.markdown, "w") as file:
            file.write(_markdown(rows))
    for label, rounds in raw.items():
        if label.startswith("preforkd"):
            benchlib.verdict("%s: nothing lost" % label, all(
                counted["failed"] == 0 and counted["ok"] > 0
                for numbers in rounds for counted in numbers.values()))
    return raw


if __name__ == "__main__":
    benchlib.main(__doc__, run, rounds=(3, "rounds"),
                  seconds=(8.0, "under load, each time"), workers=(2, "workers"),
                  connections=(16, "connections"), max_requests=(2000, "limit"),
                  jitter=(200, "random part, where there is one"),
                  only=("", "rows that begin with that"),
                  markdown=("", "write the table there"))
