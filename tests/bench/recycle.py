# SPDX-License-Identifier: MIT
"""Recycling under full load: no client that opens a connection per request may notice.

max-requests is far below what an operator would choose, so that workers are replaced all the time.
The peers run with the same limit, for scale.
"""

import benchlib
import servers


def _peers(args, found):
    """Those that replace workers by themselves."""
    limit, jitter = str(args.max_requests), str(args.jitter)
    if "gunicorn" in found:
        yield servers.Gunicorn(args.worker_class, args.workers, "--max-requests", limit,
                               "--max-requests-jitter", jitter)
    if "uWSGI" in found:
        yield servers.Uwsgi(args.workers, *servers.uwsgi_limits(limit))
    if "uvicorn" in found:
        limits = servers.uvicorn_limits(limit, jitter)
        if limits:
            yield servers.Uvicorn(args.workers, *limits)
        else:
            benchlib.say("    uvicorn %s replaces no workers: left out" % found["uvicorn"])


def _measure(server, args):
    """One server under load."""
    with server:
        counted = benchlib.load(server, "close", args.connections, args.seconds, 0)
        counted["recycles"] = server.recycles()
    benchlib.say("    %-18s %6.0f requests/s, %4d recycles, p50 %.1f ms, p99 %.1f ms, "
                 "p99.9 %.1f ms, max %.0f ms; of %d lost: %s" % (
                     server.name, counted["requests_per_second"], counted["recycles"],
                     counted["p50_ms"], counted["p99_ms"], counted["p999_ms"], counted["max_ms"],
                     counted["ok"] + counted["failed"], benchlib.failures(counted)))
    return counted


def run(args):
    """preforkd, then the peers."""
    found = servers.installed()
    benchlib.say("Recycling under full load, max-requests %d, jitter %d, %d workers, %d clients, "
                 "%g s" % (args.max_requests, args.jitter, args.workers, args.connections,
                           args.seconds))
    ours = _measure(servers.Preforkd(args.worker_class, args.workers,
                                     max_requests=args.max_requests,
                                     max_requests_jitter=args.jitter, min_worker_lifetime=0,
                                     log_level="warning"), args)
    raw = {"preforkd": ours}
    for server in _peers(args, found):
        raw[server.name] = _measure(server, args)
    benchlib.verdict("0 refused or failed", ours["failed"] == 0 and ours["ok"] > 0)
    benchlib.verdict("workers were replaced", ours["recycles"] > 0)
    return raw


if __name__ == "__main__":
    benchlib.main(__doc__, run, seconds=(30.0, "under load"), connections=(16, "clients"),
                  workers=(2, "workers"), worker_class=("gthread", "of preforkd and gunicorn"),
                  max_requests=(500, "limit"), jitter=(100, "random part"))
