#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The setting warm-up: functions and requests, in the mold and before anything is served."""

import asyncio
import json
import os
import sys
import threading
import unittest
import wsgiref.validate

from fake_master import APPS, has_module
from fake_mold import MoldCase
from support import get, main

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "src", "python"))
sys.path.insert(0, APPS)

from preforkd import warmup  # noqa: E402
from preforkd.errors import BootError  # noqa: E402


class Runs(unittest.TestCase):
    """warmup.run() with applications made here."""

    def run_words(self, app, *words, kind="wsgi", multithread=True):
        """The warnings."""
        said = []
        warmup.run(words, app, kind, multithread, said.append)
        return said

    def failure(self, app, word, kind="wsgi"):
        """The text of the error."""
        with self.assertRaises(BootError) as caught:
            self.run_words(app, word, kind=kind)
        return str(caught.exception)


class WSGI(Runs):
    """Requests through a WSGI application."""

    def answer(self, status="200 OK", seen=None):
        """An application; what it was called with goes to the list."""
        def app(environ, start_response):
            """WSGI."""
            if seen is not None:
                seen.append(environ)
            start_response(status, [("Content-Type", "text/plain")])
            return [b"x"]
        return app

    def test_environ(self):
        """Complete, by the judgement of the standard library."""
        seen = []
        self.run_words(wsgiref.validate.validator(self.answer(seen=seen)), "/a%20b%C3%A4?c=d%20e")
        environ = seen[0]
        self.assertEqual(environ["PATH_INFO"], "/a b\u00c3\u00a4")
        self.assertEqual(environ["QUERY_STRING"], "c=d%20e")
        self.assertEqual(environ["REMOTE_ADDR"], "127.0.0.1")
        self.assertEqual(environ["HTTP_USER_AGENT"], "preforkd-warm-up")
        self.assertEqual((environ["SERVER_NAME"], environ["SERVER_PORT"], environ["HTTP_HOST"]),
                         ("localhost", "80", "localhost"))
        self.assertEqual(environ["wsgi.input"].read(1), b"")
        self.assertEqual((environ["wsgi.multiprocess"], environ["wsgi.multithread"]), (True, True))

    def test_url(self):
        """Host and scheme are the URL's."""
        seen = []
        app = self.answer(seen=seen)
        self.run_words(app, "https://shop.example/x", "http://[::1]:8080", multithread=False)
        for environ, wanted in zip(seen, (("https", "shop.example", "shop.example", "443", "/x"),
                                          ("http", "[::1]:8080", "::1", "8080", "/"))):
            self.assertEqual(wanted, (environ["wsgi.url_scheme"], environ["HTTP_HOST"],
                                      environ["SERVER_NAME"], environ["SERVER_PORT"],
                                      environ["PATH_INFO"]))
            self.assertFalse(environ["wsgi.multithread"])
        self.assertIn("only http and https", self.failure(app, "ftp://x/y"))
        self.assertIn("warm-up = http://x:y/", self.failure(app, "http://x:y/"))
        self.assertIn("warm-up = http://[x/", self.failure(app, "http://[x/"))

    def test_closed(self):
        """The response is read to its end and closed, also when it fails half way."""
        for fails in (False, True):
            steps = []

            class Body:
                """An iterable."""

                def __iter__(self):
                    """Two parts."""
                    yield b"a"
                    steps.append("read")
                    if fails:
                        raise OSError("torn")

                def close(self):
                    """The end."""
                    steps.append("closed")

            def app(environ, start_response):
                """WSGI."""
                start_response("200 OK", [])
                return Body()

            if fails:
                self.assertIn("warm-up = / failed: OSError: torn", self.failure(app, "/"))
            else:
                self.assertEqual(self.run_words(app, "/"), [])
            self.assertEqual(steps, ["read", "closed"])

    def test_statuses(self):
        """Redirects are fine, 4xx is a warning, 5xx an error."""
        self.assertEqual(self.run_words(self.answer("302 Found"), "/"), [])
        self.assertEqual(self.run_words(self.answer("404 Not Found"), "/gone"),
                         ["warm-up = /gone: the application answered with status 404"])
        self.assertEqual(self.failure(self.answer("503 Busy"), "/x"),
                         "warm-up = /x: the application answered with status 503")
        self.assertIn("warm-up = / failed: ValueError", self.failure(self.answer("fine"), "/"))

    def test_no_response(self):
        """An application that never calls start_response."""
        self.assertEqual(self.failure(lambda environ, start_response: [], "/"),
                         "warm-up = /: the application gave no response")

    def test_late_start(self):
        """start_response is called at the first part, and again with an error in place of it."""
        def app(environ, start_response):
            """WSGI."""
            write = start_response("200 OK", [])
            self.assertTrue(callable(write))
            try:
                raise KeyError("lost")
            except KeyError:
                start_response("500 Oh", [], sys.exc_info())
            yield b"sorry"
        self.assertIn("status 500", self.failure(app, "/"))

        def late(environ, start_response):
            """Sends something first."""
            start_response("200 OK", [])(b"begun")
            try:
                raise KeyError("lost")
            except KeyError:
                start_response("500 Oh", [], sys.exc_info())
            return []
        self.assertIn("KeyError: 'lost'", self.failure(late, "/"))

    def test_exit(self):
        """SystemExit is a failure like any other."""
        def app(environ, start_response):
            """WSGI."""
            sys.exit(3)
        self.assertIn("SystemExit(3)", self.failure(app, "/"))


class ASGI(Runs):
    """Requests through an ASGI application."""

    def answer(self, status=200, seen=None):
        """An application; its scope goes to the list."""
        async def app(scope, receive, send):
            """ASGI 3."""
            if seen is not None:
                seen.append((scope, await receive()))
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b"x"})
            if seen is not None:
                seen.append(await receive())
        return app

    def test_scope(self):
        """What a server would say; the end of the client after the response."""
        seen = []
        self.run_words(self.answer(seen=seen), "https://shop.example/a%20b?c=%20", kind="asgi")
        (scope, first), last = seen
        self.assertEqual((first["body"], first["more_body"]), (b"", False))
        self.assertEqual(last, {"type": "http.disconnect"})
        self.assertEqual((scope["type"], scope["method"], scope["scheme"], scope["path"],
                          scope["raw_path"], scope["query_string"], scope["server"]),
                         ("http", "GET", "https", "/a b", b"/a%20b", b"c=%20",
                          ("shop.example", 443)))
        self.assertEqual(dict(scope["headers"])[b"host"], b"shop.example")
        self.assertEqual(dict(scope["headers"])[b"user-agent"], b"preforkd-warm-up")

    def test_kinds(self):
        """ASGI 2, and statuses as with WSGI."""
        seen = []

        def double(scope):
            """ASGI 2."""
            async def instance(receive, send):
                """The second half."""
                await self.answer(seen=seen)(scope, receive, send)
            return instance
        self.assertEqual(self.run_words(double, "/", kind="asgi"), [])
        self.assertEqual(len(seen), 2)
        self.assertIn("status 500", self.failure(self.answer(500), "/", "asgi"))
        self.assertIn("status 404", self.run_words(self.answer(404), "/", kind="asgi")[0])

        async def silent(scope, receive, send):
            """Says nothing."""
        self.assertIn("no response", self.failure(silent, "/", "asgi"))

        async def broken(scope, receive, send):
            """Raises."""
            raise KeyError("lost")
        self.assertIn("KeyError: 'lost'", self.failure(broken, "/", "asgi"))

    def test_nothing_left(self):
        """The loop's tasks, generators, threads and descriptors are gone, its policy untouched."""
        ended = []

        async def numbers():
            """A generator that nobody finishes."""
            try:
                yield 1
            finally:
                ended.append("generator")

        async def linger():
            """A task that never ends by itself."""
            try:
                await asyncio.sleep(1000)
            finally:
                ended.append("task")

        async def app(scope, receive, send):
            """ASGI 3."""
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, threading.get_ident)
            app.kept = numbers()
            await app.kept.__anext__()
            app.task = loop.create_task(linger())
            await asyncio.sleep(0)
            await self.answer()(scope, receive, send)

        before = set(os.listdir("/proc/self/fd"))
        self.run_words(app, "/", kind="asgi")
        self.assertEqual(sorted(ended), ["generator", "task"])
        self.assertEqual(set(os.listdir("/proc/self/fd")), before)
        self.assertEqual(threading.active_count(), 1)


class Functions(Runs):
    """module:function"""

    def setUp(self):
        """The module's notes begin anew."""
        import molded
        self.calls = molded.calls
        del self.calls[:]

    def test_calls(self):
        """Ordinary and coroutine functions."""
        self.run_words(None, "molded:warm", "molded:warm_async")
        self.assertEqual(self.calls, [["warm", os.getpid()], ["warm_async", os.getpid()]])

    def test_mistakes(self):
        """Words that help."""
        self.assertIn("warm-up = molded:worm: molded has no attribute 'worm'",
                      self.failure(None, "molded:worm"))
        self.assertIn("it has warm", self.failure(None, "molded:worm"))
        self.assertIn("no module 'mulded'", self.failure(None, "mulded:warm"))
        self.assertIn("int cannot be called", self.failure(None, "plain:not_callable"))
        self.assertIn("write module:function", self.failure(None, "molded"))
        self.assertIn("write module:function", self.failure(None, "molded:warm()"))
        self.assertIn("warm-up = plain:app failed: TypeError", self.failure(None, "plain:app"))


class InMold(MoldCase):
    """The whole way."""

    def test_all(self):
        """In order, before the first worker, and in the mold alone."""
        for app, kind, server in (("molded:app", "wsgi", "stdlib"),
                                  ("molded:asgi", "asgi", "uvicorn")):
            if kind == "asgi" and not has_module("uvicorn"):
                self.skipTest("uvicorn is not installed")
            mold = self.forking(app, kind=kind, worker_class=server, warm_up=[
                "molded:warm", "/wait?0", "molded:warm_async", "http://localhost/big?100000"])
            worker = mold.fork()
            worker.ready()
            calls = json.loads(get(worker.address, "/calls")[1])
            self.assertEqual([name for name, pid in calls if pid == mold.pid],
                             ["warm", "warm_async"])
            self.assertEqual(mold.output().count("inside /wait"), 1)
            worker.requests(1)

    def test_failure(self):
        """The boot fails, with path and traceback."""
        mold = self.mold(warm_up=["/", "/fail"])
        text = mold.verdict()["ERROR"]
        self.assertEqual(mold.wait(), 1)
        head = text.split("\n")[0]
        self.assertIn("warm-up = /fail failed: RuntimeError: asked to fail", head)
        self.assertIn("plain.py:", head)
        self.assertNotIn("warmup.py", text)
        self.assertIn("Traceback", mold.boot_output())

    def test_warning(self):
        """One line, and the mold forks all the same."""
        folder = self.folder()
        self.write(folder, "strict.py", "def app(environ, start_response):\n"
                   "    start_response('404 Not Found', [])\n    return [b'']\n")
        mold = self.forking("strict:app", cwd=folder, warm_up=["/x"])
        self.assertEqual(mold.boot_output(), "preforkd: mold %d: warm-up = /x: the application "
                         "answered with status 404\n" % mold.pid)


if __name__ == "__main__":
    main()
