# SPDX-License-Identifier: MIT
"""Memory of a Django application in four workers: what each server's processes use together.

The sum of PSS over all processes of a server, its manager and a mold included: at rest, before
anybody asked for anything, and after so many requests in all. "private" is the part that only one
process has, "shared" what several share, each page counted once. PSS counts pages of files by
how many processes of the whole machine map them; "anonymous" leaves files out.

One server after the other, each alone. All have the same interpreter, except uWSGI with Debian's
plugin, which has a libpython of its own; the benchmark itself runs a copy of the interpreter, or it
would share the pages of one and not of the other.
"""

import os
import shutil
import sys
import tempfile

import benchlib
import django_site
import processes
import servers

_COLUMNS = ("PSS", "private", "shared", "anonymous")


def _rows(args, found):
    """(label, what is missing or None, function() -> server)."""
    workers, threads = args.workers, {"threads": args.threads}
    warm = " ".join(django_site.PATHS)
    kind = args.worker_class
    gunicorn = None if "gunicorn" in found else "gunicorn"
    uwsgi = None if "uWSGI" in found else "uWSGI"
    yield "preforkd, mold", gunicorn, lambda: django_site.preforkd(
        kind, workers, preload="yes", **threads)
    yield "preforkd, warm-up", gunicorn, lambda: django_site.preforkd(
        kind, workers, preload="yes", warm_up=warm, **threads)
    yield "preforkd, no mold", gunicorn, lambda: django_site.preforkd(
        kind, workers, preload="no", **threads)
    yield "uWSGI", uwsgi, lambda: django_site.uwsgi(workers)
    yield "gunicorn --preload", gunicorn, lambda: django_site.gunicorn(
        kind, workers, "--preload")
    yield "gunicorn", gunicorn, lambda: django_site.gunicorn(kind, workers)


def _look(server, args):
    """The sums, and each process, in bytes."""
    each = {pid: processes.memory(pid) for pid in processes.tree(server.pid)}
    if len(each) <= args.workers or not all(each.values()):
        raise servers.Trouble("%s has %d processes, or their memory cannot be read"
                              % (server.name, len(each)))
    total = {"PSS": sum(one["pss"] for one in each.values()),
             "private": sum(one["private"] for one in each.values()),
             "anonymous": sum(one["pss_anon"] for one in each.values())}
    total["shared"] = total["PSS"] - total["private"]
    return {"total": total, "manager": each[server.pid]["pss"], "processes": list(each.values())}


def _measure(make, args):
    """At rest, and after the requests."""
    server = make()
    server.untouched = True
    with server:
        rest = _look(server, args)
        django_site.ask(server, args.requests)
        return {"rest": rest, "after": _look(server, args)}


def _line(label, numbers):
    """One server's row."""
    cells = ["%9.1f" % (numbers[when]["total"][name] / 2**20)
             for when in ("rest", "after") for name in _COLUMNS]
    benchlib.say("    %-19s %s   %s" % (label, " ".join(cells[:4]), " ".join(cells[4:])))


def _compare(raw, when, peer, limit):
    """The mold in relation to a peer."""
    if peer not in raw:
        benchlib.say("    no target of %s: it is not there" % peer)
        return
    ours, theirs = (raw[label][when]["total"]["PSS"] for label in ("preforkd, mold", peer))
    forked = ours - raw["preforkd, mold"][when]["manager"]
    said = {"rest": "at rest", "after": "after the requests"}[when]
    benchlib.verdict("%s mold and workers %.3f of %s's PSS, <= %.1f" % (
        said, forked / theirs, peer, limit), forked <= limit * theirs)
    benchlib.say("    preforkd itself included: %.3f" % (ours / theirs))


def run(args):
    """All servers."""
    found = servers.installed()
    benchlib.say("Memory of %d %s workers with Django, %d threads each, %d requests; MiB; %s" % (
        args.workers, args.worker_class, args.threads, args.requests,
        ", ".join("%s %s" % pair for pair in found.items())))
    benchlib.say("    %-19s %-39s   %s" % ("", " at rest", " after the requests"))
    header = " ".join("%9s" % name for name in _COLUMNS)
    benchlib.say("    %-19s %s   %s" % ("", header, header))
    raw = {}
    with django_site.database():
        for label, missing, make in _rows(args, found):
            if not label.startswith(args.only):
                continue
            if missing:
                benchlib.say("    %-19s not run: no %s" % (label, missing))
                continue
            raw[label] = _measure(make, args)
            _line(label, raw[label])
    if "preforkd, mold" in raw:
        _compare(raw, "rest", "uWSGI", 1.1)
        _compare(raw, "rest", "gunicorn --preload", 1.0)
        _compare(raw, "after", "gunicorn --preload", 1.0)
    return raw


def _run_a_copy():
    """Goes on in a copy of the interpreter, which is a file that nobody else maps."""
    if "BENCH_COPY" not in os.environ:
        folder = tempfile.mkdtemp(prefix="bench-")
        copy = shutil.copy(os.path.realpath(sys.executable), folder)
        os.execve(copy, [copy, "-B"] + sys.argv, dict(os.environ, BENCH_COPY=folder))
    shutil.rmtree(os.environ.pop("BENCH_COPY"), ignore_errors=True)


if __name__ == "__main__":
    _run_a_copy()
    benchlib.main(__doc__, run, requests=(10000, "requests to each server"),
                  workers=(4, "workers"), threads=(4, "threads, as the peers have"),
                  worker_class=("gthread", "of preforkd and gunicorn"),
                  only=("", "rows that begin with that"))
