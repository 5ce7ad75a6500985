# SPDX-License-Identifier: MIT
"""Healthy applications for ten minutes and 100,000 requests each: nobody may say that they leak.

usage: healthy.py [--seconds N] [--requests N] [flask|django|starlette ...]

preforkctl memory is asked every few seconds, so that a verdict that comes and goes is seen. Prints
a line for each. Exit status: 0 no leak, 1 one was found or an application is not installed.
Environment: srcdir, builddir, PREFORKD_TEST_PYTHON.
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "growth"))
import healthy  # noqa: E402
import harness  # noqa: E402


def check(name, args):
    """One application; whether it is good."""
    lacking = [m for m in healthy.CASES[name][3] if not harness.has_module(m)]
    if lacking:
        print("%-10s not installed: %s" % (name, ", ".join(lacking)), flush=True)
        return False
    found, done = healthy.run(name, args.requests, args.seconds)
    print("%-10s %d requests: %s" % (name, done, "no leak" if not found else
                                     "NOT GOOD\n    " + "\n    ".join(found)), flush=True)
    return not found


def main():
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--requests", type=int, default=100000)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of: %s" % " ".join(healthy.CASES))
    args = parser.parse_args()
    # All of them, also after one that is not good.
    good = [check(name, args) for name in args.names or healthy.CASES]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
