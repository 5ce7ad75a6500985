#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Workers that cannot boot: exit 1, and the master is told why in words that help."""

import os
import unittest

from fake_master import APPS, has_module
from support import Case, for_each_kind, get, main


class Refusal(Case):
    """Helpers."""

    def refused(self, app, status=1, **settings):
        """Starts a worker that cannot boot; what it says."""
        settings.setdefault("worker_class", "stdlib")
        worker = self.start(app, **settings)
        text = worker.error()
        self.assertEqual(worker.wait(), status)
        self.assertIsNone(worker.first("READY"))
        self.text, self.output = text, worker.output()
        return text.split("\n")[0]


class Application(Refusal):
    """What is wrong with the application."""

    def test_missing_module(self):
        """Where it was looked for."""
        head = self.refused("nosuchmodule:app")
        self.assertIn("no module 'nosuchmodule'", head)
        self.assertIn("working directory: %s" % os.path.realpath(APPS), self.text)
        self.assertIn("sys.path: '%s'" % os.path.realpath(APPS), self.text)

    def test_similar_module(self):
        """A hint for a typo."""
        self.assertIn("did you mean plain?", self.refused("plane:app"))

    def test_missing_submodule(self):
        """The package is there, the module is not."""
        folder = self.folder()
        os.mkdir(os.path.join(folder, "pack"))
        self.write(folder, "pack/__init__.py", "")
        head = self.refused("pack.wsgi:app", cwd=folder)
        self.assertIn("'pack.wsgi'", head)

    def test_missing_dependency(self):
        """The module is there and imports something that is not."""
        folder = self.folder()
        self.write(folder, "needy.py", "import nosuchdependency\n")
        head = self.refused("needy:app", cwd=folder)
        self.assertIn("No module named 'nosuchdependency'", head)
        self.assertIn("needy.py:1", head)
        self.assertIn("sys.path:", self.text)
        self.assertIn("import nosuchdependency", self.text)

    def test_exception(self):
        """The module raises: summary, place, traceback without the launcher's frames."""
        folder = self.folder()
        self.write(folder, "broken.py",
                   "def f():\n    raise ValueError('no key in the lock')\nf()\n")
        head = self.refused("broken:app", cwd=folder)
        self.assertIn("ValueError: no key in the lock", head)
        self.assertIn("broken.py:2", head)
        self.assertIn("starting broken:app failed", head)
        self.assertIn("Traceback", self.text)
        self.assertNotIn("launcher.py", self.text)
        self.assertIn("ValueError: no key in the lock", self.output)

    def test_long_traceback(self):
        """The end of a traceback is what counts."""
        folder = self.folder()
        self.write(folder, "deep.py", "def f(n):\n    if n == 0:\n"
                   "        raise ValueError('x' * 900)\n    g(n)\n"
                   "def g(n):\n    f(n - 1)\nf(40)\n")
        self.refused("deep:app", cwd=folder)
        self.assertIn("ValueError: xxx", self.text.split("\n")[-1])

    def test_syntax_error(self):
        """File and line."""
        folder = self.folder()
        self.write(folder, "wrong.py", "a = 1\nb = = 2\n")
        head = self.refused("wrong:app", cwd=folder)
        self.assertIn("SyntaxError", head)
        self.assertIn("wrong.py:2", head)

    def test_exit_on_import(self):
        """A module that ends the process."""
        folder = self.folder()
        self.write(folder, "leaves.py", "import sys\nsys.exit(0)\n")
        self.assertIn("SystemExit(0)", self.refused("leaves:app", cwd=folder))

    def test_lingering_thread(self):
        """A thread that never ends does not keep a failed worker alive."""
        folder = self.folder()
        self.write(folder, "threaded.py", "import threading, time\n"
                   "threading.Thread(target=time.sleep, args=(60,)).start()\nraise OSError('no')\n")
        self.assertIn("OSError: no", self.refused("threaded:app", cwd=folder))

    def test_missing_attribute(self):
        """What there is instead."""
        head = self.refused("plain:application")
        self.assertIn("plain has no attribute 'application'", head)
        self.assertIn("app", head)

    def test_not_callable(self):
        """Something else."""
        self.assertIn("int cannot be called", self.refused("plain:not_callable"))

    def test_factory(self):
        """Factories with and without arguments, and mistakes in them."""
        for app, answer in (("plain:make_app()", "hello 1"), ("plain:make_app('hi')", "hi 1"),
                            ("plain:make_app('hi', number=7)", "hi 7")):
            with self.subTest(app=app):
                worker = self.start(app, worker_class="stdlib")
                worker.ready()
                self.assertEqual(get(worker.address), (200, answer))
        self.assertIn("too many positional", self.refused("plain:make_app(1, 2, 3)"))
        self.assertIn("literals", self.refused("plain:make_app(open('x'))"))
        self.assertIn("neither a name nor a call", self.refused("plain:make app"))

    def test_file_name(self):
        """A common slip."""
        self.assertIn("write the module, plain:app", self.refused("plain.py:app"))
        self.assertIn("write the module, sub.plain:app", self.refused("sub/plain.py:app"))

    def test_wrong_kind(self):
        """WSGI and ASGI mixed up."""
        self.assertIn("write asgi = plain:asgi", self.refused("plain:asgi"))
        if has_module("uvicorn"):
            self.assertIn("write wsgi = plain:app", self.refused(
                "plain:app", kind="asgi", worker_class="uvicorn"))


class Setting(Refusal):
    """What is wrong with the settings."""

    def test_wrong_class_for_kind(self):
        """A WSGI server for an ASGI application and the other way round."""
        self.assertIn("worker-class stdlib serves WSGI applications", self.refused(
            "plain:asgi", kind="asgi"))
        self.assertIn("worker-class uvicorn serves ASGI applications", self.refused(
            "plain:app", worker_class="uvicorn"))

    @unittest.skipUnless(has_module("gunicorn"), "gunicorn is not installed")
    def test_unknown_class(self):
        """The names there are."""
        head = self.refused("plain:app", worker_class="gthreads")
        self.assertIn("worker-class gthreads is not known", head)
        self.assertIn("gthread, ", head)
        self.assertIn("nosuch", self.refused("plain:app", worker_class="nosuch.workers.Worker"))
        self.assertIn("is no gunicorn worker class",
                      self.refused("plain:app", worker_class="collections.OrderedDict"))

    def test_nothing_installed(self):
        """No server at all: what to install."""
        folder = self.folder()
        self.write(folder, "sitecustomize.py",
                   "import sys\n"
                   "class Hide:\n"
                   "    def find_spec(self, name, path=None, target=None):\n"
                   "        if name.split('.')[0] in ('gunicorn', 'waitress', 'uvicorn', "
                   "'hypercorn'):\n"
                   "            raise ModuleNotFoundError('hidden', name=name)\n"
                   "sys.meta_path.insert(0, Hide())\n")
        for kind, packages in (("wsgi", ("python3-gunicorn", "waitress", "worker-class = stdlib")),
                               ("asgi", ("python3-uvicorn", "hypercorn"))):
            with self.subTest(kind=kind):
                head = self.refused("plain:app", kind=kind, worker_class="auto",
                                    env={"PYTHONPATH": folder})
                self.assertIn("no %s server is installed" % kind.upper(), head)
                for package in packages:
                    self.assertIn(package, head)

    def test_not_installed(self):
        """A server that was asked for by name."""
        folder = self.folder()
        self.write(folder, "sitecustomize.py", "import sys\nsys.modules['waitress'] = None\n")
        head = self.refused("plain:app", worker_class="waitress", env={"PYTHONPATH": folder})
        self.assertIn("waitress", head)
        self.assertIn("pip install", self.text + " pip install")

    def test_foreign_pid(self):
        """An interpreter that is started by a wrapper."""
        worker = self.start("plain:app", worker_class="stdlib", env={"LISTEN_FDS": "0"})
        self.assertIn("no listening socket", worker.error())
        self.assertEqual(worker.wait(), 1)

    def test_rubbish_settings(self):
        """Settings of another version."""
        for text, want in (("{", "not JSON"), ("[]", "not a JSON object"),
                           ('{"kind": "php"}', "kind is 'php'"), ('{"threads": "4"}', "threads")):
            with self.subTest(text=text):
                worker = self.start("plain:app", env={"PREFORKD_SETTINGS": text})
                self.assertIn(want, worker.error())
                self.assertEqual(worker.wait(), 1)


class Failing:
    """Every server tells about failures of the application."""

    def test_exception(self):
        """The module raises."""
        folder = self.folder()
        self.write(folder, "broken.py", "raise ValueError('no key in the lock')\n")
        worker = self.worker(app="broken:app", cwd=folder)
        text = worker.error()
        self.assertIn("ValueError: no key in the lock", text.split("\n")[0])
        self.assertEqual(worker.wait(), 1)

    def test_missing(self):
        """The attribute is missing."""
        worker = self.worker(app="plain:nothing")
        self.assertIn("has no attribute 'nothing'", worker.error())
        self.assertEqual(worker.wait(), 1)

    def test_exit(self):
        """The module ends the process."""
        folder = self.folder()
        self.write(folder, "leaves.py", "import sys\nsys.exit(3)\n")
        worker = self.worker(app="leaves:app", cwd=folder)
        self.assertIn("3", worker.error())
        self.assertEqual(worker.wait(), 1)

    def test_unknown_option(self):
        """[server] has an option that the server lacks."""
        worker = self.worker(server={"no_such_option": "1"})
        head = worker.error().split("\n")[0]
        self.assertIn("no option no_such_option", head)
        self.assertEqual(worker.wait(), 1)


for_each_kind(globals(), Failing)


class LifespanFailing:
    """Every ASGI server."""

    def test_lifespan(self):
        """The startup fails: not ready, and the reason is the application's own."""
        worker = self.worker(env={"TEST_LIFESPAN": "fail"})
        text = worker.error()
        self.assertIn("lifespan startup failed: no database today", text.split("\n")[0])
        self.assertEqual(worker.wait(), 1)
        self.assertIsNone(worker.first("READY"))


for_each_kind(globals(), LifespanFailing, lambda kind: kind.kind == "asgi")


if __name__ == "__main__":
    main()
