# SPDX-License-Identifier: MIT
"""Four workers that leak in a cgroup of 400 MB: with memory-limit, and without.

usage: memory.py [--seconds N]

With it: 10 minutes under load, no kill by the kernel, no request lost, no warning but about other
things than memory. Without: the same is killed, said as oom, and the service goes on; so that the
first can fail. Needs a machine on which a control group can be made. Exit status: 0 good, 1 not.
Environment: srcdir, builddir, PREFORKD_TEST_PYTHON.
"""

import argparse
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
import harness  # noqa: E402
from cgroup_box import Box, available  # noqa: E402

LIMIT = 400 << 20
LEAK = ("KEPT = []\n"
        "def app(environ, start_response):\n"
        "    KEPT.append(b'x' * 20000)\n"
        "    start_response('200 OK', [('Content-Length', '2')])\n"
        "    return [b'ok']\n")


def _start(box, **settings):
    """A ready preforkd in the group."""
    p = harness.Preforkd(workers=4, wsgi="leak:app", files={"leak.py": LEAK}, preexec=box.enter,
                         **settings)
    p.start()
    p.wait_ready(4)
    return p


def _what_led_to_it(p, lines=25):
    """Prints the log up to the first kill by the kernel."""
    log = p.log().splitlines()
    at = next((i for i, line in enumerate(log) if "killed by the kernel" in line), len(log) - 1)
    print("\n".join(log[max(0, at - lines):at + 5]))


def limited(seconds, **settings):
    """What went wrong in that time, and how often workers were replaced."""
    with Box(LIMIT, swap=False) as box:
        p = _start(box, **settings)
        try:
            with p.load(clients=4, pause=0.001) as load:
                time.sleep(seconds)
            status = p.status()
            recycles = status["recycles"]["memory-limit"]
            wrong = ["%d %s" % (n, what) for n, what in (
                (load.failed, "requests lost"), (status["oom_kills"], "kills for oom"),
                (box.oom_kills(), "kills in the group"), (status["crashes"], "crashes")) if n]
            if recycles < seconds / 30:
                wrong.append("only %d recycles: it does not leak" % recycles)
            if wrong:
                _what_led_to_it(p)
            return wrong, recycles, load.ok
        finally:
            p.stop()


def unlimited(patience):
    """What went wrong: without memory-limit the kernel has to kill."""
    with Box(LIMIT, swap=False) as box:
        p = _start(box, memory_limit="no")
        try:
            with p.load(clients=4, pause=0.001):
                p.wait_status(lambda s: s["oom_kills"] > 0, timeout=patience)
            p.wait_status(lambda s: sum(w["state"] == "ready" for w in s["workers"]) == 4,
                          timeout=60)
            if p.text("/") != "ok" or "cgroup ran out of memory" not in p.log():
                return ["it does not serve on, or does not say why"]
        except harness.Late as late:
            return [str(late)[:200]]
        finally:
            p.stop()
    return []


def main():
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    args = parser.parse_args()
    why = available()
    if why:
        print("memory: not run: %s" % why)
        return 0
    good = True
    for name, settings in (("exec'd", {"preload": "no"}), ("forked", {"preload": "yes"})):
        wrong, recycles, requests = limited(args.seconds / 2, **settings)
        print("400 MB, %s: %d requests, %d recycles: %s" % (
            name, requests, recycles, "; ".join(wrong) or "good"), flush=True)
        good = good and not wrong
    wrong = unlimited(120)
    print("400 MB without memory-limit: %s" % ("; ".join(wrong) or "killed, told, and serving"))
    return 0 if good and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
