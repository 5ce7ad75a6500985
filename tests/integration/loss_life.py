# SPDX-License-Identifier: MIT
"""The loss test for every server, shortened: test_35*_loss_*.py make test cases of it.

At full length it is tests/soak/soak.py.
"""

import os
import sys
import unittest

import harness

sys.path.insert(0, os.path.join(harness.HERE, "..", "soak"))
import cases  # noqa: E402

# Servers that are also asked through a unix socket.
ON_UNIX = ("gthread", "uvicorn")


class Loss:
    """One server; all scenarios in turn on the same preforkd."""

    server = None

    def live(self, balance):
        """Recycles, reloads, rescales, slow boots."""
        with cases.Case(self.server, balance, max_requests=60, recycle_concurrency=2) as case:
            self.good(case.play("recycle", events=4))
            # the first reload takes it over
            case.preforkd.write_ini(max_requests=0)
            self.good(case.play("change", events=2))
            case.set_import(0.5 * harness.MULTIPLIER)
            self.good(case.play("slow-boot", events=1))

    def good(self, row):
        """Zero is the only pass."""
        self.assertTrue(row.good, row.explain())
        self.assertGreater(row.recycles, 1)

    def test_shared(self):
        """One socket."""
        self.live("shared")

    def test_per_slot(self):
        """One for each slot."""
        self.live("per-slot")

    def test_unix(self):
        """One unix socket."""
        if self.server not in ON_UNIX:
            self.skipTest("only for one server of each kind, and in the soak")
        self.live("unix")


def make_cases(namespace, names):
    """A test case for each server."""
    for name in names:
        case = type("Loss_" + name, (Loss, unittest.TestCase), {
            "server": name, "__doc__": Loss.__doc__, "__module__": namespace["__name__"]})
        lacking = cases.SERVERS[name].lacking
        if lacking:
            case = unittest.skip("not installed: %s" % ", ".join(lacking))(case)
        namespace[case.__name__] = case
