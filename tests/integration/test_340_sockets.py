# SPDX-License-Identifier: MIT
"""Who gets new connections, and that nobody leaves with some waiting."""

import collections
import json
import select
import signal
import socket
import threading
import time

import harness
from harness import wait_until

QUEUED = 50
REQUEST = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def connect(address):
    """A connection to an address of harness."""
    kind = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    sock = socket.socket(kind)
    sock.settimeout(harness.stretched(30))
    sock.connect("\0" + address[1:] if str(address).startswith("@") else address)
    return sock


def ask(address, path="/pid"):
    """A connection on which something was asked."""
    sock = connect(address)
    sock.sendall(REQUEST % path.encode())
    return sock


def answer(sock):
    """Status and body of the only response; ("lost", why) when there is none."""
    data = b""
    try:
        while True:
            part = sock.recv(65536)
            if not part:
                break
            data += part
    except OSError as exc:
        return "lost", repr(exc)
    finally:
        sock.close()
    head, _, body = data.partition(b"\r\n\r\n")
    return (head.split()[1].decode(), body.decode()) if body else ("lost", data)


def sockets_at(port):
    """Listening TCP sockets of a port, from /proc/net/tcp."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return sum(1 for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port)


class Case(harness.Case):
    """What the tests share."""

    def serve(self, balance, workers, **kw):
        """A master with stdlib workers, one request at a time each, unless kw says otherwise."""
        settings = dict(balance=balance, workers=workers, threads=1, graceful_timeout="20s")
        settings.update(kw)
        p = self.preforkd(**settings)
        p.wait_ready(workers)
        return p

    def occupy(self, p, workers, path="/sleep?1"):
        """Requests that keep all threads busy."""
        busy = []
        for _ in range(workers * 10):
            busy.append(ask(p.address(), path))
            if sum(w["in_flight"] for w in p.workers()) >= workers:
                break
            select.select([], [], [], 0.05)
        return busy

    def check(self, connections):
        """All of them have got their answers."""
        got = collections.Counter(answer(sock)[0] for sock in connections)
        self.assertEqual(got, {"200": len(connections)})


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

    def test_unix_is_shared(self):
        """A unix socket among per-slot addresses is served by everybody."""
        p = self.serve("per-slot", 2, listen=["127.0.0.1:0", "unix:run.sock"])
        path = p.path("run.sock")
        wait_until(lambda: {answer(ask(path))[1] for _ in range(20)} ==
                   {str(pid) for pid in p.pids()}, what="both on the unix socket")


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
            p.stop()


class Stop(Case):
    """SIGTERM with a full queue."""

    def stop_with_queue(self, balance, listen, delay=0, **kw):
        """All workers are busy, QUEUED connections wait, and the service is told to stop."""
        p = self.serve(balance, 2, listen=listen, stop_delay=delay, **kw)
        busy = self.occupy(p, 2, "/sleep?2")
        waiting = [ask(p.address()) for _ in range(QUEUED)]
        p.signal(signal.SIGTERM)
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
        self.assertLess(time.monotonic() - began, harness.stretched(20))

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
        return super().serve(*args, worker_class="sync", threads=None, **kw)

    def test_queue_of_a_slot_that_goes(self):
        """What waits in its lane is served by it before it leaves."""
        p = self.serve("per-slot", 4)
        busy = self.occupy(p, 4, "/sleep?2")
        waiting = [ask(p.address()) for _ in range(QUEUED)]
        done = threading.Thread(target=p.ctl, args=("scale", "1"))
        done.start()
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
            busy = self.occupy(p, 2, "/sleep?2")
            waiting = [ask(("127.0.0.1", ports[1])) for _ in range(QUEUED)]
            p.write_ini(listen=both[:1])
            done = threading.Thread(target=p.ctl, args=("reload",))
            done.start()
            self.check(busy + waiting)
            done.join()
            p.wait_log("no longer listening on " + both[1])
            with self.assertRaises(ConnectionRefusedError):
                connect(("127.0.0.1", ports[1]))
            p.stop()


class Unix(Case):
    """Unix sockets that are there already."""

    def test_stale_file(self):
        """Left by a master that was killed: replaced."""
        p = self.serve("shared", 1, listen="unix:run.sock")
        p.kill()
        wait_until(lambda: not _is_accepting(p.path("run.sock")), what="the end of the workers")
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
            self.assertTrue(_is_accepting(p.path("run.sock")))

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
                    wait_until(lambda: _is_accepting(p.path(name + ".sock")) == wanted,
                               what="%s.sock" % name)
        self.assertEqual(load.failed, 0, load.result)


def _is_accepting(path):
    """True when somebody listens at the path."""
    try:
        connect(path).close()
        return True
    except OSError:
        return False


if __name__ == "__main__":
    harness.main()
