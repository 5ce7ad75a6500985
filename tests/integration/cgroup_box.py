# SPDX-License-Identifier: MIT
"""A control group with a memory limit of its own, v1 or v2, for a test.

    with Box(400 << 20) as box:
        with harness.Preforkd(preexec=box.enter) as p:
            ...
        box.usage(), box.limit(), box.oom_kills()

It is made beside or below our own group, wherever the machine allows it; available() says why it
does not. At the end whatever still runs in it is killed, by pid, and it is removed: nothing gets
into it but by enter() and run(), so those are the test's own.
"""

import contextlib
import functools
import os
import signal
import subprocess
import time

import harness

PROBE_BYTES = 64 << 20
NAMES = {
    True: {"limit": "memory.max", "high": "memory.high", "usage": "memory.current",
           "swap": "memory.swap.max", "events": "memory.events"},
    False: {"limit": "memory.limit_in_bytes", "high": None, "usage": "memory.usage_in_bytes",
            "swap": "memory.memsw.limit_in_bytes", "events": "memory.oom_control"},
}
_number = iter(range(1, 1 << 30))


class Unavailable(Exception):
    """No group can be made; says why."""


def _read(path):
    """The text of a small file, "" where there is none."""
    try:
        with open(path, encoding="ascii", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def _write(path, text):
    """Writes a file of the kernel in one go."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(text).encode())
    finally:
        os.close(fd)


def _mounts():
    """(folder, type, options) of all cgroup mounts."""
    found = []
    for line in _read("/proc/self/mounts").splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[2] in ("cgroup", "cgroup2"):
            found.append((fields[1], fields[2], fields[3].split(",")))
    return found


def _own_path(controller):
    """Our path in the hierarchy of a controller; "" is v2. None: in none."""
    for line in _read("/proc/self/cgroup").splitlines():
        fields = line.split(":", 2)
        if len(fields) == 3 and controller in fields[1].split(","):
            return fields[2]
    return None


def _bases():
    """(is v2, folder) of groups below which one might be made, the likeliest first."""
    for folder, kind, options in _mounts():
        is_v2 = kind == "cgroup2"
        if not is_v2 and "memory" not in options:
            continue
        path = _own_path("" if is_v2 else "memory")
        if path is None:
            continue
        own = os.path.normpath(folder + path)
        if not os.path.isdir(own):
            own = folder
        if not is_v2:
            yield False, own
            continue
        # A group of v2 that has processes cannot hand its controllers down, but its parent does.
        while len(own) >= len(folder):
            if "memory" in _read(os.path.join(own, "cgroup.subtree_control")).split():
                yield True, own
            own = os.path.dirname(own)


class Box:
    """One group. limit in bytes, None: none; high likewise (v2); swap=False: nothing in it may be
    swapped out; inside: a Box to nest it in, which then must have no process of its own.
    """

    def __init__(self, limit=None, high=None, swap=True, inside=None, sockets=False):
        """Makes it. sockets: v1 counts TCP buffers as well. Unavailable."""
        self.dir = None
        self.is_v2 = None
        if inside is not None:
            if inside.is_v2:
                inside.write("cgroup.subtree_control", "+memory")
            self._make(inside.is_v2, inside.dir)
        else:
            self._make_somewhere()
        self.names = NAMES[self.is_v2]
        try:
            self._set_up(limit, high, swap, sockets)
        except OSError as e:
            self.remove()
            raise Unavailable("%s: %s" % (self.dir, e)) from e

    def _make(self, is_v2, base):
        """Makes it below a folder. OSError."""
        folder = os.path.join(base, "pfd-%d-%d" % (os.getpid(), next(_number)))
        os.mkdir(folder)
        self.dir, self.is_v2 = folder, is_v2

    def _make_somewhere(self):
        """Makes it below the first folder that allows it."""
        reason = "no memory controller is mounted, or none is handed down to our group"
        for is_v2, base in _bases():
            try:
                self._make(is_v2, base)
            except OSError as e:
                reason = "%s: %s" % (base, e.strerror)
                continue
            if os.path.exists(self.path(NAMES[is_v2]["limit"])):
                return
            reason = "%s: no %s in a new group" % (base, NAMES[is_v2]["limit"])
            os.rmdir(self.dir)
        self.dir = None
        raise Unavailable(reason)

    def _set_up(self, limit, high, swap, sockets):
        """Writes what was asked for."""
        if limit is not None:
            self.set_limit(limit)
        if high is not None:
            if not self.is_v2:
                raise OSError("memory.high needs cgroup v2")
            self.write("memory.high", high)
        if not swap and os.path.exists(self.path(self.names["swap"])):
            self.write(self.names["swap"], 0 if self.is_v2 else limit)
        if sockets and not self.is_v2:
            # Any limit that was written once switches the count on.
            self.write("memory.kmem.tcp.limit_in_bytes", 1 << 40)

    def path(self, name):
        """A file of the group."""
        return os.path.join(self.dir, name)

    def write(self, name, value):
        """Writes a file of the group."""
        _write(self.path(name), value)

    def number(self, name):
        """A number in a file of the group, None: "max" or no such file."""
        text = _read(self.path(name)).strip()
        return int(text) if text.isdigit() else None

    def set_limit(self, limit):
        """Another limit, also while it is in use."""
        self.write(self.names["limit"], limit)

    def limit(self):
        """The limit in bytes."""
        return self.number(self.names["limit"])

    def usage(self):
        """What the kernel compares with the limit."""
        return self.number(self.names["usage"])

    def oom_kills(self):
        """Processes in it that the kernel killed for memory."""
        for line in _read(self.path(self.names["events"])).splitlines():
            key, _, value = line.partition(" ")
            if key == "oom_kill":
                return int(value)
        return None

    def enter(self):
        """Puts the calling process into it: for preexec_fn."""
        self.write("cgroup.procs", 0)

    def run(self, *args, **kw):
        """Runs a program in it to its end; (exit code, stdout, stderr)."""
        return harness.run(*args, preexec_fn=self.enter, **kw)

    def popen(self, *args, **kw):
        """Starts a program in it."""
        return subprocess.Popen([str(a) for a in args], preexec_fn=self.enter, **kw)

    def pids(self):
        """Who is in it."""
        return [int(p) for p in _read(self.path("cgroup.procs")).split()]

    def remove(self):
        """Ends what is still in it and removes it."""
        if self.dir is None:
            return
        end = time.monotonic() + harness.stretched(harness.PATIENCE)
        while True:
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                os.rmdir(self.dir)
            except FileNotFoundError:
                pass
            except OSError:
                # Dying processes still count for a moment.
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
                continue
            self.dir = None
            return

    def __enter__(self):
        """It is there already."""
        return self

    def __exit__(self, kind, value, tb):
        """Removes it, whatever has happened."""
        self.remove()
        return False


@functools.lru_cache(None)
def available():
    """None, or the reason why this machine has no such groups for us."""
    try:
        with Box(PROBE_BYTES) as box:
            if box.limit() != PROBE_BYTES:
                return "%s: the limit was not taken" % box.dir
            code, _, err = box.run("/bin/true")
            return None if code == 0 else "nothing runs in %s: %s" % (box.dir, err)
    except Unavailable as e:
        return str(e)
    except (OSError, subprocess.SubprocessError) as e:
        return "no process gets into a new group: %s" % e


def needs_box(test):
    """Decorator: skips a test, with the reason, where no group can be made."""
    def skipping(self, *args, **kw):
        """Asks first."""
        reason = available()
        if reason is not None:
            self.skipTest(reason)
        return test(self, *args, **kw)
    return functools.wraps(test)(skipping)
