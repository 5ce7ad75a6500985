# SPDX-License-Identifier: MIT
"""What the benchmarks share: the load client, numbers with their spread, verdicts, the program.

A benchmark prints for people, writes its raw numbers with --json FILE, and exits 0 when it ran.
A missed target is said, and is a failure only with --strict: others may use the machine as well.
"""

import argparse
import ctypes
import json
import os
import signal
import statistics
import subprocess
import sys

import servers
from bench_app import BODY

LOAD = os.path.join(servers.BUILDDIR, "tests", "bench", "load")
FAILURES = ("refused", "reset_before", "reset_inside", "timeout", "bad")

_missed = []


def load(server, mode, connections, seconds, warm_up):
    """Runs the load client; what it counted."""
    argv = [LOAD, "--json", "--mode", mode, "--connections", str(connections), "--seconds",
            str(seconds), "--warm-up", str(warm_up), "--body", str(len(BODY)),
            "127.0.0.1:%d" % server.port]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True,
                              timeout=seconds + warm_up + 60)
    except subprocess.SubprocessError as exc:
        raise servers.Trouble("the load client failed: %s" % exc) from None
    counted = json.loads(done.stdout)
    counted["failed"] = sum(counted[name] for name in FAILURES)
    return counted


def failures(counted):
    """The failures in words, or "none"."""
    return ", ".join("%d %s" % (counted[name], name.replace("_", " "))
                     for name in FAILURES if counted[name]) or "none"


def spread(values, form="%.3f"):
    """Median and range in words."""
    return "%s (%s to %s)" % (form % statistics.median(values), form % min(values),
                              form % max(values))


def say(text=""):
    """One line, at once."""
    print(text, flush=True)


def verdict(what, met):
    """Whether a target was reached."""
    say("    target %s: %s" % (what, "met" if met else "MISSED"))
    if not met:
        _missed.append(what)
    return met


def main(description, run, **options):
    """Parses options (name=(default, help)), calls run(options) -> raw numbers, writes them."""
    parser = argparse.ArgumentParser(description=description)
    for name, (default, text) in options.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default,
                            help="%s (%s)" % (text, default))
    parser.add_argument("--json", metavar="FILE", help="write the raw numbers there")
    parser.add_argument("--strict", action="store_true", help="a missed target is a failure")
    args = parser.parse_args()
    # A killed `run` ends us, and we end our servers.
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for path in (LOAD, os.path.join(servers.BUILDDIR, "preforkd")):
        if not os.access(path, os.X_OK):
            sys.exit("%s is missing: build with make bench, or set builddir" % path)
    try:
        raw = run(args)
    except servers.Trouble as exc:
        sys.exit("not run: %s" % exc)
    except KeyboardInterrupt:
        sys.exit(130)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(raw, file, indent=1)
            file.write("\n")
    sys.exit(1 if _missed and args.strict else 0)
