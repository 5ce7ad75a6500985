# SPDX-License-Identifier: MIT
"""Who gets new connections."""

import collections
import http.client
import os
import signal
import time

import harness
from connections import Case, answer, ask, sockets_at
from harness import wait_until


class Lanes(Case):
    """balance = per-slot."""

    def pids(self, p, n):
        """Who answers n new connections."""
        return {answer(ask(p.address()))[1] for _ in range(n)}

    def test_each_slot_has_one(self):
        """All workers get connections; the sockets come and go with the slots."""
        p = self.serve("per-slot", 3)
        port = p.address()[1]
        self.assertEqual(sockets_at(port), 3)
        self.assertEqual(self.pids(p, 200), {str(pid) for pid in p.pids()})
        p.ctl("scale", "5")
        p.wait_ready(5)
        self.assertEqual(sockets_at(port), 5)
        self.assertEqual(self.pids(p, 300), {str(pid) for pid in p.pids()})
        p.ctl("scale", "1")
        p.wait_ready(1)
        wait_until(lambda: sockets_at(port) == 1, what="one socket")
        self.assertEqual(self.pids(p, 50), {str(pid) for pid in p.pids()})

    def test_shared_and_back(self):
        """A reload changes the mode without losing a request."""
        p = self.serve("shared", 3)
        port = p.address()[1]
        with p.load(clients=4) as load:
            for mode, sockets in (("per-slot", 3), ("shared", 1), ("per-slot", 3)):
                p.write_ini(balance=mode)
                self.assertEqual(p.ctl("reload")[0], 0)
                wait_until(lambda: sockets_at(port) == sockets, what="%d sockets" % sockets)
        self.assertEqual(load.failed, 0, load.result)
        self.assertGreater(load.ok, 50)

    def test_not_to_a_slot_without_a_worker(self):
        """While a slot is empty its share goes to the others at once."""
        p = self.serve("per-slot", 3, files={
            "mine.py": "import os, time\nfrom plain import app\n"
            "while os.path.exists('wait'): time.sleep(.01)\n"}, wsgi="mine:app")
        victim = p.pids()[0]
        p.write("wait", "")
        harness.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(p.pids()) == 2, what="two workers")
        left = {str(pid) for pid in p.pids()}
        self.assertEqual(self.pids(p, 100), left)
        harness.os.unlink(p.path("wait"))
        p.wait_ready(3)
        self.assertEqual(self.pids(p, 200), {str(pid) for pid in p.pids()})

    def test_shut_down_by_a_worker(self):
        """A worker's shutdown() of its socket is repaired, and the books stay right."""
        p = self.serve("per-slot", 3, threads=4)
        for _ in range(3):
            answer(ask(p.address(), "/shutdown"))
            p.wait_log("it listens again")
            mark = {str(pid) for pid in p.pids()}
            wait_until(lambda: self.pids(p, 100) == mark, what="all slots to get connections")

    def test_auto(self):
        """per-slot for ASGI, shared for WSGI."""
        p = self.serve("auto", 2)
        self.assertEqual(sockets_at(p.address()[1]), 1)
        if harness.has_module("uvicorn"):
            p = self.serve("auto", 2, asgi="plain:asgi", wsgi=None, worker_class="uvicorn",
                           threads=None)
            self.assertEqual(sockets_at(p.address()[1]), 2)

    @harness.needs_module("gunicorn")
    def test_connections_that_return(self):
        """Those of a worker that is replaced are dealt out, not all to its successor."""
        p = self.serve("per-slot", 1, worker_class="gthread", threads=2, keepalive=600)
        kept = [Kept(p.address()) for _ in range(48)]
        first, = p.pids()
        self.assertEqual({one.pid() for one in kept}, {str(first)})
        p.ctl("scale", "2")
        p.wait_ready(2)
        second, = set(p.pids()) - {first}
        wait_until(lambda: self.pids(p, 20) == {str(second)}, what="the counts of connections")
        others = [Kept(p.address()) for _ in range(16)]
        self.assertEqual({one.pid() for one in others}, {str(second)})
        self.assertEqual(p.ctl("--no-wait", "recycle", "1")[0], 0)
        again = collections.Counter()

        def all_moved():
            """Each asks, and once more at once when its connection was ended."""
            for one in list(kept):
                pid = one.pid()
                if pid == str(first) and not one.is_open:
                    pid = one.pid()
                if pid != str(first):
                    again[pid] += 1
                    kept.remove(one)
                    others.append(one)
            return not kept
        wait_until(all_moved, what="all connections at other workers")
        # By the toss of a coin for each: 2 of 48 is what one in ten million runs would stay below.
        self.assertEqual(set(again), {str(pid) for pid in p.pids() if pid != first}, again)
        self.assertGreaterEqual(min(again.values()), 2)
        for one in others:
            one.close()

    def test_unix_is_shared(self):
        """A unix socket among per-slot addresses is served by everybody."""
        p = self.serve("per-slot", 2, listen=["127.0.0.1:0", "unix:run.sock"])
        path = p.path("run.sock")
        wait_until(lambda: {answer(ask(path))[1] for _ in range(20)} ==
                   {str(pid) for pid in p.pids()}, what="both on the unix socket")


class Kept:
    """A client that keeps its connection, and opens another one when the server ends it."""

    def __init__(self, address):
        """Opens nothing yet."""
        self._connection = http.client.HTTPConnection(*address, timeout=harness.stretched(30))

    def pid(self):
        """Who answers."""
        self._connection.request("GET", "/pid")
        return self._connection.getresponse().read().decode()

    @property
    def is_open(self):
        """Whether the server has kept the connection after its last answer."""
        return self._connection.sock is not None

    def close(self):
        """Ends the connection."""
        self._connection.close()


class Rescaling(Case):
    """Many changes under load."""

    def test_200_times(self):
        """No index is ever wrong: no slot without traffic, none steered to that is dead."""
        p = self.serve("per-slot", 2, threads=4, max_draining=64, files={
            # The workers of this test come and go by the hundred.
            "mine.py": "from plain import app\n"}, wsgi="mine:app")
        rounds = 200 if harness.stretched(1) == 1 else 50
        with p.load(clients=4, pause=0.002) as load:
            for i in range(rounds):
                p.ctl("--no-wait", "scale", str((2, 5, 3, 6)[i % 4]))
                if i % 20 == 19:
                    p.wait_ready((2, 5, 3, 6)[i % 4])
            p.ctl("scale", "4")
            p.wait_ready(4)
            alive = {str(pid) for pid in p.pids()}
            wait_until(lambda: {answer(ask(p.address()))[1] for _ in range(200)} == alive,
                       what="all four to get connections")
            wait_until(lambda: sockets_at(p.address()[1]) == 4, what="four sockets")
        self.assertEqual(load.failed, 0, load.result)
        self.assertGreater(load.ok, rounds)

    def test_addresses_change_in_place(self):
        """127.0.0.1:P to :P and back, with the same port, under load."""
        port = harness.free_port()
        for balance in ("shared", "per-slot"):
            p = self.serve(balance, 2, threads=4, listen="127.0.0.1:%d" % port)
            with p.load(clients=4) as load:
                for listen in (":%d", "127.0.0.1:%d", ":%d"):
                    p.write_ini(listen=listen % port)
                    code, _, err = p.ctl("reload")
                    self.assertEqual(code, 0, err)
            self.assertEqual(load.failed, 0, (balance, load.result))
            self.assertNotRegex(p.log(), "ERROR|WARN")
            p.stop()

    def test_bad_release_at_a_narrower_address(self):
        """:P to 127.0.0.1:P with code that fails: the old workers get all connections."""
        port = harness.free_port()
        p = self.serve("shared", 2, threads=4, listen=":%d" % port, wsgi="mine:app",
                       files={"mine.py": "from plain import app\n"})
        p.write("mine.py", "import time\ntime.sleep(1)\nraise RuntimeError('bad')\n")
        p.write_ini(listen="127.0.0.1:%d" % port)
        reload = p.ctl_start("reload")
        with p.load(clients=3) as load:
            reload.communicate()
        self.assertEqual(reload.returncode, 1)
        self.assertEqual(load.failed, 0, load.result)
        self.assertGreater(load.ok, 20)

    def test_address_that_comes_back(self):
        """Asked for again while the workers that had it end: it is not closed any more."""
        first, second = harness.free_port(), harness.free_port()
        p = self.serve("shared", 2, threads=4, listen="127.0.0.1:%d" % first, wsgi="mine:app",
                       files={"mine.py": "import os, time\nwhile os.path.exists('wait'):\n"
                                         "    time.sleep(0.01)\nfrom plain import app\n"})
        p.write_ini(listen="127.0.0.1:%d" % second)
        p.signal(signal.SIGHUP)
        p.wait_log("generation 2 is good")
        p.write("wait", "")
        p.write_ini(listen="127.0.0.1:%d" % first)
        p.signal(signal.SIGHUP)
        p.wait_log("generation 3 is tried")
        p.wait_status(lambda s: not any(w["generation"] == 1 for w in s["workers"]))
        os.unlink(p.path("wait"))
        p.wait_status(lambda s: s["generation"] == 3 and s["state"] == "running")
        self.assertEqual(answer(ask(("127.0.0.1", first)))[0], "200")
        self.assertNotRegex(p.log(), "ERROR|WARN|no longer listening on 127.0.0.1:%d" % first)

    def test_wider_address_while_the_roll_goes_on(self):
        """127.0.0.1:P to :P: those who connect are served all the time."""
        port = harness.free_port()
        p = self.serve("per-slot", 3, threads=4, listen="127.0.0.1:%d" % port,
                       wsgi="mine:app", preload="no",
                       files={"mine.py": "import time\ntime.sleep(1)\nfrom plain import app\n"})
        p.write_ini(listen=":%d" % port)
        reload = p.ctl_start("reload")
        p.wait_log("generation 2 is good")
        began = time.monotonic()
        self.assertEqual(answer(ask(p.address()))[0], "200")
        # A dropped SYN is sent again after a second.
        self.assertLess(harness.elapsed(began), harness.stretched(0.9))
        reload.communicate()
        self.assertEqual(reload.returncode, 0)

    def test_both_families_become_one(self):
        """127.0.0.1:P and [::1]:P to [::]:P."""
        if not harness.os.path.exists("/proc/net/if_inet6"):
            self.skipTest("no IPv6")
        port = harness.free_port()
        p = self.serve("per-slot", 2, threads=4,
                       listen=["127.0.0.1:%d" % port, "[::1]:%d" % port])
        p.write_ini(listen="[::]:%d" % port)
        code, _, err = p.ctl("reload")
        self.assertEqual(code, 0, err)
        wait_until(lambda: answer(ask(("127.0.0.1", port)))[0] == "200", what="an answer")


if __name__ == "__main__":
    harness.main()
