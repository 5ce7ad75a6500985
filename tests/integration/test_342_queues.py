# SPDX-License-Identifier: MIT
"""Nobody leaves with connections waiting."""

import json
import signal
import socket
import threading
import time

import harness
from connections import (QUEUED, Case, answer, ask, connect, is_accepting, is_refused,
                         sockets_at)
from harness import wait_until


class Stop(Case):
    """SIGTERM with a full queue."""

    def stop_with_queue(self, balance, listen, delay=0, **kw):
        """All workers are busy, QUEUED connections wait, and the service is told to stop."""
        p = self.serve(balance, 2, listen=listen, stop_delay=delay, **kw)
        busy = self.occupy(p, 2)
        waiting = [ask(p.address()) for _ in range(QUEUED)]
        p.signal(signal.SIGTERM)
        p.wait_log("stopping: workers finish what they have")
        self.release(p)
        self.check(busy + waiting)
        self.assertEqual(p.wait(), 0)

    def test_shared(self):
        """One queue."""
        self.stop_with_queue("shared", "127.0.0.1:0")

    def test_per_slot(self):
        """A queue for each slot."""
        self.stop_with_queue("per-slot", "127.0.0.1:0")

    def test_unix(self):
        """A queue without a port."""
        self.stop_with_queue("shared", "unix:run.sock")

    def test_uvicorn(self):
        """An asyncio server."""
        if not harness.has_module("uvicorn"):
            self.skipTest("no uvicorn")
        self.stop_with_queue("auto", "127.0.0.1:0", wsgi=None, asgi="plain:asgi",
                             worker_class="uvicorn", threads=None)

    def test_delay(self):
        """stop-delay: not ready at once, but new connections are served, and closed."""
        port = harness.free_port()
        p = self.serve("shared", 2, stop_delay="1500ms", status_listen="127.0.0.1:%d" % port)
        wait_until(lambda: harness.get(("127.0.0.1", port), "/readyz").status == 200,
                   what="/readyz")
        address = p.address()
        p.signal(signal.SIGTERM)
        p.wait_log("serves on for 1.5s")
        self.assertEqual(harness.get(("127.0.0.1", port), "/readyz").status, 503)
        sock = connect(address)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(answer(sock)[0], "200")
        self.assertEqual(p.wait(), 0)

    def test_second_term_ends_the_delay(self):
        """Who cannot wait says so twice."""
        p = self.serve("shared", 1, stop_delay="60s")
        p.signal(signal.SIGTERM)
        p.wait_log("stop-delay")
        began = time.monotonic()
        p.signal(signal.SIGTERM)
        self.assertEqual(p.wait(), 0)
        self.assertLess(harness.elapsed(began), harness.stretched(20))

    def test_refused_while_the_last_request_runs(self):
        """Who comes too late is told at once, and may go elsewhere."""
        p = self.serve("shared", 2, threads=4)
        address = p.address()
        busy = ask(address, "/sleep?4")
        p.wait_status(lambda s: any(w["in_flight"] for w in s["workers"]))
        p.signal(signal.SIGTERM)
        wait_until(lambda: is_refused(address), what="a refusal")
        self.assertIsNone(p.process.poll())
        self.check([busy])

    def test_new_connections_are_refused_in_the_end(self):
        """Nobody hangs on a service that is gone."""
        p = self.serve("shared", 1)
        address = p.address()
        p.stop()
        with self.assertRaises(ConnectionRefusedError):
            connect(address)


class Return(Case):
    """An address that comes back before its last worker has left."""

    def test_during_the_roll(self):
        """Two reloads, one into the other: nothing is lost at the address that came back."""
        ports = [harness.free_port(), harness.free_port()]
        both = ["127.0.0.1:%d" % port for port in ports]
        for balance in ("shared", "per-slot"):
            p = self.serve(balance, 4, threads=4, listen=both, files={
                "mine.py": "import time\ntime.sleep(.3)\nfrom plain import app\n"},
                wsgi="mine:app")
            p.write_ini(listen=both[:1])
            first = p.ctl_start("reload")
            p.wait_log("generation 2 is good and current")
            p.write_ini(listen=both)
            code, _, err = p.ctl("reload")
            self.assertEqual(code, 0, err)
            first.communicate()
            with p.load(address=("127.0.0.1", ports[1]), clients=2) as load:
                self.assertEqual(p.ctl("reload")[0], 0)
            self.assertEqual(load.failed, 0, load.result)
            self.assertEqual(p.status()["listen"], both)
            p.stop()


@harness.needs_module("gunicorn")
class Scale(Case):
    """Fewer workers, with connections queued at the slots that go.

    A sync worker accepts one at a time, so that the others really wait in the kernel.
    """

    def serve(self, *args, **kw):
        """With sync workers."""
        return super().serve(*args, **dict(dict(worker_class="sync", threads=None), **kw))

    def wait_draining(self, p, number):
        """Until so many workers have been told to leave."""
        p.wait_status(lambda s: [w["state"] for w in s["workers"]].count("draining") >= number,
                      what="%d draining workers" % number)

    def test_queue_of_a_slot_that_goes(self):
        """What waits in its lane is served by it before it leaves."""
        p = self.serve("per-slot", 4)
        busy = self.occupy(p, 4)
        waiting = [ask(p.address()) for _ in range(QUEUED)]
        done = threading.Thread(target=p.ctl, args=("scale", "1"))
        done.start()
        self.wait_draining(p, 3)
        self.release(p)
        self.check(busy + waiting)
        done.join()
        p.wait_ready(1)
        wait_until(lambda: sockets_at(p.address()[1]) == 1, what="one socket")

    def test_queue_of_an_address_that_goes(self):
        """A reload takes an address away while connections wait there."""
        ports = [harness.free_port(), harness.free_port()]
        for balance in ("shared", "per-slot"):
            both = ["127.0.0.1:%d" % port for port in ports]
            p = self.serve(balance, 2, listen=both)
            busy = self.occupy(p, 2)
            waiting = [ask(("127.0.0.1", ports[1])) for _ in range(QUEUED)]
            p.write_ini(listen=both[:1])
            done = threading.Thread(target=p.ctl, args=("reload",))
            done.start()
            p.wait_log("generation 2 is good and current")
            self.release(p)
            self.check(busy + waiting)
            done.join()
            p.wait_log("no longer listening on " + both[1])
            with self.assertRaises(ConnectionRefusedError):
                connect(("127.0.0.1", ports[1]))
            p.stop()

    def test_many_go_at_once(self):
        """max-draining is no reason to cut off what they are at."""
        p = self.serve("per-slot", 2)
        p.ctl("scale", "12")
        p.wait_ready(12)
        busy = self.occupy(p, 12)
        self.assertEqual(p.ctl("--no-wait", "scale", "1")[0], 0)
        self.wait_draining(p, 11)
        self.release(p)
        self.check(busy)

    def test_nobody_is_left(self):
        """The only ready worker dies while others finish: new ones wait for its successor."""
        p = self.serve("per-slot", 4)
        busy = self.occupy(p, 4)
        p.ctl("--no-wait", "scale", "1")
        p.wait_status(lambda s: [w["state"] for w in s["workers"]].count("ready") == 1)
        harness.kill(p.pids()[0], signal.SIGKILL)
        wait_until(lambda: not p.pids() or len(p.pids()) == 1)
        waiting = [ask(p.address()) for _ in range(30)]
        self.release(p)
        self.check(waiting)
        for sock in busy:
            sock.close()


class Unix(Case):
    """Unix sockets that are there already."""

    def test_stale_file(self):
        """Left by a master that was killed: replaced."""
        p = self.serve("shared", 1, listen="unix:run.sock")
        p.kill()
        wait_until(lambda: not is_accepting(p.path("run.sock")), what="the end of the workers")
        p.start()
        p.wait_ready(1)
        self.assertEqual(answer(ask(p.path("run.sock")))[0], "200")

    def test_in_use(self):
        """Somebody else listens there: refused, with a message, and left alone."""
        p = self.preforkd(listen="unix:run.sock", start=False)
        with socket.socket(socket.AF_UNIX) as owner:
            owner.bind(p.path("run.sock"))
            owner.listen(1)
            p.start()
            self.assertEqual(p.wait(), 1)
            self.assertIn("another process does already", p.log())
            self.assertTrue(is_accepting(p.path("run.sock")))

    def test_kept_added_removed(self):
        """By reloads, without a lost request on the one that stays."""
        p = self.serve("shared", 2, threads=4, listen=["unix:a.sock", "unix:b.sock"])
        with p.load(address=p.path("a.sock"), clients=3) as load:
            for listen in (["unix:a.sock"], ["unix:a.sock", "unix:c.sock"],
                           ["unix:a.sock", "unix:b.sock"]):
                p.write_ini(listen=listen)
                code, _, err = p.ctl("reload")
                self.assertEqual(code, 0, err)
                self.assertEqual(json.dumps(p.status()["listen"]),
                                 json.dumps(["unix:" + p.path(x[5:]) for x in listen]))
                for name in ("a", "b", "c"):
                    wanted = "unix:%s.sock" % name in listen
                    wait_until(lambda: is_accepting(p.path(name + ".sock")) == wanted,
                               what="%s.sock" % name)
        self.assertEqual(load.failed, 0, load.result)


if __name__ == "__main__":
    harness.main()
