# SPDX-License-Identifier: MIT
"""The same life for every server: test_15*.py make test cases of it."""

import http.client
import socket
import time
import unittest

import harness
from harness import has_module, wait_until


class Kind:
    """One way to serve."""

    def __init__(self, name, needs, settings, product, **traits):
        """needs: modules; product: how the status names it; traits: what is special."""
        self.name, self.needs, self.settings, self.product = name, needs, settings, product
        self.keepalive = traits.get("keepalive", True)
        self.slow = traits.get("slow", "/sleep?0.6")
        self.brief = traits.get("brief", False)         # the same as another kind, but for choice


WSGI = {"wsgi": "plain:app"}
ASGI = {"asgi": "plain:asgi"}
KINDS = [
    Kind("stdlib", [], dict(WSGI, worker_class="stdlib"), "stdlib", keepalive=False),
    Kind("sync", ["gunicorn"], dict(WSGI, worker_class="sync"), "gunicorn", keepalive=False),
    Kind("sync_dotted", ["gunicorn"], dict(WSGI, worker_class="gunicorn.workers.sync.SyncWorker"),
         "gunicorn", keepalive=False, brief=True),
    Kind("gthread", ["gunicorn"], dict(WSGI, worker_class="gthread", threads=4), "gunicorn"),
    Kind("gevent", ["gunicorn.workers.ggevent"], dict(WSGI, worker_class="gevent"), "gunicorn"),
    Kind("waitress", ["waitress"], dict(WSGI, worker_class="waitress"), "waitress"),
    Kind("uvicorn", ["uvicorn"], dict(ASGI, worker_class="uvicorn"), "uvicorn", slow="/wait?0.6"),
    Kind("hypercorn", ["hypercorn"], dict(ASGI, worker_class="hypercorn"), "hypercorn",
         slow="/wait?0.6"),
    Kind("wsgi_auto", ["gunicorn"], dict(WSGI, worker_class="auto"), "gunicorn", brief=True),
    Kind("asgi_auto", ["uvicorn"], dict(ASGI, worker_class="auto"), "uvicorn", brief=True),
]


class Brief:
    """What every server has to do at least."""

    kind = None

    def serve(self, **kw):
        """A preforkd of this kind, ready."""
        settings = dict(self.kind.settings, **kw)
        p = self.preforkd(**settings)
        p.wait_ready()
        return p

    def test_serves(self):
        """Answers, counts exactly, names itself, drains, ends with 0."""
        p = self.serve(workers=2)
        for worker in p.workers():
            self.assertRegex(worker["server"], r"^%s \d" % self.kind.product)
        for _ in range(10):
            self.assertEqual(p.text("/"), "hello")
        self.assertEqual(p.get("/nothing").status, 404)
        p.wait_status(lambda s: s["requests_total"] == 11)
        self.assertEqual(len(p.text("/big?300000")), 300000)
        self.assertEqual(p.stop(), 0)
        self.assertNotRegex(p.log(), "ERROR|Traceback")


class Life(Brief):
    """What every server has to do; made into a test case for each kind."""

    def test_keepalive(self):
        """Many requests on a connection are counted one by one."""
        if not self.kind.keepalive:
            self.skipTest("it has no keep-alive")
        p = self.serve()
        host, port = p.address()
        c = http.client.HTTPConnection(host, port, timeout=harness.stretched(10))
        c.connect()
        first = c.sock.getsockname()
        for _ in range(7):
            c.request("GET", "/")
            self.assertEqual(c.getresponse().read(), b"hello")
            self.assertEqual(c.sock.getsockname(), first)
        p.wait_status(lambda s: s["requests_total"] == 7)
        c.close()

    def test_reload_under_load(self):
        """Connection-per-request clients lose nothing through a reload and recycles."""
        p = self.serve(workers=2)
        with p.load(clients=4, path="/pid") as load:
            self.assertEqual(p.ctl("reload")[0], 0)
            self.assertEqual(p.ctl("recycle", "all")[0], 0)
            p.wait_ready()
        self.assertEqual(load.failed, 0, load.result)
        self.assertGreaterEqual(len(load.result["pids"]), 4)

    def test_request_in_flight_is_finished(self):
        """A recycle waits for it; in_flight is seen."""
        p = self.serve(workers=1)
        with socket.create_connection(p.address()) as s:
            s.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                      % self.kind.slow.encode())
            p.wait_status(lambda s: sum(w["in_flight"] for w in s["workers"]) == 1)
            self.assertEqual(p.ctl("recycle", "1")[0], 0)
            answer = s.makefile("rb").read()
        self.assertTrue(answer.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")), answer)
        self.assertEqual(p.wait_ready()["recycles"]["request"], 1)

    def test_hung_worker(self):
        """A stopped process is killed by the heartbeat's timeout; a new one serves."""
        p = self.serve(workers=1, timeout="600ms")
        pid = p.pids()[0]
        p.text("/")
        p.wait_status(lambda s: s["requests_total"] == 1)
        harness.freeze(pid)
        p.wait_log(r"slot 1 pid %d.*no heartbeat for \d+ms.*hangs" % pid)
        self.assertEqual(p.text("/"), "hello")
        p.wait_status(lambda s: s["recycles"]["timeout"] == 1)

    def test_idle_worker_beats(self):
        """Without requests nobody is killed."""
        p = self.serve(workers=1, timeout="%dms" % (1000 * harness.MULTIPLIER))
        pid = p.pids()[0]
        # the time is what is tested: several timeouts long
        time.sleep(harness.stretched(2.5))
        self.assertEqual(p.pids(), [pid])
        self.assertNotIn("heartbeat", p.log())

    def test_master_dies(self):
        """EOF on the channel or the death signal: gone within 2 s."""
        p = self.serve(workers=2)
        pids = p.pids()
        p.kill()
        wait_until(lambda: not any(harness.is_alive(pid) for pid in pids), 2)

    def test_factory(self):
        """module:factory()."""
        if "asgi" in self.kind.settings:
            p = self.serve(asgi="plain:make_asgi()")
            self.assertEqual(p.text("/"), "hello")
        else:
            p = self.serve(wsgi="plain:make_app('with an argument')")
            self.assertEqual(p.text("/"), "with an argument")


def make_cases(namespace, wanted):
    """A test case for each kind that is wanted."""
    for kind in KINDS:
        if not wanted(kind):
            continue
        body = {"kind": kind, "__doc__": Life.__doc__, "__module__": namespace["__name__"]}
        case = type("Life_" + kind.name, (Brief if kind.brief else Life, harness.Case), body)
        lacking = [m for m in kind.needs if not has_module(m)]
        if lacking:
            case = unittest.skip("not installed: %s" % ", ".join(lacking))(case)
        namespace[case.__name__] = case
