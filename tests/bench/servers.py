# SPDX-License-Identifier: MIT
"""The servers that are compared: each is started, watched until it is quiet, and ended by pid.

A server is what runs bench_app.py with so many workers on a free port of loopback, access log off:
preforkd with a worker class, or the same worker class below its own manager. Both sides get the
same interpreter and the same implementation of loop and HTTP.
"""

import atexit
import ctypes
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import processes

HERE = os.path.dirname(os.path.abspath(__file__))
SRCDIR = os.path.abspath(os.environ.get("srcdir") or os.path.join(HERE, "..", ".."))
BUILDDIR = os.path.abspath(os.environ.get("builddir") or SRCDIR)
PYTHON = os.environ.get("PREFORKD_TEST_PYTHON") or "/usr/bin/python3"

# Seconds that a server has to answer, to become quiet, and to end.
_BOOT = 30
_QUIET = 10
_END = 20

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Trouble(Exception):
    """A benchmark cannot be run; the text says why."""


def _die_with_us():
    """In the child: a killed benchmark leaves no server behind."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _free_port():
    """A port that nobody uses at the moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def _environment():
    """Ours, without what would change a server, and with hashes that are the same in each run."""
    env = {name: value for name, value in os.environ.items()
           if not name.startswith(("PYTHON", "GUNICORN", "UVICORN", "UWSGI", "LISTEN_"))}
    for name in ("WEB_CONCURRENCY", "PORT", "NOTIFY_SOCKET", "FORWARDED_ALLOW_IPS"):
        env.pop(name, None)
    env.update(PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1",
               PREFORKD_PYTHON_DIR=_launcher(),
               PREFORKD_LIBEXEC_DIR=BUILDDIR)
    return env


@functools.lru_cache(maxsize=None)
def _launcher():
    """The launcher with its bytecode, as it is installed: who compiles it first is larger."""
    folder = tempfile.mkdtemp(prefix="bench-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.copytree(os.path.join(SRCDIR, "src", "python", "preforkd"),
                    os.path.join(folder, "preforkd"),
                    ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([PYTHON, "-m", "compileall", "-q", folder], check=True)
    return folder


class Server:
    """One running server; a context manager."""

    inherited = ()              # sockets that it gets
    untouched = False           # True: nobody connects before it counts as running

    def __init__(self, name):
        """Subclasses say in argv() what to run."""
        self.name = name
        self.port = _free_port()
        self.folder = tempfile.mkdtemp(prefix="bench-")
        self.log = os.path.join(self.folder, "log")
        self._process = None

    def argv(self):
        """The command line."""
        raise NotImplementedError

    @property
    def pid(self):
        """The manager's."""
        return self._process.pid

    def recycles(self):
        """Workers replaced so far, or None."""
        return None

    def __enter__(self):
        """Starts it, and waits until it answers and has nothing more to do."""
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                self.argv(), cwd=HERE, env=_environment(), stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, preexec_fn=_die_with_us, start_new_session=True,
                pass_fds=[sock.fileno() for sock in self.inherited])
        try:
            self._wait_answer()
            self._wait_quiet()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exc):
        """Ends it."""
        self.stop()

    def log_text(self):
        """What it said."""
        with open(self.log, errors="replace") as log:
            return log.read()

    def _wait_answer(self):
        """Until it answers a request."""
        end = time.monotonic() + _BOOT
        while not self._answers():
            if self._process.poll() is not None:
                raise Trouble("%s ended: %s" % (self.name, self.log_text()[-600:]))
            if time.monotonic() > end:
                raise Trouble("%s does not answer: %s" % (self.name, self.log_text()[-600:]))
            time.sleep(0.05)

    def _answers(self):
        """One request; for those that nobody may touch, whether somebody listens."""
        if self.untouched:
            return processes.listens(self.port)
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return b" 200 " in sock.recv(1000)
        except OSError:
            return False

    def _wait_quiet(self):
        """Until all processes have booted, which shows in that they use no processor."""
        end = time.monotonic() + _QUIET
        before = self.cpu()
        while time.monotonic() < end:
            time.sleep(0.3)
            after = self.cpu()
            if sum(after.values()) - sum(before.values()) <= 0.011:
                return
            before = after

    def cpu(self):
        """Processor seconds of each process."""
        return {pid: processes.cpu_seconds(pid) for pid in processes.tree(self.pid)}

    def stop(self):
        """Gracefully, else with force, and everything below it."""
        if self._process is not None:
            family = processes.tree(self.pid)
            self._process.terminate()
            try:
                self._process.wait(_END)
            except subprocess.TimeoutExpired:
                left = set(processes.tree(self.pid))
                for pid in reversed(family):
                    if pid in left:
                        os.kill(pid, signal.SIGKILL)
                self._process.wait()
            self._process = None
        for sock in self.inherited:
            sock.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Preforkd(Server):
    """preforkd with one of the worker classes."""

    def __init__(self, worker_class, workers, **settings):
        """settings: more keys of [preforkd], with _ for -."""
        super().__init__("preforkd, %s" % worker_class)
        self._control = os.path.join(self.folder, "control")
        kind = "asgi" if worker_class == "uvicorn" else "wsgi"
        keys = {kind: "bench_app:" + kind, "worker-class": worker_class, "workers": workers,
                "listen": "127.0.0.1:%d" % self.port, "control": self._control,
                "python": PYTHON, "chdir": HERE}
        keys.update((name.replace("_", "-"), value) for name, value in settings.items())
        options = {}
        if worker_class == "uvicorn":
            loop, http = uvicorn_parts()
            options = {"access-log": "no", "loop": loop, "http": http}
        self._ini = os.path.join(self.folder, "bench.ini")
        with open(self._ini, "w") as ini:
            for section, lines in (("preforkd", keys), ("server", options),
                                   ("env", {"PYTHONHASHSEED": "0"})):
                ini.write("[%s]\n" % section)
                ini.writelines("%s = %s\n" % pair for pair in lines.items())

    def argv(self):
        """The command line."""
        return [os.path.join(BUILDDIR, "preforkd"), self._ini]

    def status(self):
        """From preforkctl."""
        return json.loads(self._ask("--json", "status"))

    def recycle(self, slot):
        """Returns when the slot's worker has been replaced."""
        self._ask("recycle", str(slot))

    def _ask(self, *words):
        """What preforkctl says to a command."""
        try:
            done = subprocess.run([os.path.join(BUILDDIR, "preforkctl"), "--socket", self._control]
                                  + list(words), stdout=subprocess.PIPE, timeout=30, check=True)
        except subprocess.SubprocessError as exc:
            raise Trouble("preforkctl failed: %s" % exc) from None
        return done.stdout

    def recycles(self):
        """Of all kinds."""
        return sum(self.status()["recycles"].values())


class _Peer(Server):
    """A server below its own manager."""

    booted = None               # what the log says once for each worker

    def __init__(self, name, workers, arguments):
        """arguments: more of the command line."""
        super().__init__(name)
        self._workers = workers
        self._arguments = list(arguments)

    def recycles(self):
        """From the log."""
        return max(0, self.log_text().count(self.booted) - self._workers)


class Gunicorn(_Peer):
    """gunicorn's arbiter."""

    booted = "Booting worker with pid"

    def __init__(self, worker_class, workers, *arguments, app="bench_app"):
        """worker_class: sync, gthread or uvicorn. app: the module that has the application."""
        super().__init__("gunicorn, %s" % worker_class, workers, arguments)
        self._class = worker_class
        self._app = app + ":wsgi"
        if worker_class == "uvicorn":
            self._class, self._app = uvicorn_worker(), "bench_app:asgi"

    def argv(self):
        """The command line."""
        threads = ["--threads", "4"] if self._class == "gthread" else []
        return [PYTHON, "-m", "gunicorn", "-k", self._class, "-w", str(self._workers), "-b",
                "127.0.0.1:%d" % self.port] + threads + self._arguments + [self._app]


class Uvicorn(_Peer):
    """uvicorn's own manager."""

    booted = "Started server process"

    def __init__(self, workers, *arguments, nodelay=False):
        """The loop and the protocol are named so that both sides run the same.

        nodelay: on a socket of ours with TCP_NODELAY. On those that its manager makes, asyncio
        does not set it, and responses on kept-alive connections take 40 ms.
        """
        super().__init__("uvicorn", workers, arguments)
        if nodelay:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.bind(("127.0.0.1", self.port))
            listener.listen(2048)
            self.inherited = (listener,)

    def argv(self):
        """The command line."""
        loop, http = uvicorn_parts()
        where = ["--host", "127.0.0.1", "--port", str(self.port)]
        if self.inherited:
            where = ["--fd", str(self.inherited[0].fileno())]
        return [PYTHON, "-m", "uvicorn", "--workers", str(self._workers), "--no-access-log",
                "--loop", loop, "--http", http] + where + self._arguments + ["bench_app:asgi"]


class Granian(_Peer):
    """granian, which cannot replace workers by the number of their requests."""

    booted = "Started worker"

    def __init__(self, interface, workers, *arguments):
        """interface: asgi or wsgi."""
        super().__init__("granian, %s" % interface, workers, arguments)
        self._interface = interface

    def argv(self):
        """The command line."""
        return [PYTHON, "-m", "granian", "--interface", self._interface, "--workers",
                str(self._workers), "--host", "127.0.0.1", "--port", str(self.port)
                ] + self._arguments + ["bench_app:" + self._interface]


class Uwsgi(_Peer):
    """uWSGI of the workers' interpreter, or with Debian's plugin, which has its own."""

    booted = "spawned uWSGI worker"

    def __init__(self, workers, *arguments, keepalive=False, app="bench_app"):
        """Threads as in the others. Only behind its router does it keep clients' connections."""
        super().__init__("uWSGI, router" if keepalive else "uWSGI", workers, arguments)
        self._listen = "--http" if keepalive else "--http-socket"
        if keepalive:
            self._arguments += ["--http-keepalive", "--socket", "127.0.0.1:0"]
        self._app = app

    def recycles(self):
        """It has other words for a worker that is not the first."""
        return self.log_text().count("Respawned uWSGI worker")

    def argv(self):
        """The command line."""
        return uwsgi() + ["--master", "--die-on-term", "--processes", str(self._workers),
                          "--threads", "4", self._listen, "127.0.0.1:%d" % self.port,
                          "--disable-logging", "--pythonpath", HERE, "--module",
                          self._app + ":wsgi"] + self._arguments


def uwsgi():
    """The first words of a command line."""
    own = os.path.join(os.path.dirname(PYTHON), "uwsgi")
    if os.access(own, os.X_OK) and os.path.dirname(PYTHON) != "/usr/bin":
        return [own]
    return ["uwsgi", "--plugins", "python3,http"]


def uwsgi_limits(limit):
    """Its options to replace workers as soon as it can; it has no jitter that is drawn."""
    return ["--max-requests", str(limit), "--min-worker-lifetime", "0", "--forkbomb-delay", "0"]


def uvicorn_worker():
    """uvicorn's worker class for gunicorn, or None."""
    for module in ("uvicorn_worker", "uvicorn.workers"):
        if _has(module):
            return module + ".UvicornWorker"
    return None


def _has(module):
    """True when the workers' interpreter can import it."""
    return subprocess.run([PYTHON, "-c", "import " + module], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def _first_line(argv):
    """What a command says, or None."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=20, universal_newlines=True)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[-1] if lines and done.returncode == 0 else None


def uvicorn_limits(limit, jitter):
    """Its options to replace workers, None where it only ends them: before 0.30."""
    if tuple(map(int, installed()["uvicorn"].split(".")[:2])) < (0, 30):
        return None
    done = subprocess.run([PYTHON, "-m", "uvicorn", "--help"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, universal_newlines=True)
    options = ["--limit-max-requests", str(limit)]
    if "--limit-max-requests-jitter" in done.stdout:
        options += ["--limit-max-requests-jitter", str(jitter)]
    return options


def uvicorn_parts(_known=[]):
    """The loop and the protocol that uvicorn would choose by itself."""
    if not _known:
        _known += ["uvloop" if _has("uvloop") else "asyncio",
                   "httptools" if _has("httptools") else "h11"]
    return _known


def installed(_known={}):
    """The versions of the peers that are there, by name."""
    if not _known:
        for name in ("gunicorn", "uvicorn", "granian"):
            _known[name] = _first_line([PYTHON, "-c",
                                        "import %s as m; print(m.__version__)" % name])
        _known["uWSGI"] = _first_line(uwsgi() + ["--version"])
    return {name: version for name, version in _known.items() if version}
