# SPDX-License-Identifier: MIT
"""The command line: modes, options, precedence, exit codes."""

import os
import re
import socket
import subprocess
import tempfile
import unittest

import harness
from harness import PREFORKD, run

GOOD = "[preforkd]\nwsgi = plain:app\nworker-class = stdlib\n"


class CommandLine(unittest.TestCase):
    """preforkd runs to its end here, without a worker."""

    def setUp(self):
        """A folder with a good ini."""
        folder = tempfile.TemporaryDirectory(prefix="pfd-")
        self.addCleanup(folder.cleanup)
        self.dir = os.path.realpath(folder.name)
        self.ini = self.write("good.ini", GOOD)

    def write(self, name, text):
        """A file in the folder."""
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def preforkd(self, *args, **kw):
        """Runs it; (code, out, err)."""
        env = harness.environment(**kw.pop("environ", {}))
        return run(PREFORKD, *args, cwd=self.dir, env=env, **kw)

    def shown(self, *args, **kw):
        """--show-settings as a dict of lists."""
        code, out, err = self.preforkd("--show-settings", *args, **kw)
        self.assertEqual((code, err), (0, ""))
        found = {}
        for line in out.splitlines():
            if "=" in line and not line.startswith("#"):
                key, _, value = line.partition("=")
                found.setdefault(key.strip(), []).append(value.strip())
        return found

    def test_version_and_help(self):
        """They go to stdout and end with 0, whatever else is there."""
        for args in (["--version"], ["-V"], ["--version", "--nonsense"]):
            with self.subTest(args):
                code, out, err = self.preforkd(*args)
                self.assertEqual((code, err), (0, ""))
                self.assertRegex(out, r"^preforkd \d+\.\d+")
        for args in (["--help"], ["-h"], ["--help", "nofile.ini"]):
            with self.subTest(args):
                code, out, _ = self.preforkd(*args)
                self.assertEqual(code, 0)
                self.assertIn("--max-requests", out)
                self.assertIn("--check-app", out)
                self.assertLessEqual(max(map(len, out.splitlines())), 80)

    def test_help_on_a_full_disk(self):
        """Output that cannot be written is an error."""
        with open("/dev/full", "w") as full:
            done = subprocess.run([PREFORKD, "--help"], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"No space left", done.stderr)

    def test_nothing_to_run(self):
        """Neither options nor a file: says what to give."""
        code, _, err = self.preforkd()
        self.assertEqual(code, 78)
        self.assertIn("--wsgi app:app", err)

    def test_application_as_word(self):
        """gunicorn's habit gets a helpful answer."""
        code, _, err = self.preforkd("app:app")
        self.assertEqual(code, 2)
        self.assertIn("--wsgi app:app", err)
        self.assertIn("ini", err)

    def test_usage_errors(self):
        """Exit code 2 and the offending word."""
        for args, want in (
                (["--wrokers", "2"], r"'--wrokers'; did you mean '--workers'"),
                (["--nonsense=1"], r"'--nonsense'"),
                (["-x"], r"'-x'"),
                (["--workers"], r"--workers.*value"),
                ([self.ini, "other.ini"], r"one ini file only.*other\.ini"),
                (["missing.ini"], r"missing\.ini.*No such file"),
                (["--bind", "127.0.0.1:1"], r"'--bind'; did you mean '--listen'")):
            with self.subTest(args):
                code, out, err = self.preforkd(*args)
                self.assertEqual((code, out), (2, ""), err)
                self.assertRegex(err, want)

    def test_check(self):
        """Good settings say so and name the application."""
        code, out, err = self.preforkd("--check", self.ini)
        self.assertEqual((code, err), (0, ""))
        self.assertIn("plain:app", out)

    def test_check_does_not_load_the_application(self):
        """--check is about settings only."""
        self.write("x.ini", "[preforkd]\nwsgi = no_such_module:app\n")
        self.assertEqual(self.preforkd("--check", "x.ini")[0], 0)

    def test_check_reports_bad_settings(self):
        """Exit code 78, with --check and without."""
        self.write("x.ini", "[preforkd]\nwsgi = app:app\nworkers = many\n")
        for args in (["--check", "x.ini"], ["x.ini"], ["--show-settings", "x.ini"]):
            with self.subTest(args):
                code, _, err = self.preforkd(*args)
                self.assertEqual(code, 78)
                self.assertRegex(err, r"x\.ini:3: workers: 'many'")

    def test_show_settings_round_trip(self):
        """What is shown is an ini that reads back to the same."""
        self.write("x.ini", """[preforkd]
asgi = app:make()
worker-class = uvicorn
listen = 127.0.0.1:0
listen = unix:run.sock
workers = 3
max-requests = 1000
max-requests-jitter = 7%
reload-on-rss = 300M
evil-reload-on-rss = 1.5G
timeout = 90
graceful-timeout = 2min
umask = 027
recycle-dry-run = yes
worker-log = ./workers.log
on-worker-exit = /bin/echo "one two" '; three'
pythonpath = lib:other
[server]
root_path = /api
log_level = debug
[env]
A = b = c
PATH_X = /a:/b
""")
        code, first, err = self.preforkd("--show-settings", "x.ini")
        self.assertEqual((code, err), (0, ""))
        for want in ("reload-on-rss = 300M", "graceful-timeout = 2min", "max-requests-jitter = 7%",
                     "root_path = /api", "A = b = c", "umask = 0027",
                     "worker-log = %s/workers.log" % self.dir):
            self.assertIn(want, first)
        self.write("y.ini", first)
        code, second, err = self.preforkd("--show-settings", "y.ini")
        self.assertEqual((code, err), (0, ""))

        def keys(text):
            """Without the comments, which tell where a value comes from."""
            return [line for line in text.splitlines() if line and not line.startswith("#")]
        self.assertEqual(keys(first), keys(second))

    def test_sample_is_the_defaults(self):
        """conf/preforkd.ini changes nothing; every key of --help is in it."""
        sample = os.path.join(harness.SRCDIR, "conf", "preforkd.ini")
        self.assertEqual(self.shown(sample, "--wsgi", "a:b", "--chdir", self.dir),
                         self.shown("--wsgi", "a:b", "--chdir", self.dir))
        with open(sample) as f:
            text = f.read()
        for key in re.findall(r"^  --([a-z-]+) [A-Za-z]", self.preforkd("--help")[1], re.M):
            if key not in ("env", "server"):
                self.assertRegex(text, r"(?m)^;?%s =" % key)

    def test_samples_are_good(self):
        """Every sample that serves something passes --check."""
        conf = os.path.join(harness.SRCDIR, "conf")
        for name in sorted(os.listdir(conf)):
            if name.endswith(".ini") and name != "preforkd.ini":
                with self.subTest(name):
                    code, _, err = self.preforkd("--check", os.path.join(conf, name))
                    self.assertEqual(code, 0, err)

    def test_precedence(self):
        """Command line over ini over environment over default."""
        environ = {"WEB_CONCURRENCY": "7", "PORT": "8123"}
        self.assertEqual(self.shown(self.ini)["listen"], ["127.0.0.1:8000"])
        shown = self.shown(self.ini, environ=environ)
        self.assertEqual((shown["workers"], shown["listen"]), (["7"], ["0.0.0.0:8123"]))
        self.write("x.ini", GOOD + "workers = 5\nlisten = 127.0.0.1:9\n")
        shown = self.shown("x.ini", environ=environ)
        self.assertEqual((shown["workers"], shown["listen"]), (["5"], ["127.0.0.1:9"]))
        shown = self.shown("--workers", "3", "--listen=127.0.0.1:1", "x.ini", environ=environ)
        self.assertEqual((shown["workers"], shown["listen"]), (["3"], ["127.0.0.1:1"]))

    def test_bad_environment(self):
        """Named as what they are."""
        for name, value in (("WEB_CONCURRENCY", "lots"), ("PORT", "http"), ("PORT", "70000")):
            with self.subTest(name):
                code, _, err = self.preforkd("--check", self.ini, environ={name: value})
                self.assertEqual(code, 78)
                self.assertIn("$" + name, err)

    def test_bad_value_on_the_command_line(self):
        """The message names the option; exit code 78."""
        code, _, err = self.preforkd("--check", "--timeout", "soon", self.ini)
        self.assertEqual(code, 78)
        self.assertRegex(err, r"--timeout: 'soon' does not start with a number")

    def test_sections_on_the_command_line(self):
        """--env and --server add to their sections."""
        shown = self.shown("--env", "A=1", "--env=B=2", "--server", "x_y=z", self.ini)
        self.assertEqual((shown["A"], shown["B"], shown["x_y"]), (["1"], ["2"], ["z"]))

    def test_relative_paths(self):
        """Relative to the ini's folder, or to the cwd on the command line without an ini."""
        os.mkdir(os.path.join(self.dir, "sub"))
        self.write("sub/x.ini", GOOD + "chdir = here\npidfile = p.pid\n")
        shown = self.shown("sub/x.ini")
        self.assertEqual(shown["chdir"], [self.dir + "/sub/here"])
        self.assertEqual(shown["pidfile"], [self.dir + "/sub/p.pid"])
        shown = self.shown("--wsgi", "a:b", "--chdir", "there")
        self.assertEqual(shown["chdir"], [self.dir + "/there"])

    def test_not_a_file(self):
        """A folder, a device or an unreadable file is no ini."""
        for path in (self.dir, "/dev/null"):
            with self.subTest(path):
                code, _, err = self.preforkd("--check", path)
                self.assertEqual(code, 78)
                self.assertIn("regular file", err)

    def test_fifo(self):
        """A FIFO without a writer does not hang it."""
        path = os.path.join(self.dir, "fifo.ini")
        os.mkfifo(path)
        self.assertEqual(self.preforkd("--check", path, timeout=5)[0], 78)

    def test_address_in_use(self):
        """Exit code 1 at start, with the address and the reason."""
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            address = "127.0.0.1:%d" % s.getsockname()[1]
            code, _, err = self.preforkd("--listen", address, "--control", "ctl", self.ini)
        self.assertEqual(code, 1)
        self.assertRegex(err, re.escape(address) + ".*another process")

    def test_unknown_user(self):
        """Exit code says that the start failed; names the user."""
        code, _, err = self.preforkd("--listen", "127.0.0.1:0", "--user", "nosuchuser", self.ini)
        self.assertIn(code, (1, 78))
        self.assertIn("nosuchuser", err)

    def test_listen_systemd_without_systemd(self):
        """Says what is missing."""
        code, _, err = self.preforkd("--listen", "systemd", self.ini)
        self.assertEqual(code, 1)
        self.assertIn("LISTEN_FDS", err)


if __name__ == "__main__":
    harness.main()
