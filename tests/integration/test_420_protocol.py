# SPDX-License-Identifier: MIT
"""The control protocol, and clients that misbehave."""

import json
import os
import re
import socket
import threading
import time

import harness
from harness import PREFORKCTL, Varlink, is_alive, needs_root, run, wait_until

MANAGER = "io.preforkd.Manager."


class Protocol(harness.Case):
    """Varlink, spoken by somebody else."""

    def setUp(self):
        """One preforkd, connected to."""
        super().setUp()
        self.p = self.preforkd()
        self.p.wait_ready()

    def test_info_and_description(self):
        """org.varlink.service."""
        with Varlink(self.p.control) as v:
            info = v.call("org.varlink.service.GetInfo")["parameters"]
            self.assertEqual(info["product"], "preforkd")
            self.assertIn("io.preforkd.Manager", info["interfaces"])
            text = v.call("org.varlink.service.GetInterfaceDescription",
                          {"interface": "io.preforkd.Manager"})["parameters"]["description"]
            self.assertTrue(text.lstrip("# \n").startswith("interface io.preforkd.Manager")
                            or "\ninterface io.preforkd.Manager" in text)
            for method in "Status Reload Recycle Scale Stop Report Memory Ping".split():
                self.assertRegex(text, r"(?m)^method %s\(" % method)

    def test_errors(self):
        """By varlink's names."""
        with Varlink(self.p.control) as v:
            for method, parameters, want in (
                    (MANAGER + "Nonsense", None, "org.varlink.service.MethodNotFound"),
                    ("com.example.Foo", None, "org.varlink.service.InterfaceNotFound"),
                    (MANAGER + "Scale", {}, "org.varlink.service.InvalidParameter"),
                    (MANAGER + "Scale", {"workers": "two"}, "org.varlink.service.InvalidParameter"),
                    (MANAGER + "Scale", {"workers": 2, "wrokers": 3},
                     "org.varlink.service.InvalidParameter"),
                    (MANAGER + "Recycle", {"slot": 9}, MANAGER + "NoSuchSlot"),
                    (MANAGER + "Report", {"slot": -1}, "org.varlink.service.InvalidParameter")):
                with self.subTest(method=method, parameters=parameters):
                    self.assertEqual(v.call(method, parameters)["error"], want)
            self.assertEqual(v.call(MANAGER + "Ping").get("error"), None)

    def test_pipelined(self):
        """Many calls in one packet are answered in turn."""
        with Varlink(self.p.control) as v:
            v.sock.sendall(b"".join(json.dumps({"method": MANAGER + m}).encode() + b"\0"
                                    for m in ["Ping", "Status", "Ping"] * 20))
            for i in range(60):
                answer = v.receive()
                self.assertEqual("status" in answer.get("parameters", {}), i % 3 == 1)

    def test_more(self):
        """The progress of a reload comes with `continues`, then the answer without."""
        with Varlink(self.p.control) as v:
            v.send(MANAGER + "Reload", more=True)
            continues = 0
            while True:
                answer = v.receive()
                if not answer.get("continues"):
                    break
                continues += 1
            self.assertGreaterEqual(continues, 2)
            self.assertEqual(answer["parameters"]["generation"], 2)

    def test_oneway(self):
        """No answer."""
        with Varlink(self.p.control) as v:
            v.send(MANAGER + "Reload", oneway=True)
            self.assertEqual(v.call(MANAGER + "Ping").get("error"), None)
        self.p.wait_log("reload: done")

    def test_hang_up_during_a_reload(self):
        """A client that goes away changes nothing about it."""
        v = Varlink(self.p.control)
        v.send(MANAGER + "Reload", more=True)
        v.receive()
        v.sock.close()
        self.p.wait_log("reload: done")
        self.assertEqual(self.p.text("/"), "hello")

    @needs_root
    def test_other_users_are_kept_out(self):
        """By the socket's mode."""
        code, _, err = run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
                           PREFORKCTL, "--socket", self.p.control, "status")
        self.assertEqual(code, 3, err)


class Clients(harness.Case):
    """Slow, silent, endless and garbage clients never delay the loop."""

    def setUp(self):
        """One preforkd."""
        super().setUp()
        self.p = self.preforkd(workers=2)
        self.p.wait_ready()

    def alive(self):
        """Others are answered quickly."""
        begun = time.monotonic()
        self.assertIsNotNone(self.p.status())
        self.assertEqual(self.p.text("/"), "hello")
        self.assertLess(harness.elapsed(begun), harness.stretched(2))

    def client(self):
        """A raw connection."""
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(harness.stretched(15))
        s.connect(self.p.control)
        self.addCleanup(s.close)
        return s

    def test_garbage(self):
        """Closed, logged once."""
        for data in (b"GET / HTTP/1.1\r\n\r\n\0", b"\0", b"{}\0", b"[]\0", b"null\0", b"{\0",
                     os.urandom(1000) + b"\0", b'{"method": 3}\0', b'{"method": "x"}\0',
                     b'{"method":"' + MANAGER.encode() + b'Ping","parameters":[]}\0',
                     b'{"a":' * 2000 + b"1" + b"}" * 2000 + b"\0"):
            s = self.client()
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            while True:
                try:
                    if not s.recv(65536):
                        break
                except ConnectionResetError:
                    break
            self.alive()
        self.assertLess(len(re.findall("not a Varlink call", self.p.log())), 12)

    def test_endless_request(self):
        """Bytes without a NUL are bounded."""
        s = self.client()
        sent = 0
        try:
            while sent < 64 << 20:
                sent += s.send(b"x" * 65536)
        except OSError:
            pass
        self.assertLess(sent, 8 << 20)
        self.alive()

    def test_silent_and_slow(self):
        """Connections that say nothing, half of a call, or a byte at a time."""
        socks = [self.client() for _ in range(3)]
        socks[1].sendall(b'{"method":')
        for c in b'{"method"':
            socks[2].sendall(bytes([c]))
            self.alive()

    def test_never_reads(self):
        """Calls are not taken while answers wait; memory is bounded."""
        s = self.client()
        s.setblocking(False)
        call = json.dumps({"method": MANAGER + "Status"}).encode() + b"\0"
        sent = 0
        for _ in range(20000):
            try:
                sent += s.send(call)
            except BlockingIOError:
                break
        self.alive()
        with open("/proc/%d/statm" % self.p.pid) as f:
            rss = int(f.read().split()[1]) * 4096
        self.assertLess(rss, (40 << 20) * harness.MULTIPLIER ** 2)

    def test_many_connections(self):
        """More than there are places: new ones are served, old idle ones give way."""
        socks = []
        for _ in range(100):
            s = socket.socket(socket.AF_UNIX)
            self.addCleanup(s.close)
            s.settimeout(harness.stretched(5))
            try:
                s.connect(self.p.control)
            except OSError:
                break
            socks.append(s)
        wait_until(self.p.status)
        self.alive()
        self.assertLess(len(os.listdir("/proc/%d/fd" % self.p.pid)), 100)

    def test_hammering(self):
        """Four busy clients of status while requests go on."""
        stop = threading.Event()

        def hammer():
            """As fast as it can."""
            with Varlink(self.p.control) as v:
                while not stop.is_set():
                    v.call(MANAGER + "Status")
        threads = [threading.Thread(target=hammer) for _ in range(4)]
        for t in threads:
            t.start()
        try:
            with self.p.load(clients=2) as load:
                self.assertEqual(self.p.ctl("reload")[0], 0)
        finally:
            stop.set()
            for t in threads:
                t.join()
        self.assertEqual(load.failed, 0, load.result)

    def test_fork_bomb_of_ctl(self):
        """Thirty preforkctls at the same moment."""
        running = [self.p.ctl_start("--json", "status") for _ in range(30)]
        codes = []
        for c in running:
            c.communicate()
            codes.append(c.returncode)
        self.assertTrue(all(code in (0, 3, 1) for code in codes), codes)
        self.assertGreater(codes.count(0), 20)
        self.assertTrue(is_alive(self.p.pid))


if __name__ == "__main__":
    harness.main()
