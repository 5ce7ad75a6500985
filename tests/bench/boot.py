# SPDX-License-Identifier: MIT
"""How long it takes until a worker of a Django application serves: forked by a mold, or exec'd.

Both run at the same time and recycle in turn, while nobody asks for anything. The time is the
master's own: from the order of a worker until its READY.
"""

import statistics

import benchlib
import django_site

TARGET = 0.020


def _ready(server, slot):
    """Seconds, of a worker that is new in the slot."""
    before = _worker(server, slot)
    server.recycle(slot)
    after = _worker(server, slot)
    if after["serial"] == before["serial"]:
        raise benchlib.servers.Trouble("the worker of slot %d was not replaced" % slot)
    return after["ready_seconds"]


def _worker(server, slot):
    """The status of the one that serves."""
    return next(worker for worker in server.status()["workers"]
                if worker["slot"] == slot and worker["state"] == "ready")


def run(args):
    """Mold and exec in turn."""
    benchlib.say("Boot of one of %d workers of a Django application, %d recycles, ms" % (
        args.workers, args.recycles))
    raw = {}
    with django_site.database(), \
            django_site.preforkd(args.worker_class, args.workers, preload="yes") as mold, \
            django_site.preforkd(args.worker_class, args.workers, preload="no") as execd:
        for number in range(args.recycles):
            slot = number % args.workers + 1
            for label, server in (("mold", mold), ("exec", execd)):
                raw.setdefault(label, []).append(_ready(server, slot))
    for label, text in (("mold", "forked by the mold"), ("exec", "preload = no")):
        benchlib.say("    %-20s %s" % (text, benchlib.spread(
            [seconds * 1e3 for seconds in raw[label]], "%.1f")))
    median = {label: statistics.median(values) for label, values in raw.items()}
    benchlib.say("    ratio                %.3f" % (median["mold"] / median["exec"]))
    benchlib.verdict("median <= %.0f ms" % (TARGET * 1e3), median["mold"] <= TARGET)
    return raw


if __name__ == "__main__":
    benchlib.main(__doc__, run, recycles=(24, "recycles of each"), workers=(2, "workers"),
                  worker_class=("gthread", "worker class"))
