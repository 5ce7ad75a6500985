# SPDX-License-Identifier: MIT
"""Plays the master for one worker, so that the launcher can be tested without it.

Opens the sockets and the channel, starts the launcher exactly as the master does, and collects what
it says. PREFORKD_TEST_PYTHON selects the interpreter of the worker.
"""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LAUNCHER = os.environ.get("PREFORKD_TEST_LAUNCHER") or os.path.join(
    HERE, "..", "..", "src", "python", "preforkd", "__main__.py")
APPS = os.path.join(HERE, "apps")
PYTHON = os.environ.get("PREFORKD_TEST_PYTHON") or sys.executable

# Everything waits for events; this is only when to give up. CI machines are slow.
PATIENCE = float(os.environ.get("PREFORKD_TEST_PATIENCE", "30"))

BACKLOG = 77


def unescape(text):
    """The inverse of what the launcher does to texts."""
    out, escaped = [], False
    for char in text:
        if escaped:
            out.append("\n" if char == "n" else char)
            escaped = False
        elif char == "\\":
            escaped = True
        else:
            out.append(char)
    return "".join(out)


def free_tcp(backlog=BACKLOG):
    """A listening, non-blocking socket on a free port of loopback."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(backlog)
    sock.setblocking(False)
    return sock


def unix_listener(path, backlog=BACKLOG):
    """A listening, non-blocking unix socket."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen(backlog)
    sock.setblocking(False)
    return sock


def backlog_of(sock):
    """The backlog of a listening TCP socket, by TCP_INFO."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return struct.unpack("B" * 8 + "I" * 24, info)[13]


def is_nonblocking(sock):
    """O_NONBLOCK of the open file description that all processes share."""
    return not os.get_blocking(sock.fileno())


def _read_some(fd):
    """What a file begins with; nothing of a process that has ended since it sent the descriptor."""
    try:
        return os.read(fd, 4096)
    except ProcessLookupError:
        return b""


class Peer:
    """The master's end of a channel."""

    def __init__(self, channel):
        """Takes the socket over, and reads from it until its end."""
        self.messages = []          # dicts, with "_time" and "_pid" of the sender
        self.eof = False
        self.reports = {}
        self.status = None
        self.pid = None
        self.channel = channel
        self._condition = threading.Condition()
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        """The master's side of the channel."""
        room = socket.CMSG_SPACE(struct.calcsize("3i")) + socket.CMSG_SPACE(8 * 4)
        while True:
            try:
                data, ancillary, _, _ = self.channel.recvmsg(8192, room)
            except OSError:
                data = b""
            with self._condition:
                if not data:
                    self.eof = True
                    self._condition.notify_all()
                    return
                message = {}
                for line in data.decode().split("\n"):
                    key, sign, value = line.partition("=")
                    assert sign, "a line without '=': %r" % line
                    message[key] = value
                assert len(data) <= 4096, "a datagram of %d bytes" % len(data)
                message["_time"] = time.monotonic()
                message["_pid"] = next((struct.unpack("3i", data)[0] for _, kind, data in ancillary
                                        if kind == socket.SCM_CREDENTIALS), 0)
                message["_files"] = self._received(ancillary)
                if "REPORT" in message:
                    self.reports.setdefault(message["REPORT"], []).append(message)
                self.messages.append(message)
                self._condition.notify_all()

    def _received(self, ancillary):
        """What descriptors came along, which are closed: (where they lead, the first bytes)."""
        files = []
        for _, kind, data in ancillary:
            if kind == socket.SCM_RIGHTS:
                for fd in struct.unpack("%di" % (len(data) // 4), data):
                    files.append((os.readlink("/proc/self/fd/%d" % fd), _read_some(fd)))
                    os.close(fd)
        return files

    def hang_up(self):
        """Closes the channel."""
        try:
            self.channel.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._reader.join(5)
        self.channel.close()

    # what came

    def wait_for(self, condition, what, patience=None):
        """Waits until condition(self) is true under the lock; returns its value."""
        deadline = time.monotonic() + (patience or PATIENCE)
        with self._condition:
            while True:
                value = condition(self)
                if value:
                    return value
                left = deadline - time.monotonic()
                if left <= 0 or self.eof:
                    raise AssertionError("no %s within %.0f s%s: %s\n%s" % (
                        what, patience or PATIENCE, " (channel closed)" if self.eof else "",
                        self.messages[-8:], self.output()))
                self._condition.wait(left)

    def first(self, key):
        """The first message with that key, or None."""
        return next((m for m in self.messages if key in m), None)

    def last(self, key):
        """The value of the last message with that key, or None."""
        return next((m[key] for m in reversed(self.messages) if key in m), None)

    def ready(self, patience=None):
        """Waits for READY; its message."""
        return self.wait_for(lambda w: w.first("READY"), "READY", patience)

    def error(self):
        """Waits for ERROR and for the end; the text."""
        text = self.wait_for(lambda w: w.last("ERROR"), "ERROR")
        return unescape(text)

    def requests(self, number):
        """Waits until that many requests are told as completed and none as in flight."""
        self.wait_for(lambda w: w.last("REQUESTS") == str(number) and w.last("BUSY") == "0",
                      "REQUESTS=%d BUSY=0" % number)

    def beats(self, since=0.0):
        """Times of the heartbeats after since."""
        with self._condition:
            return [m["_time"] for m in self.messages if "WATCHDOG" in m and m["_time"] > since]

    def wait_beats(self, count, since=None):
        """Waits for so many heartbeats from now on."""
        since = time.monotonic() if since is None else since
        self.wait_for(lambda w: len([m for m in w.messages if "WATCHDOG" in m
                                     and m["_time"] > since]) >= count, "%d heartbeats" % count)

    def report(self, number):
        """Asks for a report and puts it together."""
        self.send("REPORT=%d" % number)
        self.wait_for(lambda w: any("MORE" not in m for m in w.reports.get(str(number), ())),
                      "REPORT")
        return "".join(unescape(m["TEXT"]) for m in self.reports[str(number)])

    # what is said

    def send(self, text):
        """One datagram to the worker."""
        self.channel.send(text.encode())

    def close_connections(self):
        """Asks for the announcement that connections end."""
        self.send("CLOSE=1")

    def drain(self, grace=10.0):
        """Asks for a graceful end."""
        self.send("DRAIN=1\nGRACE_USEC=%d" % int(grace * 1e6))

    def kill(self, number=signal.SIGKILL):
        """A signal to the worker."""
        if self.status is None:
            os.kill(self.pid, number)

    def wait(self, patience=None):
        """Waits for the end: exit status, or minus the signal."""
        deadline = time.monotonic() + (patience or PATIENCE)
        pidfd = os.pidfd_open(self.pid)
        try:
            import select
            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            if not poller.poll(max(0, deadline - time.monotonic()) * 1000):
                raise AssertionError("the worker does not end:\n%s" % self.output())
        finally:
            os.close(pidfd)
        _, status = os.waitpid(self.pid, 0)
        self.status = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        return self.status

    def output(self):
        """Everything that it wrote, for the text of a failure."""
        return ""


class Worker(Peer):
    """One launcher and its channel."""

    def __init__(self, app, kind="wsgi", worker_class="auto", listeners=None, env=None,
                 cwd=APPS, python=None, stderr_pipe=True, slot=1, role="worker", **settings):
        """Starts it at once."""
        self.folder = tempfile.mkdtemp(prefix="preforkd-test-")
        self.own = listeners is None
        self.listeners = listeners or [free_tcp()]
        channel, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        values = {"kind": kind, "app": app, "worker_class": worker_class, "beat": 0.2,
                  "workers": 2, "backlog": BACKLOG, "timeout": 30.0, "graceful_timeout": 10.0,
                  "title": "preforkd: test worker %d" % slot}
        values.update(settings)
        self.settings = values
        self.real_stderr = open(os.path.join(self.folder, "stderr"), "w+b")
        self.stdout = open(os.path.join(self.folder, "stdout"), "w+b")
        self.boot_stderr = open(os.path.join(self.folder, "boot"), "w+b")
        fds = [sock.fileno() for sock in self.listeners] if role == "worker" else []
        channel_fd = 3 + len(fds)
        plan = fds + [child.fileno(), self.real_stderr.fileno()]
        environ = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "COVERAGE_FILE")
                   if name in os.environ}
        environ.update({
            "PREFORKD_CHANNEL": str(channel_fd), "PREFORKD_SETTINGS": json.dumps(values),
            "PREFORKD_GENERATION": "1",
        })
        if role == "worker":
            environ.update({
                "LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": ":".join("a" * len(fds)),
                "PREFORKD_SLOT": str(slot), "PREFORKD_WORKER_ID": "1",
            })
        if stderr_pipe:
            environ["PREFORKD_STDERR"] = str(channel_fd + 1)
        environ.update(env or {})
        argv = [python or PYTHON, LAUNCHER, role, kind, app]
        super().__init__(channel)
        self.pid = self._spawn(argv, environ, plan, cwd)
        self.started = time.monotonic()
        child.close()

    def _spawn(self, argv, environ, plan, cwd):
        """fork and exec with the descriptors of plan from 3 on, as the master does."""
        devnull = os.open(os.devnull, os.O_RDONLY)
        pid = os.fork()
        if pid:
            os.close(devnull)
            return pid
        try:
            os.setpgid(0, 0)
            os.chdir(cwd)
            high = [os.dup2(fd, 200 + i) for i, fd in enumerate(plan)]
            os.dup2(devnull, 0)
            os.dup2(self.stdout.fileno(), 1)
            os.dup2(self.boot_stderr.fileno(), 2)
            for number, fd in enumerate(high):
                os.dup2(fd, 3 + number, inheritable=True)
            os.closerange(3 + len(plan), 1024)
            if "LISTEN_FDS" in environ:
                environ["LISTEN_PID"] = str(os.getpid())
            for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            os.execve(argv[0] if "/" in argv[0] else shutil.which(argv[0]), argv, environ)
        except BaseException as exc:
            os.write(2, ("spawn: %r\n" % exc).encode())
        finally:
            os._exit(127)

    # what it wrote

    def _text(self, stream):
        """All of a file that the worker writes to."""
        with open(stream.name, "rb") as again:
            return again.read().decode("utf-8", "replace")

    def boot_output(self):
        """Standard error before READY."""
        return self._text(self.boot_stderr)

    def late_output(self):
        """Standard error after READY."""
        return self._text(self.real_stderr)

    def printed(self):
        """Standard output."""
        return self._text(self.stdout)

    def output(self):
        """Everything that it wrote."""
        return self.boot_output() + self.late_output() + self.printed()

    @property
    def address(self):
        """Of the first listener."""
        return self.listeners[0].getsockname()

    def close(self):
        """Ends the worker however it can, and forgets it."""
        if self.status is None:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            os.waitpid(self.pid, 0)
            self.status = -signal.SIGKILL
        else:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        self.hang_up()
        for stream in (self.real_stderr, self.stdout, self.boot_stderr):
            stream.close()
        if self.own:
            for sock in self.listeners:
                sock.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def has_module(name, python=None):
    """True when the worker's interpreter can import it."""
    code = "import importlib.util as u, sys; sys.exit(u.find_spec(%r) is None)" % name
    done = subprocess.run([python or PYTHON, "-c", code], cwd="/", stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL)
    return done.returncode == 0


def python_version(python=None):
    """(major, minor, micro) of the worker's interpreter."""
    code = "import sys; print(*sys.version_info[:3])"
    text = subprocess.run([python or PYTHON, "-c", code], stdout=subprocess.PIPE, check=True).stdout
    return tuple(int(part) for part in text.split())
