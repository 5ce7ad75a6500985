# SPDX-License-Identifier: MIT
"""The queues of connections that nobody has accepted yet, in status, table and metrics."""

import os
import signal
import socket

import harness


class Queues(harness.Case):
    """Workers that stand still while clients come."""

    def start(self, **kw):
        """A preforkd whose workers are not missed while they stand still."""
        settings = dict(workers=2, timeout=0, backlog=64)
        settings.update(kw)
        p = self.preforkd(**settings)
        p.wait_ready()
        return p

    def freeze(self, *pids):
        """Until the end of the test, when they must be able to hear that it is over."""
        for pid in pids:
            self.addCleanup(harness.kill, pid, signal.SIGCONT)
            harness.freeze(pid)

    def connect(self, address, n):
        """So many connections with a request each."""
        for _ in range(n):
            s = socket.create_connection(address)
            self.addCleanup(s.close)
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")

    def sample(self, p, name, labels):
        """The value of a series of preforkctl metrics, None: there is none."""
        for line in p.ctl("metrics")[1].splitlines():
            if line.startswith("preforkd_%s{%s} " % (name, labels)):
                return int(line.split()[-1])
        return None

    def test_shared(self):
        """One socket for all: no slot."""
        p = self.start(balance="shared", listen=["127.0.0.1:0", "unix:x.sock"])
        address = "127.0.0.1:%d" % p.address()[1]
        quiet = {"address": address, "slot": None, "queue": 0, "backlog": 64}
        unix = {"address": "unix:" + p.path("x.sock"), "slot": None, "queue": None,
                "backlog": None}
        self.assertEqual(p.status()["sockets"], [quiet, unix])
        self.assertNotIn("queue", p.ctl("status")[1])
        pids = p.pids()
        self.freeze(*pids)
        self.connect(p.address(), 5)
        p.wait_status(lambda s: s["sockets"] == [dict(quiet, queue=5), unix])
        self.assertIn("\nqueue: %s: 5 of 64 wait\n" % address, p.ctl("status")[1])
        self.assertEqual(self.sample(p, "accept_queue", 'address="%s"' % address), 5)
        self.assertEqual(self.sample(p, "accept_backlog", 'address="%s"' % address), 64)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        p.wait_status(lambda s: s["sockets"] == [quiet, unix])
        p.wait_status(lambda s: s["requests_total"] == 5)

    def test_per_slot(self):
        """A socket for each slot; only that of the worker that stands still fills."""
        p = self.start(balance="per-slot")
        address = "127.0.0.1:%d" % p.address()[1]
        quiet = [{"address": address, "slot": slot, "queue": 0, "backlog": 64}
                 for slot in (1, 2)]
        self.assertEqual(p.status()["sockets"], quiet)
        pid = p.pids()[1]
        self.freeze(pid)
        self.connect(p.address(), 40)

        def good(s):
            """The other worker has served what it got, the rest waits."""
            return (s["sockets"][0] == quiet[0] and
                    s["sockets"][1]["queue"] == 40 - s["requests_total"])
        status = p.wait_status(good)
        waiting = status["sockets"][1]["queue"]
        self.assertGreater(waiting, 0)
        self.assertEqual(status["sockets"][1], dict(quiet[1], queue=waiting))
        self.assertIn("queue: %s slot 2: %d of 64 wait\n" % (address, waiting),
                      p.ctl("status")[1])
        labels = 'address="%s",slot="%%d"' % address
        self.assertEqual(self.sample(p, "accept_queue", labels % 1), 0)
        self.assertEqual(self.sample(p, "accept_queue", labels % 2), waiting)
        self.assertEqual(self.sample(p, "accept_backlog", labels % 2), 64)
        os.kill(pid, signal.SIGCONT)
        p.wait_status(lambda s: s["requests_total"] == 40 and s["sockets"] == quiet)

    def test_scale(self):
        """Sockets come and go with the slots."""
        p = self.start(balance="per-slot", workers=1)
        self.assertEqual([s["slot"] for s in p.status()["sockets"]], [1])
        self.assertEqual(p.ctl("scale", 3)[0], 0)
        p.wait_status(lambda s: [o["slot"] for o in s["sockets"]] == [1, 2, 3])
        self.assertEqual(p.ctl("scale", 1)[0], 0)
        p.wait_status(lambda s: [o["slot"] for o in s["sockets"]] == [1])
        p.wait_ready(1)
        self.assertEqual(p.text("/"), "hello")

    def test_full(self):
        """A queue that is nearly full stands out."""
        p = self.start(backlog=10, workers=1)
        self.freeze(*p.pids())
        self.connect(p.address(), 9)
        p.wait_status(lambda s: s["sockets"][0]["queue"] == 9)
        self.assertRegex(p.ctl("status")[1], r"(?m)^! queue: \S+: 9 of 10 wait$")


if __name__ == "__main__":
    harness.main()
