#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Workers that hang: heartbeats stop where they must, reports and stacks still come."""

import signal
import time

from support import Background, Case, for_each_kind, get, main, until


def gap(times, begin, end):
    """The longest time without a heartbeat between begin and end."""
    inside = [t for t in times if begin < t < end]
    marks = [begin] + inside + [end]
    return max(b - a for a, b in zip(marks, marks[1:]))


class Hanging:
    """One kind of server."""

    def inside(self, worker):
        """Waits until a request is told as in flight, and is in the application."""
        worker.wait_for(lambda w: w.last("BUSY") == "1", "BUSY=1")
        until(lambda: "inside /" in worker.output(), "the application's call")

    def _during(self, worker, requests, seconds):
        """Sends the requests together; heartbeats' longest gap while all are in flight."""
        begin = time.monotonic()
        clients = [Background(get, worker.address, "%s?%s" % (path, seconds)) for path in requests]
        for client in clients:
            self.assertEqual(client.result(), (200, "hello"))
        end = time.monotonic()
        worker.requests(len(requests))
        return gap(worker.beats(), begin, end)

    def test_busy(self):
        """One request that takes its time: all but sync workers beat on."""
        worker = self.worker(beat=0.1)
        worker.ready()
        # Long enough that a busy machine's pauses are no silence of the whole request.
        longest = self._during(worker, ["/wait"], 3.0)
        if self.kind.sync:
            self.assertGreater(longest, 2.8)
        else:
            self.assertLess(longest, 2.0)

    def test_hung(self):
        """The loop, or every thread, hangs: no heartbeat; afterwards it is back."""
        worker = self.worker(beat=0.1)
        worker.ready()
        path = "/spin" if self.kind.name.startswith("gevent") else "/sleep"
        longest = self._during(worker, [path] * (2 if self.kind.pool else 1), 1.5)
        self.assertGreater(longest, 1.2)
        worker.wait_beats(2)

    def test_report(self):
        """The stacks of a worker that hangs, while it hangs."""
        worker = self.worker()
        worker.ready()
        path = "/spin" if self.kind.name.startswith("gevent") else "/sleep"
        client = Background(get, worker.address, path + "?2")
        self.inside(worker)
        text = worker.report(77)
        self.assertIn("plain.py", text)
        self.assertIn(worker.first("READY")["SERVER"], text)
        self.assertIn("1 in flight", text)
        client.result()
        worker.requests(1)
        text = worker.report(78)
        self.assertIn("0 in flight", text)

    def test_waiting_in_report(self):
        """Who waits politely is seen too: tasks and greenlets."""
        worker = self.worker()
        worker.ready()
        client = Background(get, worker.address, "/wait?2")
        self.inside(worker)
        self.assertIn("plain.py", worker.report(1))
        client.result()

    def test_abort(self):
        """SIGABRT prints the stacks of a hanging worker and ends it."""
        worker = self.worker()
        worker.ready()
        path = "/spin" if self.kind.name.startswith("gevent") else "/sleep"
        Background(get, worker.address, path + "?60")
        self.inside(worker)
        worker.kill(signal.SIGABRT)
        self.assertEqual(worker.wait(), -signal.SIGABRT)
        self.assertIn("plain.py", worker.late_output())

    def test_limits_while_hanging(self):
        """The channel is read while a request hangs."""
        worker = self.worker()
        worker.ready()
        get(worker.address)
        worker.requests(1)
        client = Background(get, worker.address, "/sleep?1.5")
        self.inside(worker)
        count = len(worker.messages)
        worker.send("LIMITS=1\nSOMETHING=new")
        worker.wait_for(lambda w: any(m.get("REQUESTS") == "1" and m.get("BUSY") == "1"
                                      for m in w.messages[count:]), "counts")
        client.result()


for_each_kind(globals(), Hanging)


class Reports(Case):
    """Reports as such."""

    def test_long(self):
        """A long report comes in parts, each within the limit; the parts fit together."""
        folder = self.folder()
        self.write(folder, "many.py", "import threading\nfrom plain import app\n"
                   "def deep(n, e):\n    return deep(n - 1, e) if n else e.wait()\n"
                   "e = threading.Event()\n"
                   "for i in range(30):\n"
                   "    threading.Thread(target=deep, args=(20, e), name='T\\\\%d\\u00e9' % i,"
                   " daemon=True).start()\n")
        worker = self.start("many:app", cwd=folder, worker_class="stdlib",
                            pythonpath=[__file__.rpartition("/")[0] + "/apps"])
        worker.ready()
        text = worker.report(5)
        self.assertGreater(len(worker.reports["5"]), 3)
        for i in range(30):
            self.assertIn("T\\%d\u00e9" % i, text)

    def test_while_booting(self):
        """A boot that hangs can be looked at."""
        folder = self.folder()
        self.write(folder, "slowboot.py", "import time\ntime.sleep(60)\n")
        worker = self.start("slowboot:app", cwd=folder, worker_class="stdlib")
        text = worker.report(1)
        for _ in range(100):
            if "slowboot.py" in text:
                break
            text = worker.report(len(worker.reports) + 1)
        self.assertIn("slowboot.py", text)
        self.assertIn("booting", text)


if __name__ == "__main__":
    main(parts=True)
