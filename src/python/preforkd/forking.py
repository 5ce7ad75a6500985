# SPDX-License-Identifier: MIT
"""How a mold makes a worker that is the master's child, and what the worker does first.

The mold forks an intermediate process, which forks the worker and is gone at once: so the worker
becomes a child of the master, which has declared itself to be the one who adopts. The first fork
goes past the interpreter, so that functions of os.register_at_fork() run once, in the worker. All
functions of the operating system are bound at import, before gevent can patch them.
"""

import os
import signal
import sys
from os import _exit, close, dup, dup2, getpid, getppid, kill, killpg, setpgid, waitpid
from select import POLLIN, poll
from time import monotonic, sleep as real_sleep

from . import listeners, memory, title
from .channel import FD_KEY, MESSAGE_MAX, encode_text
from .errors import BootError, flush

# Seconds after which a fork is taken to hang, and a worker gives up to be adopted.
DEADLINE = 10.0

# Seconds for which no other thread may ask for the interpreter around a fork, and in which those
# that had asked before get it.
_QUIET = 0.1
_YIELD = 0.001

# PR_SET_PDEATHSIG, prctl(2), which looks at no other argument.
_DIE_WITH_PARENT = (1, int(signal.SIGKILL))

# What the intermediate's exit status tells: 0, an errno, or how a process ended on trial.
_UNKNOWN = 191
_SIGNALLED = 192

_fork = os.fork


class _Libc:
    """The C library past the interpreter, where there is ctypes."""

    def __init__(self):
        """Never fails."""
        try:
            import ctypes
            libc = ctypes.PyDLL(None, use_errno=True)
            self._get_errno = ctypes.get_errno
            self._raw_fork = libc.fork
        except Exception:
            self._raw_fork = None
        # Called in each worker: an object of ctypes would take 30 kB of what it shares.
        self._prctl = memory.of_libc("prctl")

    def fork(self):
        """fork(2) without the interpreter's notice, or else with it. Raises OSError."""
        if self._raw_fork is None:
            return _fork()
        pid = self._raw_fork()
        if pid < 0:
            code = self._get_errno()
            raise OSError(code, os.strerror(code))
        return pid

    def die_with_parent(self):
        """SIGKILL when the parent ends; without ctypes the end of the channel has to do."""
        if self._prctl is not None:
            self._prctl(_DIE_WITH_PARENT)


class Order:
    """What the master wants with FORK."""

    def __init__(self, message):
        """Takes over the message's descriptors. Raises ValueError for rubbish."""
        fds = message.pop(FD_KEY, [])
        self._open = list(fds)
        try:
            self.slot, self.serial, self.worker_id = (
                int(number) for number in message["FORK"].split(","))
            self.limit = int(message.get("LIMITS") or 0)
            self.channel = fds.pop(0)
            self.stderr = fds.pop(0) if message.get("STDERR") in ("1", "2") else -1
            self.stderr_stays = message.get("STDERR") == "2"
            self.stdout = fds.pop(0) if message.get("STDOUT") == "1" else -1
            self.sockets = fds
            # The kernel leaves out what this process has no room for (MSG_CTRUNC, recvmsg(2)).
            self.missing = int(message.get("SOCKETS") or len(fds)) - len(fds)
        except (ValueError, IndexError):
            self.close()
            raise ValueError("FORK=%s with %d descriptors" % (
                message.get("FORK"), len(self._open))) from None

    def close(self):
        """In the mold, when the fork is done."""
        for fd in self._open:
            close(fd)


def tell_failure(order, exc):
    """In the mold: says on the worker's own channel why there is none."""
    why = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    text = b"ERROR=" + encode_text("cannot fork: " + why)
    try:
        os.write(order.channel, text[:MESSAGE_MAX])
    except OSError:
        pass


def _second_fork():
    """fork(2) with all that registered for it; gevent's makes its loop usable in the child."""
    fork = os.fork
    if fork is not _fork:
        # What gevent puts in the place of os.fork also begins to watch for the child's end.
        fork = getattr(sys.modules.get("gevent.os"), "fork_gevent", fork)
    return fork()


class _Quiet:
    """Around a fork past the interpreter: no other thread's request for it goes along.

    The process between would wait for ever for the thread that asked, which it does not have
    (forced switching, Python/ceval_gil.c). Who waits asks anew one switch interval after the
    interpreter has changed hands: so all get it once, and then the interval is as long as a fork
    of many gigabytes may take. A thread that never lets go costs that much for each fork.
    """

    def __enter__(self):
        """Free where there is no other thread."""
        self._interval = None
        try:
            if len(os.listdir("/proc/self/task")) == 1:
                return
        except OSError:
            # No descriptor is left; there may be some.
            pass
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(_QUIET)
        try:
            real_sleep(_YIELD)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_exc):
        """In the mold and in the worker."""
        if self._interval is not None:
            sys.setswitchinterval(self._interval)
        return False


def _wait(pid, deadline):
    """The status of a child that ends soon; None when it had to be killed."""
    if not _ends(pid, deadline):
        return None
    try:
        return waitpid(pid, 0)[1]
    except ChildProcessError:
        # SIGCHLD is ignored by the application's wish.
        return 0


def _ends(pid, deadline):
    """True when the child ended in time; it is not reaped here."""
    end = monotonic() + deadline
    try:
        pidfd = os.pidfd_open(pid)
    except (AttributeError, OSError):
        while monotonic() < end:
            try:
                if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None:
                    return True
            except ChildProcessError:
                return True
            real_sleep(0.0005)
        return False
    try:
        poller = poll()
        poller.register(pidfd, POLLIN)
        return bool(poller.poll(deadline * 1000))
    finally:
        close(pidfd)


class Forker:
    """Makes workers."""

    def __init__(self):
        """Loads what the fork itself needs."""
        self._libc = _Libc()

    def fork(self, deadline=DEADLINE):
        """True in a new worker, False in the mold. Raises OSError in the mold."""
        flush()
        with _Quiet():
            pid = self._libc.fork()
            if pid == 0:
                status = _UNKNOWN
                try:
                    if _second_fork() == 0:
                        return True
                    status = 0
                except OSError as exc:
                    status = _status_of(exc)
                except BaseException:
                    pass
                _exit(status)
        status = _wait(pid, deadline)
        if status is None:
            _kill(pid)
            raise OSError("it takes longer than %g s" % deadline)
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else _UNKNOWN
        if code:
            raise OSError(code, os.strerror(code)) if code < _UNKNOWN else OSError(
                "the process between mold and worker failed")
        return False

    def trial(self, deadline=DEADLINE):
        """Forks as for a worker that ends at once: None, or what is wrong with that."""
        flush()
        try:
            with _Quiet():
                pid = self._libc.fork()
                if pid == 0:
                    _exit(_try_second_fork())
        except OSError as exc:
            return "a fork fails: %s" % exc.strerror
        status = _wait(pid, deadline)
        if status is None:
            _kill(pid)
            return "a fork hangs for more than %g s, perhaps in a function of " \
                "os.register_at_fork()" % deadline
        return _trial_result(status)

    def settle(self, agent, order):
        """First of all in a new worker: belongs to the master from now on. Raises BootError."""
        agent.channel.become(order.channel)
        agent.role = "worker"
        self._take_output(agent, order)
        master = agent.settings.master
        _wait_for_parent(agent, master)
        self._libc.die_with_parent()
        if getppid() != master:
            _exit(1)
        setpgid(0, 0)
        os.environ["PREFORKD_SLOT"] = str(order.slot)
        os.environ["PREFORKD_WORKER_ID"] = str(order.worker_id)
        os.environ["PREFORKD_SERIAL"] = str(order.serial)
        agent.channel.send(b"BORN=1", True)
        wanted = agent.settings.worker_title
        title.set_title(wanted.replace("%d", str(order.slot)))
        _reseed()
        agent.server.listeners = listeners.adopt(order.sockets)
        agent.start()

    def _take_output(self, agent, order):
        """Standard error and output of the worker's own."""
        real = -1
        if order.stderr >= 0:
            if not order.stderr_stays:
                real = dup(2)
            dup2(order.stderr, 2)
            close(order.stderr)
        if order.stdout >= 0:
            dup2(order.stdout, 1)
            close(order.stdout)
        agent.settings.limit = order.limit
        agent.configure(agent.settings, real)


def _try_second_fork():
    """In the process between, on trial: the exit status of it."""
    try:
        setpgid(0, 0)
        child = _second_fork()
        if child == 0:
            _exit(0)
        ended = waitpid(child, 0)[1]
        return _SIGNALLED + os.WTERMSIG(ended) if os.WIFSIGNALED(ended) else 0
    except ChildProcessError:
        return 0
    except OSError as exc:
        return _status_of(exc)
    except BaseException:
        return _UNKNOWN


def _status_of(exc):
    """An OSError as an exit status."""
    return exc.errno if exc.errno and 0 < exc.errno < _UNKNOWN else _UNKNOWN


def _trial_result(status):
    """None or a text, for the status of the process between."""
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else _SIGNALLED + os.WTERMSIG(status)
    if code == 0:
        return None
    if code > _SIGNALLED:
        number = code - _SIGNALLED
        return "a forked process dies of signal %d (%s)" % (number, signal.strsignal(number))
    why = os.strerror(code) if code < _UNKNOWN else "an exception was raised"
    return "a fork fails: " + why


def _kill(pid):
    """Ends and reaps a child, and its group where it has come so far as to have one."""
    for function in (killpg, kill):
        try:
            function(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    try:
        waitpid(pid, 0)
    except ChildProcessError:
        pass


def _wait_for_parent(agent, master):
    """Returns when the process between has ended and this one is a child of the master."""
    deadline, pause = monotonic() + DEADLINE, 0.00005
    while getppid() != master:
        if not agent.channel.has_peer():
            _exit(1)
        if monotonic() > deadline:
            raise BootError("process %d became a child of %d, not of the master, which is %d"
                            % (getpid(), getppid(), master))
        real_sleep(pause)
        pause = min(pause * 1.5, 0.01)


def _reseed():
    """No two workers draw the same numbers; Python's own generator sees to itself."""
    numpy_random = sys.modules.get("numpy.random")
    if hasattr(numpy_random, "seed"):
        numpy_random.seed()
