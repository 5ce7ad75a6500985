# SPDX-License-Identifier: MIT
"""Mistakes in an ini: all at once, each as file:line: message with a remedy."""

import os
import tempfile
import unittest

import harness
from harness import PREFORKD, run

# text after "[preforkd]\nwsgi = app:app\n", line, what the message says
ONE = [
    ("wrokers = 2", 3, r"unknown key 'wrokers'; did you mean '?workers"),
    ("max_request = 2", 3, r"unknown key 'max_request'.*max-requests"),
    ("bind = :80", 3, r"'bind'.*'listen'"),
    ("harakiri = 30", 3, r"'harakiri'.*'request-timeout'"),
    ("processes = 4", 3, r"'processes'.*'workers'"),
    ("accesslog = -", 3, r"'accesslog'.*\[server\]"),
    ("workers = 2\nworkers = 3", 4, r"workers: this key was set before, in line 3"),
    ("workers = 0", 3, r"'0'.*out of range.*from 1"),
    ("workers = two", 3, r"workers: 'two' is not a whole number"),
    ("workers = -1", 3, r"workers: '-1' is negative"),
    ("workers = 2 ; as many as cores", 3, r"workers: "),
    ("reload-on-rss = 300", 3, r"reload-on-rss: '300' has no unit.*300M"),
    ("reload-on-rss = 314572800", 3, r"has no unit.*300M"),
    ("reload-on-rss = 180%", 3, r"'180%' is out of range: from 1% to 100%"),
    ("reload-on-rss = 1x", 3, r"'1x' is out of range: from 1\.1x"),
    ("memory-high = 2x", 3, r"'2x': a multiple has no meaning here"),
    ("reload-on-rss = lots", 3, r"'lots' does not start with a number"),
    ("evil-reload-on-rss = 300", 3, r"300M"),
    ("timeout = soon", 3, r"'soon' does not start with a number"),
    ("timeout = 5 parsecs", 3, r"'5 parsecs' is not a time"),
    ("reload-on-rss = 5Y", 3, r"'5Y' is not a size"),
    ("timeout = -5", 3, r"'-5' is negative"),
    ("timeout =", 3, r"empty"),
    ("recycle-dry-run = maybe", 3, r"'maybe' is neither yes nor no"),
    ("umask = 999", 3, r"'999' is not an octal mode"),
    ("log-level = verbose", 3, r"'verbose' is none of"),
    ("log-level = debg", 3, r"did you mean 'debug'"),
    ("max-requests-jitter = 120%", 3, r"'120%' is not a percentage"),
    ("listen = localhost:http", 3, r"listen: .*'localhost:http'"),
    ("listen = example.org:80", 3, r"listen: .*example\.org"),
    ("listen = 127.0.0.1", 3, r"listen: .*127\.0\.0\.1"),
    ("listen = 127.0.0.1:1,127.0.0.1:1", 3, r"named twice"),
    ("listen = unix:" + "/x" * 80, 3, r"listen: "),
    ("worker-class = gthred", 3, r"'gthred' is unknown; did you mean 'gthread'"),
    ("worker-class = uvicorn", 3, r"serves asgi, not wsgi"),
    ("worker-class = uvicorn.workers.UvicornWorker", 3, r"worker-class = uvicorn"),
    ("asgi = app:app", 3, r"'wsgi' is set as well"),
    ("ready = notify", 3, r"has no meaning with 'wsgi'"),
    ("reload-on-rss = 500M\nevil-reload-on-rss = 400M",
     3, r"500M must be below 'evil-reload-on-rss'"),
    ("min-worker-lifetime = 1h\nmax-worker-lifetime = 1min",
     3, r"must be below 'max-worker-lifetime'"),
    ("status-listen = systemd", 3, r"'systemd' cannot be used here"),
    ("worker-log = prefx", 3, r"'prefx' is neither"),
    ("on-worker-exit = echo \"unfinished", 3, r"on-worker-exit: "),
    ("control = /" + "c" * 120, 3, r"control: .*107"),
    ("just words", 3, r"no '=' in this line.*'just words'"),
    ("= value", 3, r"no key before the '='"),
    ("workers = 1\n  2", 4, r"indented"),
    ("[preforkd]", 3, r"section \[preforkd\] was opened before"),
    ("[sever]\na = b", 3, r"unknown section.*did you mean \[server\]"),
    ("[server", 3, r"'\]' is missing"),
    ("[server]\nbind = :80", 4, r"bind.*set in \[preforkd\] 'listen'"),
    ("[server]\nworkers = 3", 4, r"workers.*preforkd's own"),
    ("[server]\nreload = yes", 4, r"reload.*not for a worker"),
    ("[server]\na = b\na = c", 5, r"this key was set before, in line 4"),
    ("[env]\nLISTEN_FDS = 3", 4, r"LISTEN_FDS.*set by preforkd"),
    ("[env]\nPREFORKD_SLOT = 3", 4, r"PREFORKD_SLOT"),
    ("[env]\nA-B = 3", 4, r"A-B"),
    ("chdir = " + "x" * 9000, 3, r"the line has 9008 characters; the limit"),
    ("chdir = a\x01b", 3, r"control character 0x01"),
]


class SettingsErrors(unittest.TestCase):
    """--check with wrong files."""

    def setUp(self):
        """A folder."""
        folder = tempfile.TemporaryDirectory(prefix="pfd-")
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "x.ini")

    def check(self, text, code=78):
        """Runs --check on a text; stderr's lines."""
        with open(self.path, "w") as f:
            f.write(text)
        found, _, err = run(PREFORKD, "--check", self.path)
        self.assertEqual(found, code, "%r: %s" % (text[:200], err))
        return err.splitlines()

    def test_one_by_one(self):
        """One mistake, one message, in the form file:line: message."""
        for text, line, want in ONE:
            with self.subTest(text[:60]):
                lines = self.check("[preforkd]\nwsgi = app:app\n%s\n" % text)
                self.assertEqual(len(lines), 1, lines)
                self.assertRegex(lines[0], r"^%s:%d: .*%s" % (self.path, line, want))

    def test_all_at_once(self):
        """Every mistake of a file is told in one run, in its order."""
        lines = self.check("""[preforkd]
wsgi = app:app
wrokers = 2
timeout = soon
reload-on-rss = 300
[env]
LISTEN_PID = 1
[nonsense]
a = b
""")
        numbers = [int(line[len(self.path) + 1:].split(":")[0]) for line in lines]
        self.assertEqual(sorted(numbers), [3, 4, 5, 7, 8])

    def test_nothing_before_a_section(self):
        """Keys without a section are refused."""
        lines = self.check("wsgi = app:app\n")
        self.assertRegex(lines[0], r":1: a section has to come first: \[preforkd\]")

    def test_empty_file(self):
        """Nothing to run."""
        self.assertRegex(self.check("")[0], r"x\.ini: nothing to run.*wsgi = app:app")

    def test_binary_file(self):
        """Bytes are no settings; the report stays short and clean."""
        with open(self.path, "wb") as f:
            f.write(os.urandom(100000))
        code, _, err = run(PREFORKD, "--check", self.path)
        self.assertEqual(code, 78)
        self.assertLess(len(err), 100000)
        self.assertNotRegex(err, r"[\x00-\x08\x0e-\x1f]")

    def test_long_lines_are_whole(self):
        """Beyond inih's buffer of 200 bytes nothing is cut."""
        command = "/bin/echo " + " ".join("word%d" % i for i in range(400))
        with open(self.path, "w") as f:
            f.write("[preforkd]\ncommand = %s\n" % command)
        code, out, err = run(PREFORKD, "--show-settings", self.path)
        self.assertEqual((code, err), (0, ""))
        self.assertIn("command = %s\n" % command, out)

    def test_semicolon_inside_a_command(self):
        """' ;' and '#' belong to a command; a path with them is refused, not cut."""
        command = "/bin/sh -c 'echo a ; echo b # no comment'"
        with open(self.path, "w") as f:
            f.write("[preforkd]\n; a comment\n  # another\ncommand = %s\n[env]\nA = x ; y\n"
                    % command)
        code, out, err = run(PREFORKD, "--show-settings", self.path)
        self.assertEqual((code, err), (0, ""))
        self.assertIn("command = %s\n" % command, out)
        self.assertIn("A = x ; y\n", out)
        lines = self.check("[preforkd]\nwsgi = app:app\nchdir = /srv ; old\n")
        self.assertRegex(lines[0], r":3: chdir: .*comment needs a line of its own")

    def test_dos_line_ends_and_bom(self):
        """Files from other systems are read."""
        with open(self.path, "wb") as f:
            f.write(b"\xef\xbb\xbf[preforkd]\r\nwsgi = app:app\r\nworkers = 2\r\n")
        self.assertEqual(run(PREFORKD, "--check", self.path)[0], 0)


if __name__ == "__main__":
    harness.main()
