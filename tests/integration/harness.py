# SPDX-License-Identifier: MIT
"""Starts the real preforkd for the integration tests, watches it and puts load on it.

Nothing here waits by sleeping for a fixed time: everything polls for an event, with a
deadline that TEST_TIMEOUT_MULTIPLIER stretches (sanitizer builds). Everything that is
started is ended by its own pid.

    with Preforkd(workers=2) as p:                  # tests/integration/apps/plain.py, stdlib
        p.wait_ready()
        self.assertEqual(p.get("/").status, 200)
        p.signal(signal.SIGHUP)
        p.wait_log(r"reload: done")
        self.assertEqual(p.stop(), 0)
"""

import atexit
import collections
import functools
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))

# What the launcher's tests have, too; the last place where names are looked for.
sys.path.append(os.path.join(HERE, "..", "python"))
from stalls import elapsed  # noqa: E402, F401

SRCDIR = os.path.abspath(os.environ.get("srcdir") or os.path.join(HERE, "..", ".."))
# By hand, without the environment that automake gives: a build beside the sources, or in them.
BUILDDIR = os.path.abspath(os.environ.get("builddir") or next(
    (d for d in (os.path.join(SRCDIR, "build"), os.path.join(SRCDIR, "..", "build"), SRCDIR)
     if os.path.exists(os.path.join(d, "preforkd"))), "."))
PREFORKD = os.path.join(BUILDDIR, "preforkd")
PREFORKCTL = os.path.join(BUILDDIR, "preforkctl")
PREFORKD_HTTP = os.path.join(BUILDDIR, "preforkd-http")
PYTHON = os.environ.get("PREFORKD_TEST_PYTHON") or "/usr/bin/python3"
MULTIPLIER = float(os.environ.get("TEST_TIMEOUT_MULTIPLIER") or 1)
PATIENCE = 20                   # seconds that most things may take at the very most
SANITIZER = re.compile(r"ERROR: \w+Sanitizer|: runtime error: |SUMMARY: \w+Sanitizer")

# A shell has what it starts in the background ignore these, and so would all that is started here.
for _number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)

Answer = collections.namedtuple("Answer", "status headers body")


def _is_public(path):
    """Whether any user can come to this folder."""
    while True:
        if not os.stat(path).st_mode & 0o001:
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)


def _reachable():
    """Folders of launcher, applications and preforkd-http that `user =` can read.

    A checkout below /root is not, for example; then they are copied for this process.
    """
    python, apps = os.path.join(SRCDIR, "src", "python"), os.path.join(HERE, "apps")
    if os.geteuid() != 0 or (_is_public(apps) and _is_public(BUILDDIR)):
        return python, apps, BUILDDIR
    top = tempfile.mkdtemp(prefix="pfd-public-")
    atexit.register(shutil.rmtree, top, True)
    os.chmod(top, 0o755)
    for source, name in ((python, "python"), (apps, "apps")):
        shutil.copytree(source, os.path.join(top, name))
    if os.path.exists(PREFORKD_HTTP):
        shutil.copy(PREFORKD_HTTP, top)
    return os.path.join(top, "python"), os.path.join(top, "apps"), top


PYTHON_DIR, APPS, LIBEXEC_DIR = _reachable()


class Late(AssertionError):
    """Something did not happen before its deadline."""


def stretched(seconds):
    """A time for this build: longer under sanitizers."""
    return seconds * MULTIPLIER


def wait_until(check, timeout=PATIENCE, what=None, every=0.02):
    """Polls check() until it returns something true, which is returned."""
    end = time.monotonic() + stretched(timeout)
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > end:
            raise Late("%s: not within %g s" % (what or check, stretched(timeout)))
        time.sleep(every)


def environment(**extra):
    """The environment for preforkd and its workers; None removes a variable."""
    env = dict(os.environ)
    for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC",
                 "WATCHDOG_PID", "RUNTIME_DIRECTORY", "WEB_CONCURRENCY", "PORT", "PYTHONPATH",
                 "JOURNAL_STREAM", "MAKEFLAGS", "MAKELEVEL", "GUNICORN_CMD_ARGS"):
        env.pop(name, None)
    env.update({
        "PREFORKD_PYTHON_DIR": PYTHON_DIR,
        "PREFORKD_LIBEXEC_DIR": LIBEXEC_DIR,
        # A changed module of the same size within a second would be taken from the cache.
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
    })
    for name, value in extra.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = str(value)
    return env


def run(*args, **kw):
    """Runs a program to its end; (exit code, stdout, stderr). cwd, env, timeout as known."""
    timeout = stretched(kw.pop("timeout", PATIENCE))
    kw.setdefault("env", environment())
    done = subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=kw.pop("stdin", subprocess.DEVNULL), timeout=timeout, **kw)
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    if SANITIZER.search(err):
        raise AssertionError("sanitizer:\n" + err)
    return done.returncode, out, err


@functools.lru_cache(None)
def has_module(name, python=None):
    """Whether the workers' interpreter can import a module."""
    code = "import importlib, sys; importlib.import_module(sys.argv[1])"
    return subprocess.run([python or PYTHON, "-c", code, name], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def needs_module(*names):
    """Decorator: skips a test where a module is missing."""
    lacking = [n for n in names if not has_module(n)]
    return unittest.skipIf(lacking, "not installed: %s" % ", ".join(lacking))


def needs_root(test):
    """Decorator: skips a test without root."""
    return unittest.skipIf(os.geteuid() != 0, "needs root")(test)


def needs_program(name):
    """Decorator: skips a test where a program is missing."""
    return unittest.skipIf(shutil.which(name) is None, "no %s here" % name)


def helper(name):
    """The path of a small C program of tests/lib, from the build or compiled here."""
    built = os.path.join(BUILDDIR, "tests", "lib", name)
    source = os.path.join(SRCDIR, "tests", "lib", name + ".c")
    if os.path.exists(built) and os.path.getmtime(built) >= os.path.getmtime(source):
        return built
    return _compile(name, source)


@functools.lru_cache(None)
def _compile(name, source):
    """Compiles a helper that the build has not made."""
    folder = tempfile.mkdtemp(prefix="pfd-helper-")
    os.chmod(folder, 0o755)
    atexit.register(shutil.rmtree, folder, True)
    out = os.path.join(folder, name)
    subprocess.run([os.environ.get("CC") or "cc", "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-o", out,
                    source], check=True)
    return out


def free_port():
    """A TCP port of loopback that was free a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def is_alive(pid):
    """Whether a process exists that is not a zombie."""
    return process_state(pid) not in (None, "Z", "X")


def process_state(pid):
    """One letter as in ps, None: no such process."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None


def parent_of(pid):
    """The parent's pid, None: no such process."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return int(f.read().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None


def children_of(pid):
    """Pids of the living children of a process."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and parent_of(int(name)) == pid and is_alive(int(name)):
            found.append(int(name))
    return sorted(found)


def cpu_ticks(pid):
    """User and system time of a process in ticks."""
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def command_line(pid):
    """The words of a process's command line, joined."""
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            return f.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def kill(pid, sig=signal.SIGKILL):
    """Sends a signal to one process that may be gone."""
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass


def freeze(pid):
    """SIGSTOP for a process; waits until every thread of it stands still."""
    os.kill(pid, signal.SIGSTOP)

    def stands():
        """All of them, or it is dead already."""
        try:
            for tid in os.listdir("/proc/%d/task" % pid):
                with open("/proc/%d/task/%s/stat" % (pid, tid)) as f:
                    if f.read().rpartition(")")[2].split()[0] != "T":
                        return False
        except OSError:
            pass
        return True
    wait_until(stands, what="process %d is stopped" % pid)


def can_connect(address):
    """Whether something accepts connections there: (host, port) or a path ('@name' too)."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    if isinstance(address, str) and address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(family) as s:
        s.settimeout(stretched(5))
        try:
            s.connect(address)
            return True
        except OSError:
            return False


def ini_text(settings, server=None, env=None):
    """An ini of dicts; underscores become dashes, lists repeat the key, True/False yes/no."""
    lines = []
    for section, keys in (("preforkd", settings), ("server", server), ("env", env)):
        if not keys and section != "preforkd":
            continue
        lines.append("[%s]" % section)
        for key, value in (keys or {}).items():
            if value is None:
                continue
            for one in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(one, bool):
                    one = "yes" if one else "no"
                name = key.replace("_", "-") if section == "preforkd" else key
                lines.append("%s = %s" % (name, one))
        lines.append("")
    return "\n".join(lines) + "\n"


class Preforkd:
    """One preforkd with a folder of its own, with settings as keywords (None: leave out).

    Defaults: wsgi = plain:app (tests/integration/apps) on the stdlib server, 1 worker, a port
    that the kernel chooses, the control socket in the folder. Besides settings there are:
    files     {name: text}, written into the folder, which is the working folder
    server    dict, section [server];   env  dict, section [env]
    args      more words of the command line
    environ   dict of variables for the master, None removes one
    name      of the ini without .ini
    wrap      words before the command, e.g. ["unshare", "--pid"]
    preexec   called in the child
    start     False: only prepare; call .start() later
    """

    def __init__(self, files=None, server=None, env=None, args=(), environ=None, name="test",
                 wrap=(), preexec=None, start=True, **settings):
        """See the class; nothing is started yet."""
        self.dir = tempfile.mkdtemp(prefix="pfd-")
        os.chmod(self.dir, 0o755)
        self.ini = os.path.join(self.dir, name + ".ini")
        self.log_path = os.path.join(self.dir, "log")
        self.control = os.path.join(self.dir, "control")
        self.settings = {"python": PYTHON, "listen": "127.0.0.1:0", "workers": 1,
                         "control": self.control, "pythonpath": APPS}
        if not any(k in settings for k in ("wsgi", "asgi", "command")):
            self.settings["wsgi"] = "plain:app"
        if "wsgi" in self.settings or "wsgi" in settings:
            self.settings["worker_class"] = "stdlib"
        if "command" in settings:
            del self.settings["python"]
            del self.settings["pythonpath"]
        self.settings.update(settings)
        self.server, self.env = dict(server or {}), dict(env or {})
        self.args, self.wrap, self.preexec = list(args), list(wrap), preexec
        self.environ = environment(**(environ or {}))
        if preexec is not None:
            # It may enter a group whose memory counts: a sanitizer keeps 256 MB of what is freed.
            self.environ.setdefault("ASAN_OPTIONS", "quarantine_size_mb=1")
        self.process = None
        self.killed = False
        self._address = None
        self._start = start
        for path, text in (files or {}).items():
            self.write(path, text)
        self.write_ini()

    # The folder.

    def path(self, name):
        """A path in the folder."""
        return os.path.join(self.dir, name)

    def write(self, name, text):
        """Writes a file of the folder, all at once."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".new", "w") as f:
            f.write(text)
        os.rename(path + ".new", path)
        return path

    def read(self, name):
        """The text of a file of the folder, "" where there is none."""
        try:
            with open(self.path(name), errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def write_ini(self, **changes):
        """Writes the ini anew with changed settings (None: leaves a key out)."""
        for key in ("server", "env"):
            if key in changes:
                setattr(self, key, changes.pop(key))
        self.settings.update(changes)
        text = ini_text(self.settings, self.server, self.env)
        self.write(os.path.basename(self.ini), text)
        return text

    # Start and end.

    def __enter__(self):
        """Starts it."""
        if self._start:
            self.start()
        return self

    def __exit__(self, kind, value, tb):
        """Ends it, shows the log when the test failed, removes the folder."""
        try:
            if self.process is not None:
                self._end()
        finally:
            if kind is not None and kind is not unittest.SkipTest:
                self.dump()
            text = self.log()
            shutil.rmtree(self.dir, ignore_errors=True)
        if kind is None and SANITIZER.search(text):
            raise AssertionError("sanitizer:\n" + text)
        return False

    def start(self):
        """Starts the master; returns at once."""
        log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self.process = subprocess.Popen(
                self.wrap + [PREFORKD] + self.args + [self.ini], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, cwd=self.dir, env=self.environ, preexec_fn=self.preexec)
        finally:
            os.close(log)
        return self

    @property
    def pid(self):
        """The pid of the started command: the master, without a wrap."""
        return self.process.pid

    def signal(self, sig):
        """Sends a signal to the master."""
        self.process.send_signal(sig)

    def kill(self):
        """SIGKILL for the master; waits for its end."""
        self.killed = True
        self.process.kill()
        return self.process.wait(stretched(PATIENCE))

    def wait(self, timeout=PATIENCE):
        """Waits for the master's end; its exit code (negative: signal)."""
        try:
            return self.process.wait(stretched(timeout))
        except subprocess.TimeoutExpired:
            raise Late("preforkd did not end within %g s" % stretched(timeout)) from None

    def stop(self, sig=None, timeout=PATIENCE):
        """Sends TERM (or another signal) and waits; the exit code."""
        self.signal(sig or signal.SIGTERM)
        return self.wait(timeout)

    def _end(self):
        """Whatever the state: afterwards master and children are gone."""
        if self.process.poll() is not None:
            return
        children = children_of(self.process.pid)
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(stretched(8))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            for pid in children:
                if parent_of(pid) is not None and "preforkd" in command_line(pid):
                    kill(pid)

    # The log.

    def log(self, since=0):
        """The log from a position on."""
        try:
            with open(self.log_path, "rb") as f:
                f.seek(since)
                return f.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def mark(self):
        """The end of the log now, for since=."""
        try:
            return os.path.getsize(self.log_path)
        except OSError:
            return 0

    def wait_log(self, regex, timeout=PATIENCE, since=0, count=1):
        """Waits until the log matches (count times); the (last) match. Fails when it ends."""
        pattern = re.compile(regex, re.M)

        def found():
            """The match, or None."""
            ended = self.process.poll() is not None
            matches = list(pattern.finditer(self.log(since)))
            if len(matches) >= count:
                return matches[count - 1]
            if ended:
                raise AssertionError("preforkd ended (%s) without %r in the log"
                                     % (self.process.returncode, regex))
            return None
        return wait_until(found, timeout, "log: %s" % regex)

    def dump(self):
        """Shows ini and log for a failed test."""
        text = self.log()
        if len(text) > 12000:
            text = text[:4000] + "\n[...]\n" + text[-8000:]
        sys.stderr.write("--- %s\n%s--- log\n%s---\n" % (
            self.ini, self.read(os.path.basename(self.ini)), text))

    # preforkctl.

    def ctl(self, *args, **kw):
        """Runs preforkctl; (exit code, stdout, stderr)."""
        return run(PREFORKCTL, "--socket", self.control, *args, **kw)

    def ctl_start(self, *args):
        """Starts preforkctl and returns the Popen (text pipes)."""
        return subprocess.Popen(
            [PREFORKCTL, "--socket", self.control] + [str(a) for a in args],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            universal_newlines=True, env=environment())

    def status(self):
        """The status as a dict; None while the master is not reachable.

        It is what preforkctl --json status shows, without a process for each look.
        """
        try:
            with Varlink(self.control) as client:
                answer = client.call("io.preforkd.Manager.Status")
        except (ConnectionError, FileNotFoundError, BlockingIOError):
            return None
        if answer is None or "error" in answer:
            return None
        return answer["parameters"]["status"]

    def wait_status(self, predicate, timeout=PATIENCE, what=None):
        """Waits until predicate(status) is true; that status."""
        last = [None]

        def check():
            """The status, or None."""
            if self.process.poll() is not None:
                raise AssertionError("preforkd ended: %s" % self.process.returncode)
            last[0] = self.status()
            return last[0] if last[0] is not None and predicate(last[0]) else None
        try:
            return wait_until(check, timeout, what or "status")
        except Late as e:
            raise Late("%s; last: %s" % (e, json.dumps(last[0])[:3000])) from None

    def wait_ready(self, n=None, timeout=PATIENCE):
        """Waits until n (default: the target) workers are ready and nobody else is there."""
        def good(s):
            """As many as wanted."""
            ready = [w for w in s["workers"] if w["state"] == "ready"]
            wanted = s["target_workers"] if n is None else n
            return (s["state"] == "running" and len(ready) == wanted and
                    len(s["workers"]) == wanted)
        status = self.wait_status(good, timeout, "ready workers")
        if self._address is None and status["listen"]:
            self._address = parse_address(status["listen"][0])
        return status

    def workers(self, state="ready"):
        """The workers of the status, by state (None: all)."""
        return [w for w in self.status()["workers"] if state is None or w["state"] == state]

    def pids(self, state="ready"):
        """Pids of the workers, by slot."""
        return [w["pid"] for w in sorted(self.workers(state), key=lambda w: w["slot"])]

    def pids_by_proc(self):
        """Pids of the workers without asking the master."""
        return [c for c in children_of(self.process.pid)
                if re.search(r"worker|fakeworker|notifyd", command_line(c))]

    # Requests.

    def address(self, index=0):
        """(host, port) or path of a listening address, as the status has it."""
        if self._address is None or index > 0:
            status = self.wait_status(lambda s: len(s["listen"]) > index)
            found = parse_address(status["listen"][index])
            if index > 0:
                return found
            self._address = found
        return self._address

    def get(self, path="/", timeout=PATIENCE, **kw):
        """One request on a connection of its own; an Answer."""
        return get(kw.pop("address", None) or self.address(), path, timeout, **kw)

    def text(self, path="/", **kw):
        """The body of a request that must succeed."""
        answer = self.get(path, **kw)
        if answer.status != 200:
            raise AssertionError("%s: %s %s" % (path, answer.status, answer.body))
        return answer.body

    def load(self, **kw):
        """A Load on the first address."""
        return Load(kw.pop("address", None) or self.address(), **kw)


def parse_address(text):
    """(host, port) or a path of an address of the status."""
    if text.startswith("unix:"):
        return text[5:]
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    return ("127.0.0.1" if host in ("0.0.0.0", "", "*") else host, int(port))


def get(address, path="/", timeout=PATIENCE, method="GET", body=None, headers=None, context=None):
    """One HTTP request; an Answer. context: an ssl.SSLContext."""
    timeout = stretched(timeout)
    if isinstance(address, str):
        connection = http.client.HTTPConnection("localhost", timeout=timeout)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout)
        connection.sock.connect("\0" + address[1:] if address.startswith("@") else address)
    elif context is not None:
        connection = http.client.HTTPSConnection(address[0], address[1], timeout=timeout,
                                                 context=context)
    else:
        connection = http.client.HTTPConnection(address[0], address[1], timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()),
                      answer.read().decode(errors="replace"))
    finally:
        connection.close()


class Load:
    """Clients in a process of their own (loadgen.py) that count every request.

    clients   how many threads; path: what they ask for; keepalive: False for a connection
    per request; pause: seconds between requests of one client, 0 for as many as possible.

        with p.load(clients=4) as load:
            ...
        self.assertEqual(load.failed, 0, load.result)
    """

    def __init__(self, address, clients=4, path="/", keepalive=False, pause=0.003, timeout=15,
                 expect=None):
        """Nothing is sent yet."""
        self.plan = {"address": address, "clients": clients, "path": path, "pause": pause,
                     "keepalive": keepalive, "timeout": stretched(timeout), "expect": expect}
        self.result = None
        self.process = None

    def __enter__(self):
        """Starts; returns when the first answer is there."""
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "loadgen.py"), json.dumps(self.plan)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True)
        first = self.process.stdout.readline()
        if first.strip() != "started":
            self._end()
            raise AssertionError("no load: %r" % first)
        return self

    def __exit__(self, kind, value, tb):
        """Stops and takes the result."""
        self._end()
        return False

    def _end(self):
        """Closing its stdin ends it."""
        try:
            out, _ = self.process.communicate("", timeout=stretched(30))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Late("the load does not end") from None
        self.result = json.loads(out.strip().splitlines()[-1]) if out.strip() else {}

    def so_far(self):
        """Good answers until now, before the end."""
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    @property
    def ok(self):
        """Good answers, after the end."""
        return self.result["ok"]

    @property
    def failed(self):
        """Requests without a good answer, after the end."""
        return sum(self.result[k] for k in ("refused", "reset", "timeout", "bad", "lost"))


class Varlink:
    """A plain client of the control protocol (NUL-terminated JSON)."""

    def __init__(self, path, timeout=PATIENCE):
        """Connects."""
        self.rest = b""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(stretched(timeout))
        try:
            self.sock.connect(path)
        except BaseException:
            self.sock.close()
            raise

    def __enter__(self):
        """Itself."""
        return self

    def __exit__(self, *args):
        """Closes."""
        self.sock.close()

    def send(self, method, parameters=None, **flags):
        """Sends a call."""
        call = dict(flags, method=method)
        if parameters is not None:
            call["parameters"] = parameters
        self.sock.sendall(json.dumps(call).encode() + b"\0")

    def receive(self):
        """The next answer as a dict, None at the end."""
        while b"\0" not in self.rest:
            data = self.sock.recv(65536)
            if not data:
                return None
            self.rest += data
        one, _, self.rest = self.rest.partition(b"\0")
        return json.loads(one)

    def call(self, method, parameters=None):
        """Sends a call and takes its answer."""
        self.send(method, parameters)
        return self.receive()


class Case(unittest.TestCase):
    """A test that starts preforkds; each is shown and ended when the test is over."""

    maxDiff = 4000

    def setUp(self):
        """Collects what has to be ended."""
        self._running = []

    def preforkd(self, **kw):
        """A Preforkd, started unless start=False, ended with the test."""
        p = Preforkd(**kw)
        self._running.append(p)
        return p.__enter__()

    def fake(self, words, **kw):
        """A preforkd with two fakeworkers (tests/lib/fakeworker.c) that do what words say."""
        settings = dict(workers=2, ready="notify")
        settings.update(kw)
        return self.preforkd(command="%s %s" % (helper("fakeworker"), words), **settings)

    def victim(self, p, path):
        """Sends a request that may bring trouble and does not wait; the socket."""
        s = socket.create_connection(p.address())
        self.addCleanup(s.close)
        s.sendall(b"GET %s HTTP/1.0\r\n\r\n" % path.encode())
        return s

    def run(self, result=None):
        """Ends what was started with a word about whether the test had failed."""
        before = len(result.failures) + len(result.errors) if result is not None else 0
        super().run(result)
        bad = result is not None and len(result.failures) + len(result.errors) > before
        for p in reversed(getattr(self, "_running", [])):
            try:
                p.__exit__(AssertionError if bad else None, None, None)
            except Exception:
                if result is not None:
                    result.addError(self, sys.exc_info())
                else:
                    traceback.print_exc()
        self._running = []
        return result


def main():
    """Runs the tests of the calling file; exits 0, 1, or 77 when all were skipped."""
    # A peer that goes away is an exception, not the end.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    verbosity = 2 if os.environ.get("VERBOSE") else 1
    program = unittest.main(module="__main__", exit=False, verbosity=verbosity)
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(77 if result.testsRun > 0 and len(result.skipped) >= result.testsRun else 0)
