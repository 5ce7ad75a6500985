# SPDX-License-Identifier: MIT
"""--check-app: boots one worker on no socket and says how that went."""

import os

import harness
from harness import PREFORKD, run


class CheckApp(harness.Case):
    """The application is imported by a real worker."""

    def check(self, files=None, environ=None, **settings):
        """(exit code, all output) of --check-app."""
        p = self.preforkd(files=files, start=False, **settings)
        self.p = p
        code, out, err = run(PREFORKD, "--check-app", p.ini, cwd="/",
                             env=harness.environment(**(environ or {})), timeout=30)
        return code, out + err

    def test_good(self):
        """Exit code 0; no address of the ini is opened, no control socket made."""
        port = harness.free_port()
        code, text = self.check(listen="127.0.0.1:%d" % port, workers=5)
        self.assertEqual(code, 0, text)
        self.assertRegex(text, r"application is ready after \d+ms.*stdlib")
        self.assertFalse(os.path.exists(self.p.control))

    def test_address_in_use_is_no_matter(self):
        """It can be run beside the service."""
        q = self.preforkd()
        host, port = q.address()
        code, text = self.check(listen="%s:%d" % (host, port))
        self.assertEqual(code, 0, text)

    def test_missing_module(self):
        """With the cwd and sys.path, because that is what is wrong then."""
        code, text = self.check(wsgi="no_such_module:app")
        self.assertEqual(code, 1, text)
        self.assertIn("no module 'no_such_module'", text)
        self.assertRegex(text, r"working directory: %s" % self.p.dir)
        self.assertRegex(text, r"sys\.path.*%s" % harness.APPS)

    def test_missing_module_of_the_application(self):
        """An import within it is told by its name and place."""
        code, text = self.check(files={"mine.py": "import no_such_thing\n"}, wsgi="mine:app")
        self.assertEqual(code, 1, text)
        self.assertIn("no_such_thing", text)
        self.assertIn("mine.py", text)

    def test_raises(self):
        """The traceback is shown."""
        code, text = self.check(files={"mine.py": "x = 1\nraise ValueError('no luck')\n"},
                                wsgi="mine:app")
        self.assertEqual(code, 1, text)
        self.assertIn("ValueError: no luck", text)
        self.assertRegex(text, r'mine\.py.*line 2')

    def test_syntax_error(self):
        """Also one that prevents the import."""
        code, text = self.check(files={"mine.py": "def app(:\n"}, wsgi="mine:app")
        self.assertEqual(code, 1, text)
        self.assertIn("SyntaxError", text)

    def test_missing_object(self):
        """The module has no such name."""
        code, text = self.check(wsgi="plain:application")
        self.assertEqual(code, 1, text)
        self.assertIn("application", text)

    def test_not_callable(self):
        """A number is no application."""
        code, text = self.check(files={"mine.py": "app = 42\n"}, wsgi="mine:app")
        self.assertEqual(code, 1, text)
        self.assertRegex(text, r"mine:app.*int cannot be called")

    def test_factory(self):
        """Factories are called."""
        self.assertEqual(self.check(wsgi="plain:make_app()")[0], 0)
        self.assertEqual(self.check(wsgi="plain:make_app('x')")[0], 0)
        code, text = self.check(files={"mine.py": "def make():\n    raise OSError('no db')\n"},
                                wsgi="mine:make()")
        self.assertEqual(code, 1)
        self.assertIn("no db", text)

    def test_never_ready(self):
        """boot-timeout ends the wait."""
        code, text = self.check(files={"mine.py": "import time\ntime.sleep(100)\n"},
                                wsgi="mine:app", boot_timeout="700ms")
        self.assertEqual(code, 1, text)
        self.assertIn("boot-timeout", text)

    def test_exits_at_once(self):
        """sys.exit() in a module is told as what it is."""
        code, text = self.check(files={"mine.py": "import sys\nsys.exit(0)\n"}, wsgi="mine:app")
        self.assertEqual(code, 1, text)

    def test_interpreter_missing(self):
        """The message names the program."""
        code, text = self.check(python="/no/such/python")
        self.assertEqual(code, 1, text)
        self.assertIn("/no/such/python", text)

    def test_unknown_server_option(self):
        """[server] keys are checked by the server."""
        code, text = self.check(server={"no_such_option": "1"})
        self.assertEqual(code, 1, text)
        self.assertIn("no_such_option", text)

    @harness.needs_module("uvicorn")
    def test_lifespan_fails(self):
        """An ASGI application that refuses to start."""
        code, text = self.check(asgi="plain:asgi", env={"TEST_LIFESPAN": "fail"})
        self.assertEqual(code, 1, text)
        self.assertIn("no database today", text)

    def test_command(self):
        """A program can be checked as well."""
        code, text = self.check(command=harness.helper("fakeworker") + " ready", ready="notify")
        self.assertEqual(code, 0, text)
        code, text = self.check(command=harness.helper("fakeworker") + " say=Ouch exit=3")
        self.assertEqual(code, 1, text)
        self.assertIn("Ouch", text)
        self.assertIn("exit status 3", text)


if __name__ == "__main__":
    harness.main()
