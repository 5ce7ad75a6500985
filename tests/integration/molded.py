# SPDX-License-Identifier: MIT
"""What the tests of forked workers share."""

import harness


class Molded(harness.Case):
    """Tests with a mold."""

    def mold(self, p, state="ready"):
        """Waits for the current generation's mold; its part of the status."""
        def current(s):
            """True when it is there."""
            return [m for m in s["molds"] if m["generation"] == s["generation"]
                    and m["state"] == state]
        return current(p.wait_status(current, what="a mold"))[0]

    def serve(self, **kw):
        """A preforkd with two workers that are forked."""
        kw.setdefault("workers", 2)
        p = self.preforkd(**kw)
        p.wait_ready()
        return p
