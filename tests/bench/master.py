# SPDX-License-Identifier: MIT
"""What a master costs while its workers have nothing to do: memory and wake-ups.

One master after the other, alone, since processes that map the same files share them, and PSS would
look smaller. A wake-up is a voluntary context switch: each time that the master slept and woke.
"""

import argparse
import time

import benchlib
import processes
import servers

PSS_TARGET = 2.5 * (1 << 20)
WAKES_TARGET = 2.0
# Processor time of a master with many workers, which it looks at every second.
CPU_TARGET = 5.0                # ms in a second: half a percent of one core


def _measure(server, args):
    """The master of one server."""
    with server:
        time.sleep(args.settle)
        pid, begin = server.pid, time.monotonic()
        before, cpu = processes.switches(pid), processes.cpu_seconds(pid)
        time.sleep(args.seconds)
        took = time.monotonic() - begin
        after = processes.switches(pid)
        numbers = processes.memory(pid)
        numbers.update(
            wakes_per_second=(after[0] - before[0]) / took,
            preempted_per_second=(after[1] - before[1]) / took,
            cpu_ms_per_second=(processes.cpu_seconds(pid) - cpu) * 1e3 / took,
            processes=len(processes.tree(pid)), others=processes.running("preforkd") - 1)
    return numbers


def run(args):
    """preforkd, and whatever is installed beside it."""
    found = servers.installed()
    benchlib.say("Master with %d idle workers, %g s each" % (args.workers, args.seconds))
    benchlib.say("    %-26s %10s %12s %10s %14s %10s" % (
        "", "PSS MiB", "private MiB", "RSS MiB", "wake-ups/s", "cpu ms/s"))
    rows = [("preforkd", servers.Preforkd("gthread", args.workers))]
    if "gunicorn" in found:
        rows.append(("gunicorn %s arbiter" % found["gunicorn"],
                     servers.Gunicorn("gthread", args.workers)))
    if "uvicorn" in found:
        rows.append(("uvicorn %s supervisor" % found["uvicorn"], servers.Uvicorn(args.workers)))
    if "uWSGI" in found:
        rows.append(("uWSGI %s master" % found["uWSGI"], servers.Uwsgi(args.workers)))
    raw = {}
    for label, server in rows:
        raw[label] = numbers = _measure(server, args)
        if "pss" not in numbers:
            raise servers.Trouble("smaps_rollup of %s cannot be read" % label)
        benchlib.say("    %-26s %10.2f %12.2f %10.2f %14.1f %10.2f" % (
            label, numbers["pss"] / 2**20, numbers["private"] / 2**20, numbers["rss"] / 2**20,
            numbers["wakes_per_second"], numbers["cpu_ms_per_second"]))
    for name in ("gunicorn", "uvicorn", "uWSGI"):
        if name not in found:
            benchlib.say("    %-26s not installed" % name)
    ours = raw["preforkd"]
    for label in list(raw)[1:]:
        if raw[label]["wakes_per_second"]:
            benchlib.say("    preforkd / %s: PSS %.2f, wake-ups %.2f" % (
                label, ours["pss"] / raw[label]["pss"],
                ours["wakes_per_second"] / raw[label]["wakes_per_second"]))
    if ours["others"] > 0:
        benchlib.say("    %d other preforkd ran meanwhile: alone, PSS is larger" % ours["others"])
    benchlib.verdict("PSS <= 2.5 MB", ours["pss"] <= PSS_TARGET)
    benchlib.verdict("<= 2 wake-ups/s", ours["wakes_per_second"] <= WAKES_TARGET)
    if args.many:
        raw["many"] = _many(args)
    return raw


def _many(args):
    """Workers of one mold, so that they fit; as many as their samples cost something."""
    settle = argparse.Namespace(settle=max(args.settle, args.many / 20), seconds=args.seconds)
    numbers = _measure(servers.Preforkd("stdlib", args.many, preload="yes", threads=1,
                                        log_level="warning"), settle)
    benchlib.say("    preforkd with %d idle workers: %.2f cpu ms/s, %.1f wake-ups/s, PSS %.2f MiB" %
                 (args.many, numbers["cpu_ms_per_second"], numbers["wakes_per_second"],
                  numbers["pss"] / 2**20))
    benchlib.verdict("cpu <= 0.5 %% of one core with %d workers" % args.many,
                     numbers["cpu_ms_per_second"] <= CPU_TARGET)
    return numbers


if __name__ == "__main__":
    benchlib.main(__doc__, run, seconds=(10.0, "counting wake-ups"),
                  settle=(2.0, "seconds between boot and counting"), workers=(4, "workers"),
                  many=(200, "workers in another run, 0 for none"))
