#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The end of a worker: graceful drains lose nothing, deadlines hold, a dead master ends all."""

import os
import signal
import socket
import time

from fake_master import free_tcp
from stalls import elapsed
from support import Background, Case, Client, Load, connect, for_each_kind, get, main, until


class Draining:
    """One kind of server."""

    def test_load(self):
        """Three recycles under load: no connection-per-request client notices anything."""
        listener = free_tcp(512)
        self.addCleanup(listener.close)
        worker = self.worker(listeners=[listener], backlog=512)
        worker.ready()
        load = Load(listener.getsockname())
        self.addCleanup(load.stop)
        load.wait_more(20)
        for _ in range(3):
            successor = self.worker(listeners=[listener], backlog=512)
            successor.ready()
            load.wait_more(20)
            worker.drain(10)
            load.wait_more(20)
            self.assertEqual(worker.wait(), 0, worker.output())
            until(lambda: worker.first("STOPPING"), "STOPPING")
            worker = successor
        load.wait_more(20)
        self.assertEqual(load.stop(), [])
        worker.wait_for(lambda w: w.last("BUSY") == "0", "BUSY=0")

    def test_in_flight(self):
        """What is in flight is finished and counted; the end comes soon after."""
        worker = self.worker()
        worker.ready()
        slow = Background(get, worker.address, "/wait?0.8")
        worker.wait_for(lambda w: w.last("BUSY") == "1", "BUSY=1")
        begin = time.monotonic()
        worker.drain(10)
        self.assertEqual(slow.result(), (200, "hello"))
        self.assertEqual(worker.wait(), 0)
        self.assertLess(elapsed(begin), 8)
        worker.eof or until(lambda: worker.eof, "end of the channel")
        self.assertEqual((worker.last("REQUESTS"), worker.last("BUSY")), ("1", "0"))

    def test_doors(self):
        """A draining worker's copy of the socket is closed: new connections wait for another."""
        worker = self.worker()
        worker.ready()
        slow = Background(get, worker.address, "/wait?2.5")
        worker.wait_for(lambda w: w.last("BUSY") == "1", "BUSY=1")
        inode = os.fstat(worker.listeners[0].fileno()).st_ino
        polled = self._polls(worker, inode)
        worker.drain(10)
        if self.kind.sync:
            # It accepts nothing while it works, and its end closes the door.
            worker.wait_for(lambda w: w.first("STOPPING"), "STOPPING")
        else:
            until(lambda: "socket:[%d]" % inode not in self._descriptors(worker) or (
                polled and not self._polls(worker, inode)), "the end of accepting")
        late = connect(worker.address)
        self.addCleanup(late.close)
        late.sendall(b"GET /pid HTTP/1.0\r\n\r\n")
        slow.result()
        self.assertEqual(worker.wait(), 0)
        successor = self.worker(listeners=worker.listeners)
        successor.ready()
        answer = b""
        while not answer.endswith(str(successor.pid).encode()):
            part = late.recv(4096)
            self.assertTrue(part, answer)
            answer += part

    def _descriptors(self, worker):
        """What the worker's descriptors point to."""
        folder = "/proc/%d/fd" % worker.pid
        found = []
        for name in os.listdir(folder):
            try:
                found.append(os.readlink(os.path.join(folder, name)))
            except OSError:
                pass
        return found

    def _polls(self, worker, inode):
        """True when an epoll descriptor of the worker watches the socket."""
        folder = "/proc/%d/fdinfo" % worker.pid
        for name in os.listdir(folder):
            try:
                with open(os.path.join(folder, name)) as info:
                    if "ino:%x" % inode in info.read():
                        return True
            except OSError:
                pass
        return False

    def test_fresh_connection(self):
        """A connection that was accepted and has not asked anything yet gets its answer."""
        if self.kind.sync:
            self.skipTest("a sync worker waits for its one client")
        worker = self.worker()
        worker.ready()
        fresh = connect(worker.address)
        self.addCleanup(fresh.close)
        # Whoever came later is served: the first one has been accepted.
        get(worker.address)
        worker.requests(1)
        worker.drain(10)
        worker.wait_for(lambda w: w.first("STOPPING"), "STOPPING")
        time.sleep(0.3)
        fresh.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b"hello"):
            part = fresh.recv(4096)
            self.assertTrue(part, answer)
            answer += part
        begin = time.monotonic()
        self.assertEqual(worker.wait(), 0)
        self.assertLess(elapsed(begin), 6)

    def test_silent_clients(self):
        """Connections that never ask, and kept-alive ones, do not outlast the grace."""
        worker = self.worker()
        worker.ready()
        clients = []
        if self.kind.keepalive:
            clients.append(Client(worker.address))
            clients[0].get("/")
        clients.append(connect(worker.address))
        for client in clients:
            self.addCleanup(client.close)
        begin = time.monotonic()
        worker.drain(4)
        self.assertEqual(worker.wait(), 0)
        self.assertLess(elapsed(begin), 5)

    def test_deadline(self):
        """A request that takes longer than the grace is cut, and that is still a clean end."""
        worker = self.worker()
        worker.ready()
        slow = Background(get, worker.address, "/sleep?30")
        worker.wait_for(lambda w: w.last("BUSY") == "1", "BUSY=1")
        begin = time.monotonic()
        worker.drain(1)
        self.assertEqual(worker.wait(), 0)
        self.assertLess(elapsed(begin), 1.3)
        self.assertRaises(Exception, slow.result)

    def test_heartbeat_while_draining(self):
        """A worker that drains still beats."""
        if self.kind.sync:
            self.skipTest("a sync worker does not beat within a request")
        worker = self.worker(beat=0.1)
        worker.ready()
        slow = Background(get, worker.address, "/wait?1.5")
        worker.wait_for(lambda w: w.last("BUSY") == "1", "BUSY=1")
        worker.drain(10)
        stopping = worker.wait_for(lambda w: w.first("STOPPING"), "STOPPING")
        worker.wait_beats(4, stopping["_time"])
        slow.result()
        self.assertEqual(worker.wait(), 0)

    def test_term(self):
        """SIGTERM is a quick end with status 0, even while a request hangs."""
        worker = self.worker()
        worker.ready()
        Background(get, worker.address, "/sleep?30")
        worker.wait_for(lambda w: w.last("BUSY") == "1", "BUSY=1")
        begin = time.monotonic()
        worker.kill(signal.SIGTERM)
        self.assertEqual(worker.wait(), 0)
        self.assertLess(elapsed(begin), 2)

    def test_term_unheard(self):
        """SIGTERM that does not wake the main thread, which sleeps in a request, is heard."""
        if self.kind.name.startswith("gevent"):
            self.skipTest("gevent's threads and sleep are one thread's")
        worker = self.worker()
        worker.ready()
        begin = time.monotonic()
        Background(get, worker.address, "/deaf?30")
        self.assertEqual(worker.wait(), 0)
        self.assertLess(elapsed(begin), 3)

    def test_term_after_drain(self):
        """SIGTERM cuts a drain short."""
        worker = self.worker()
        worker.ready()
        Background(get, worker.address, "/wait?30")
        worker.wait_for(lambda w: w.last("BUSY") == "1", "BUSY=1")
        worker.drain(60)
        worker.wait_for(lambda w: w.first("STOPPING"), "STOPPING")
        begin = time.monotonic()
        worker.kill(signal.SIGTERM)
        self.assertEqual(worker.wait(), 0)
        self.assertLess(elapsed(begin), 2)

    def test_other_signals(self):
        """What a terminal or a mistaken script sends does not end a worker."""
        worker = self.worker()
        worker.ready()
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT,
                       signal.SIGQUIT, signal.SIGWINCH):
            worker.kill(number)
            self.assertEqual(get(worker.address), (200, "hello"))
        worker.drain(5)
        self.assertEqual(worker.wait(), 0)

    def test_master_gone(self):
        """End of file on the channel: gone within a second, even while a request hangs."""
        for path in (None, "/sleep?30"):
            with self.subTest(path=path):
                worker = self.worker()
                worker.ready()
                if path:
                    Background(get, worker.address, path)
                    worker.wait_for(lambda w: w.last("BUSY") == "1", "BUSY=1")
                begin = time.monotonic()
                worker.channel.shutdown(socket.SHUT_RDWR)
                worker.wait()
                self.assertLess(elapsed(begin), 1.2)


for_each_kind(globals(), Draining)


class KeepAlive:
    """Servers with kept-alive connections."""

    def test_connection_close(self):
        """A response begun while draining says that it is the last."""
        worker = self.worker()
        worker.ready()
        client = Client(worker.address)
        self.addCleanup(client.close)
        client.connect()
        hold = Background(get, worker.address, "/wait?1")
        worker.wait_for(lambda w: w.last("BUSY") == "1", "BUSY=1")
        worker.drain(10)
        worker.wait_for(lambda w: w.first("STOPPING"), "STOPPING")
        time.sleep(0.3)
        client.request("GET", "/")
        response = client.getresponse()
        self.assertEqual((response.status, response.read()), (200, b"hello"))
        self.assertEqual((response.getheader("Connection") or "").lower(), "close")
        hold.result()
        self.assertEqual(worker.wait(), 0)


for_each_kind(globals(), KeepAlive, lambda kind: kind.keepalive)


class Lifespan:
    """ASGI servers."""

    def test_shutdown(self):
        """The application's lifespan shutdown runs at the end of a drain."""
        marker = os.path.join(self.folder(), "marker")
        worker = self.worker(env={"TEST_SHUTDOWN_FILE": marker})
        worker.ready()
        get(worker.address)
        worker.drain(5)
        self.assertEqual(worker.wait(), 0)
        self.assertTrue(os.path.exists(marker))


for_each_kind(globals(), Lifespan, lambda kind: kind.kind == "asgi")


class Early(Case):
    """Ends before the worker is ready."""

    def test_drain_while_booting(self):
        """A worker that is not wanted any more ends at once."""
        folder = self.folder()
        self.write(folder, "slowboot.py", "import time\ntime.sleep(60)\n")
        for action in ("drain", "term"):
            with self.subTest(action=action):
                worker = self.start("slowboot:app", cwd=folder, worker_class="stdlib")
                worker.send("REPORT=1")
                worker.wait_for(lambda w: w.reports.get("1"), "REPORT")
                begin = time.monotonic()
                if action == "drain":
                    worker.drain(30)
                    self.assertEqual(worker.wait(), 0)
                else:
                    worker.kill(signal.SIGTERM)
                    self.assertEqual(worker.wait(), -signal.SIGTERM)
                self.assertLess(elapsed(begin), 2)

    def test_exit_handlers(self):
        """atexit functions run at the end of a drain, and what was printed is not lost."""
        folder = self.folder()
        self.write(folder, "atend.py", "import atexit\nfrom plain import app\n"
                   "atexit.register(print, 'so long')\n")
        apps = os.path.join(os.path.dirname(os.path.abspath(__file__)), "apps")
        worker = self.start("atend:app", cwd=folder, worker_class="stdlib", pythonpath=[apps])
        worker.ready()
        worker.drain(5)
        self.assertEqual(worker.wait(), 0)
        self.assertIn("so long", worker.output())


if __name__ == "__main__":
    main(parts=True)
