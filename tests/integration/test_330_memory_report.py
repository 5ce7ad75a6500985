# SPDX-License-Identifier: MIT
"""preforkctl memory: the verdicts about real workers and recorded ones, and every option."""

import base64
import csv
import json
import os
import socket
import sys
import tempfile

import harness
from harness import Varlink

sys.path.insert(0, os.path.join(harness.HERE, "..", "growth"))
import growthlib  # noqa: E402

HEADER = "seconds,slot,serial,rss_bytes,uss_bytes,pss_bytes,requests,in_flight,fds"
LEAKS = {"grows-with-requests", "grows-while-idle", "grows-with-time", "descriptors-grow"}
NUMBERS = ("samples seconds requests rss_bytes grown_bytes bytes_per_request requests_to_limit "
           "bytes_per_minute minutes_to_limit given_back_bytes shareable_bytes").split()
LEAKING = ("KEPT = []\n"
           "def app(environ, start):\n"
           "    KEPT.append(bytearray(200000))\n"
           "    start('200 OK', [('Content-Length', '2')])\n"
           "    return [b'ok']\n")

# A megabyte for each websocket.
HOLDING = ("import mmap\n"
           "async def app(scope, receive, send):\n"
           "    if scope['type'] != 'websocket':\n"
           "        return\n"
           "    with mmap.mmap(-1, 1 << 20) as held:\n"
           "        held[:] = bytes(1 << 20)\n"
           "        while (await receive())['type'] != 'websocket.disconnect':\n"
           "            await send({'type': 'websocket.accept'})\n")
MIB = 1 << 20


def series(path, *args, **kw):
    """preforkctl memory --series."""
    return harness.run(harness.PREFORKCTL, "memory", "--series", path, *args, **kw)


def kinds(verdicts):
    """Their names."""
    return [v["verdict"] for v in verdicts]


class Recorded(harness.Case):
    """tests/growth/*.csv, from tests/growth/record."""

    def test_each_pattern(self):
        """Its verdict, with evidence and remedy, in each worker and the pool; no other leak."""
        for name, pattern in growthlib.PATTERNS.items():
            with self.subTest(name):
                path = os.path.join(growthlib.HERE, name + ".csv")
                code, out, err = series(path, "--json")
                self.assertEqual(code, 0, err)
                told = json.loads(out)
                for verdicts in [w["verdicts"] for w in told["workers"]] + \
                        [told["pool"]["verdicts"]]:
                    self.assertIn(pattern.verdict, kinds(verdicts))
                    self.assertLessEqual(set(kinds(verdicts)) & LEAKS, {pattern.verdict})
                    for v in verdicts:
                        self.assertGreater(len(v["evidence"]), 20)
                        self.assertGreater(len(v["remedy"]), 20)
                        self.assertIn(v["strength"], ("strong", "fair"))
                        self.assertLessEqual(set(NUMBERS), set(v))
                code, out, err = series(path)
                self.assertEqual((code, err), (0, ""))
                self.assertIn("\npool:\n", out)
                self.assertLessEqual(max(map(len, out.splitlines())), 80)

    def test_workers_that_had_to_wait(self):
        """Lives of a second on a busy machine: flat was the processor's time, not the memory."""
        path = os.path.join(growthlib.HERE, "starved.csv")
        code, out, err = series(path, "--json", "--reload-on-rss", "80M")
        self.assertEqual(code, 0, err)
        told = json.loads(out)
        self.assertEqual(kinds(told["pool"]["verdicts"]), ["grows-with-requests"])
        for w in told["workers"]:
            self.assertLessEqual(set(kinds(w["verdicts"])), {"grows-with-requests"})

    def one(self, name, *args):
        """The verdict of the only worker."""
        _, out, _ = series(os.path.join(growthlib.HERE, name + ".csv"), "--json", *args)
        verdicts = json.loads(out)["workers"][0]["verdicts"]
        return next(v for v in verdicts if v["verdict"] == growthlib.PATTERNS[name].verdict)

    def test_numbers(self):
        """What the applications do is what is told."""
        v = self.one("leak", "--reload-on-rss", "300M")
        self.assertTrue(14000 < v["bytes_per_request"] < 22000, v)
        left = (300 << 20) - v["rss_bytes"]
        self.assertAlmostEqual(v["requests_to_limit"], left / v["bytes_per_request"], delta=10)
        self.assertIsNone(self.one("leak")["requests_to_limit"])
        v = self.one("idle")
        self.assertTrue(50 << 20 < v["bytes_per_minute"] < 65 << 20, v)
        self.assertIsNone(v["bytes_per_request"])
        v = self.one("concurrency")
        self.assertTrue(3 << 20 < v["bytes_per_concurrent_request"] < 5 << 20, v)
        v = self.one("step")
        self.assertTrue(55 << 20 < v["grown_bytes"] < 65 << 20, v)
        v = self.one("large")
        self.assertTrue(200 << 20 < v["shareable_bytes"] < 330 << 20, v)
        v = self.one("kept")
        self.assertGreater(v["given_back_bytes"], 10 << 20)
        v = self.one("descriptors")
        self.assertTrue(60 < v["descriptors_per_1000_requests"] < 140, v)


def websocket(address):
    """A client that waits for news; its socket."""
    sock = socket.create_connection(address, timeout=harness.stretched(harness.PATIENCE))
    sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " +
                 base64.b64encode(bytes(16)) + b"\r\n\r\n")
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(4096)
        if not data:
            raise AssertionError("answer %r" % head)
        head += data
    return sock


class Options(harness.Case):
    """What else can be said on the command line, and what is wrong with it."""

    def write(self, text):
        """A file for --series; its path."""
        folder = self.folder()
        path = os.path.join(folder, "s.csv")
        with open(path, "w") as f:
            f.write(text)
        return path

    def folder(self):
        """One that is removed at the end."""
        folder = tempfile.TemporaryDirectory(prefix="pfd-series-")
        self.addCleanup(folder.cleanup)
        return folder.name

    def test_locale(self):
        """Blocks where the locale is UTF-8, ASCII elsewhere."""
        path = os.path.join(growthlib.HERE, "leak.csv")
        code, out, _ = series(path, env=harness.environment(LC_ALL="C.UTF-8"))
        self.assertEqual(code, 0)
        self.assertIn("█", out)
        code, out, _ = series(path, env=harness.environment(LC_ALL="C"))
        self.assertEqual(code, 0)
        self.assertTrue(out.isascii())
        self.assertRegex(out, r" [_.=+*%-]+#+\n")

    def test_bad_files(self):
        """Each wrong line is named; exit code 1."""
        path = self.write(HEADER + "\n0,1,1,5,,,1,0,1\n1,1,1,five,,,1,0,1\n2,1,1\n")
        code, out, err = series(path)
        self.assertEqual((code, out), (1, ""))
        self.assertEqual(err.splitlines(), [
            "preforkctl: %s: line 3: rss_bytes: 'five' is not a whole number" % path,
            "preforkctl: %s: line 4: it has to have 9 fields" % path])
        code, _, err = series(self.write(""), "--json")
        self.assertEqual(code, 1)
        self.assertIn("it has no sample", err)
        code, _, err = series("/nowhere/s.csv")
        self.assertEqual(code, 1)
        self.assertIn("cannot read '/nowhere/s.csv': No such file", err)
        code, _, err = series(self.folder())
        self.assertEqual(code, 1)
        self.assertIn("Is a directory", err)
        with open("/dev/zero", "rb") as endless:
            code, _, err = series("-", stdin=endless)
        self.assertEqual(code, 1)
        self.assertIn("-: it is larger than 64 MiB", err)

    def test_usage(self):
        """Exit code 2, and why."""
        for args, why in (
                (["memory", "--series", "a", "--record", "b"], "exclude each other"),
                (["--socket", "x", "memory", "--series", "a"], "needs no instance"),
                (["memory", "--reload-on-rss", "300M"], "belongs to --series"),
                (["memory", "--series", "a", "--reload-on-rss", "300"], "--reload-on-rss: "),
                (["status", "--series", "a"], "belong to memory"),
                (["status", "--record", "a"], "belong to memory"),
                (["memory", "now"], "too many arguments")):
            with self.subTest(args):
                code, out, err = harness.run(harness.PREFORKCTL, *args)
                self.assertEqual((code, out), (2, ""), err)
                self.assertIn(why, err)

    def test_unreachable(self):
        """Exit code 3, and nothing is written."""
        path = os.path.join(self.folder(), "out.csv")
        code, _, _ = harness.run(harness.PREFORKCTL, "--socket", "/nowhere/s", "memory",
                                 "--record", path)
        self.assertEqual(code, 3)
        self.assertFalse(os.path.exists(path))


class Live(harness.Case):
    """A running instance."""

    def test_report(self):
        """Rows, JSON, a recording that is read back; errors."""
        p = self.preforkd(workers=2, memory_interval="100ms")
        p.wait_ready()
        with p.load(clients=2):
            p.wait_status(lambda s: s["requests_total"] > 200)

        def judged():
            """Its JSON, once there are some samples of each."""
            code, out, err = p.ctl("memory", "--json")
            self.assertEqual(code, 0, err)
            told = json.loads(out)
            return told if all(w["samples"] > 8 for w in told["workers"]) else None
        told = harness.wait_until(judged)
        self.assertEqual([(w["slot"], w["ended"]) for w in told["workers"]],
                         [(1, False), (2, False)])
        status = {w["serial"]: w for w in p.workers()}
        for w in told["workers"]:
            self.assertLess(abs(w["rss_bytes"] - status[w["serial"]]["rss_bytes"]), 8 << 20)
            self.assertLessEqual(w["requests"], status[w["serial"]]["requests"])
            self.assertIsNone(w["limit_rss_bytes"])
        self.assertEqual(told["pool"]["workers"], 2)
        code, out, err = p.ctl("memory")
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(out, r"\A\S+: 2 workers\n SLOT SERIAL +FIRST +NOW ")
        self.assertLessEqual(max(map(len, out.splitlines())), 80)
        path = p.path("s.csv")
        code, out, err = p.ctl("memory", "--record", path)
        self.assertEqual((code, out), (0, ""))
        self.assertRegex(err, r"^preforkctl: \d+ samples of 2 workers in '.*s.csv'\n$")
        with open(path, newline="") as f:
            rows = list(csv.DictReader(f))
        self.assertEqual(",".join(rows[0]), HEADER)
        self.assertEqual(min(float(r["seconds"]) for r in rows), 0.0)
        self.assertEqual({r["slot"] for r in rows}, {"1", "2"})
        self.assertTrue(any(int(r["requests"]) > 0 for r in rows))
        self.assertEqual(series(path)[0], 0)
        code, out, _ = p.ctl("memory", "--record", "-")
        self.assertEqual(code, 0)
        self.assertTrue(out.startswith(HEADER + "\n"))
        self.assertIn("\n0.000,", out)
        code, _, err = p.ctl("memory", "--record", "/nowhere/s.csv")
        self.assertEqual(code, 1)
        self.assertIn("cannot write '/nowhere/s.csv'", err)
        code, _, err = p.ctl("memory", "--record", "/dev/full")
        self.assertEqual(code, 1)
        self.assertIn("No space left", err)

    def test_protocol(self):
        """One reply for each worker; without `more` there is an error; nobody waits."""
        p = self.preforkd(workers=3, memory_interval="100ms")
        p.wait_ready()
        with Varlink(p.control) as v:
            answer = v.call("io.preforkd.Manager.Memory")
            self.assertEqual(answer["error"], "org.varlink.service.ExpectedMore")
            v.send("io.preforkd.Manager.Memory", more=True)
            answers = [v.receive()]
            while answers[-1].get("continues"):
                answers.append(v.receive())
            self.assertEqual([a["parameters"]["worker"]["slot"] for a in answers[:-1]], [1, 2, 3])
            self.assertEqual(answers[-1]["parameters"]["facts"]["workers"], 3)
            worker = answers[0]["parameters"]["worker"]
            self.assertEqual(len(worker["samples"][0]), 8)
            self.assertGreater(worker["samples"][0][1], 1 << 20)
        # One that never reads.
        with socket.socket(socket.AF_UNIX) as slow:
            slow.connect(p.control)
            call = b'{"method":"io.preforkd.Manager.Memory","more":true}\0'
            slow.sendall(call * 100)
            self.assertEqual(p.ctl("status")[0], 0)

    def test_plain_command(self):
        """Its requests are not known."""
        p = self.preforkd(command="%s -m http.server --bind 127.0.0.1 %d" % (
            harness.PYTHON, harness.free_port()), ready="500ms", listen="127.0.0.1:0",
            memory_interval="100ms")
        p.wait_ready()

        def known():
            """Its samples."""
            code, out, _ = p.ctl("memory", "--record", "-")
            return code == 0 and list(csv.DictReader(out.splitlines()))
        rows = harness.wait_until(known)
        self.assertEqual({(r["requests"], r["in_flight"]) for r in rows}, {("", "")})

    def test_fast_leak(self):
        """Workers that live for a second or two: the pool's verdict is about them all."""
        p = self.preforkd(workers=2, wsgi="leaking:app", files={"leaking.py": LEAKING},
                          reload_on_rss="80M", memory_samples=1, min_worker_lifetime=0,
                          preload="no")
        p.wait_ready()
        with p.load(clients=2, pause=0):
            p.wait_status(lambda s: s["recycles"]["reload-on-rss"] >= 8, timeout=60)
        code, out, err = p.ctl("memory", "--json")
        self.assertEqual(code, 0, err)
        told = json.loads(out)
        self.assertGreaterEqual(sum(w["ended"] for w in told["workers"]), 4)
        verdicts = {v["verdict"]: v for v in told["pool"]["verdicts"]}
        self.assertIn("grows-with-requests", verdicts, out)
        v = verdicts["grows-with-requests"]
        self.assertGreaterEqual(v["workers_agree"], 3)
        self.assertTrue(150000 < v["bytes_per_request"] < 300000, v)
        self.assertIsNotNone(v["requests_to_limit"])
        self.assertIn("ended", p.ctl("memory")[1])

    def test_trimmed(self):
        """What a trim has given back is evidence."""
        pattern = growthlib.PATTERNS["kept"]
        p = self.preforkd(**dict(pattern.settings, trim_on_rss="50M"))
        p.wait_ready()
        with growthlib.Load(p, "/burst", 12):
            p.wait_status(lambda s: s["workers"][0]["requests"] >= 60)

        def trimmed():
            """The verdict that has its bytes."""
            code, out, err = p.ctl("memory", "--json")
            self.assertEqual(code, 0, err)
            return [v for v in json.loads(out)["workers"][0]["verdicts"]
                    if v["verdict"] == "kept-after-load" and v["given_back_bytes"]]
        verdict = harness.wait_until(trimmed)[0]
        self.assertGreater(verdict["given_back_bytes"], 10 << 20)
        self.assertIn("given back", verdict["evidence"])
        with Varlink(p.control) as v:
            v.send("io.preforkd.Manager.Memory", more=True)
            worker = v.receive()["parameters"]["worker"]
        self.assertGreater(worker["trim_gc_bytes"] + worker["trim_malloc_bytes"], 10 << 20)

    @harness.needs_module("uvicorn", "wsproto")
    def test_websockets(self):
        """What each of them takes is told, and is no leak."""
        p = self.preforkd(workers=1, asgi="holding:app", files={"holding.py": HOLDING},
                          memory_interval="100ms", server={"ws": "wsproto"})
        p.wait_ready()
        clients = []

        def hold(n):
            """So many stay open for a while."""
            while len(clients) > n:
                # a close frame; some versions of uvicorn do not see that a client has gone
                clients.pop().sendall(b"\x88\x80\0\0\0\0")
            while len(clients) < n:
                clients.append(websocket(p.address()))
                self.addCleanup(clients[-1].close)
            samples = told()["samples"]
            harness.wait_until(lambda: told()["samples"] > samples + 8)

        def told():
            """The worker in the JSON."""
            code, out, err = p.ctl("memory", "--json")
            self.assertEqual(code, 0, err)
            return json.loads(out)["workers"][0]
        for n in (2, 20, 40, 20, 2):
            hold(n)
        verdicts = told()["verdicts"]
        self.assertEqual(kinds(verdicts), ["follows-connections"])
        self.assertTrue(0.8 * MIB < verdicts[0]["bytes_per_connection"] < 1.6 * MIB, verdicts)
        self.assertIsNone(verdicts[0]["bytes_per_concurrent_request"])
        self.assertRegex(verdicts[0]["evidence"], "with few connections, .* with many, and back")

    def test_pattern_played(self):
        """One of the recorded patterns, anew, for as many requests as a verdict needs."""
        pattern = growthlib.PATTERNS["leak"]
        p = self.preforkd(**pattern.settings)
        p.wait_ready()
        with growthlib.Load(p, clients=2, pause=0.01) as load:
            p.wait_status(lambda s: s["workers"][0]["requests"] >= 1500, timeout=90)
        self.assertEqual(load.failed, [])
        code, out, err = p.ctl("memory", "--json")
        self.assertEqual(code, 0, err)
        self.assertIn(pattern.verdict, kinds(json.loads(out)["workers"][0]["verdicts"]))


if __name__ == "__main__":
    harness.main()
