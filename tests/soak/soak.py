# SPDX-License-Identifier: MIT
"""The loss test at full length (make soak): prints one row a case and the verdict.

Every worker class, with its sockets shared, one for each slot, and shared on a unix socket, through
the scenarios of cases.py. What the columns count is said in tests/loss/loss_conv.h; "good" is zero
refused, reset (before or inside an answer), timed out and bad, no idle connection closed before
drain-idle, and no warning in the master's log. Exit status: 0 all good, 1 not, 2 usage.

Environment: srcdir, builddir, PREFORKD_TEST_PYTHON (interpreter of the workers).
"""

import argparse
import json
import os
import sys
import tempfile

import cases

_COLUMNS = (
    ("class", 10, lambda r: r.server), ("balance", 9, lambda r: r.balance),
    ("scenario", 10, lambda r: r.scenario), ("requests", 9, lambda r: r.total["requests"]),
    ("ok", 8, lambda r: r.total["ok"]), ("refused", 8, lambda r: r.total["refused"]),
    ("before", 7, lambda r: r.total["reset_before"]),
    ("inside", 7, lambda r: r.total["reset_inside"]),
    ("timeout", 8, lambda r: r.total["timeout"]), ("bad", 4, lambda r: r.total["bad"]),
    ("idle closed", 12, lambda r: r.total["idle_closed"]),
    ("closed early", 13, lambda r: r.total["closed_early"]),
    ("slowest ms", 11, lambda r: "%.1f" % r.slowest),
    ("recycles/s", 11, lambda r: "%.1f" % (r.recycles / r.seconds)),
    ("verdict", 9, lambda r: "good" if r.good else "NOT GOOD"))
_TEXTS = 3                  # columns that are flushed left

# Recycles per second that the first scenario must reach to mean something.
_RATE = 3.0

# Of each scenario: settings, seconds, events, seconds of the import; at full length and quick.
_FULL = {"recycle": ({"max_requests": 60, "recycle_concurrency": 2, "workers": 3}, 60, 180, 0),
         "change": ({}, 0, 20, 0), "slow-boot": ({}, 15, 3, 2)}
_QUICK = {"recycle": (_FULL["recycle"][0], 3, 6, 0), "change": ({}, 0, 3, 0),
          "slow-boot": ({}, 0, 1, 1)}


def _line(cells):
    """One line of the table."""
    out = []
    for i, ((_, width, _), cell) in enumerate(zip(_COLUMNS, cells)):
        out.append(str(cell).ljust(width) if i < _TEXTS else str(cell).rjust(width))
    return "".join(out).rstrip()


class Soak:
    """All cases and what became of them."""

    def __init__(self, args):
        """Nothing has run."""
        self._plan = _QUICK if args.quick else _FULL
        self._args = args
        self._logs = None
        self.rows, self.failures, self.skipped = [], [], []

    def run(self):
        """Every case that was asked for."""
        print(_line(name for name, _, _ in _COLUMNS), flush=True)
        for server in self._args.server:
            lacking = cases.SERVERS[server].lacking
            if lacking:
                self.skipped.append(server)
                print("%s: not installed: %s" % (server, ", ".join(lacking)), flush=True)
                continue
            for balance in self._args.balance:
                for scenario in self._args.scenario:
                    self._one(server, balance, scenario)

    def _one(self, server, balance, scenario):
        """One case; trouble is noted, and the next one follows."""
        settings, seconds, events, slow = self._plan[scenario]
        if self._args.seconds and scenario != "change":
            seconds, events = self._args.seconds, 1
        try:
            with cases.Case(server, balance, **settings) as case:
                if slow:
                    case.set_import(slow)
                row = case.play(scenario, seconds, events)
                if scenario == "recycle" and not self._args.quick and \
                        row.recycles / row.seconds < _RATE:
                    row.trouble.append("fewer than %g recycles a second" % _RATE)
                self.rows.append(row)
                print(_line(cell(row) for _, _, cell in _COLUMNS), flush=True)
                if not row.good:
                    self._evidence(case, row)
        except (AssertionError, OSError) as error:
            self.failures.append("%s %s %s: %s" % (server, balance, scenario, error))
            print("%s\n" % self.failures[-1], flush=True)

    def _evidence(self, case, row):
        """The notes of a case that is not good, and where its log is."""
        if self._logs is None:
            self._logs = self._args.logs or tempfile.mkdtemp(prefix="soak-")
            os.makedirs(self._logs, exist_ok=True)
        path = os.path.join(self._logs, "%s-%s-%s" % (row.server, row.balance, row.scenario))
        case.save_log(path + ".log")
        with open(path + ".notes", "w") as f:
            f.write("\n".join(row.notes + row.trouble) + "\n")
        for line in row.notes[:3] + row.trouble[:3]:
            print("    " + line)
        print("    more in %s.notes and .log" % path, flush=True)

    @property
    def good(self):
        """Whether nothing was lost and everything could be run."""
        return bool(self.rows) and not self.failures and all(row.good for row in self.rows)

    def conclude(self):
        """The last lines."""
        requests = sum(row.total["requests"] for row in self.rows)
        print("\n%s" % ", ".join(sorted({row.product for row in self.rows})))
        print("%d of %d requests lost, %d idle connections closed early, in %d cases; %d cases "
              "could not be run, %d worker classes are not installed" % (
                  sum(row.lost for row in self.rows), requests,
                  sum(row.total["closed_early"] for row in self.rows), len(self.rows),
                  len(self.failures), len(self.skipped)))
        print("verdict: %s" % ("zero lost" if self.good else "NOT GOOD"))
        if self._args.json:
            with open(self._args.json, "w") as f:
                json.dump({"good": self.good, "failures": self.failures, "skipped": self.skipped,
                           "rows": [row.as_dict() for row in self.rows]}, f, indent=1)


def _arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description="loss test of preforkd")
    parser.add_argument("--class", dest="server", action="append", choices=list(cases.SERVERS),
                        help="worker class, may be repeated; all of them")
    parser.add_argument("--balance", action="append", choices=cases.BALANCES)
    parser.add_argument("--scenario", action="append", choices=cases.SCENARIOS)
    parser.add_argument("--seconds", type=float, help="of recycle and slow-boot (60 and 15)")
    parser.add_argument("--quick", action="store_true", help="some seconds for each case")
    parser.add_argument("--json", metavar="FILE", help="write everything that was counted")
    parser.add_argument("--logs", metavar="DIR", help="for logs of cases that are not good")
    args = parser.parse_args()
    args.server = args.server or list(cases.SERVERS)
    args.balance = args.balance or cases.BALANCES
    args.scenario = args.scenario or cases.SCENARIOS
    return args


def main():
    """See above."""
    args = _arguments()
    if not os.path.exists(cases.LOSS):
        sys.exit("soak: no %s: make soak builds it" % cases.LOSS)
    soak = Soak(args)
    try:
        soak.run()
    finally:
        soak.conclude()
    sys.exit(0 if soak.good else 1)


if __name__ == "__main__":
    main()
