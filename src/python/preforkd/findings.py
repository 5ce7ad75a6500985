# SPDX-License-Identifier: MIT
"""What the application has made that does not survive a fork, or must not be shared.

A thread exists in the process that started it alone. A connection, an event loop or an open
database file would be used by all workers at once. look() finds such things in this process;
decide() says what follows.
"""

import os
import socket
import stat
import sys
import tempfile
import threading
import weakref
from time import monotonic, sleep as real_sleep

# Threads that are about to end get this many seconds.
THREADS_WAIT = 0.5

# More than this many of a kind are counted, not named.
_NAMED = 3

# Kinds of findings.
THREAD, CONNECTION, PAIR, LOOP = "thread", "connection", "pair", "loop"
DATABASE, FOLDER, FORK = "database", "folder", "fork"

_SQLITE = b"SQLite format 3\0"
_GDBM = tuple(number.to_bytes(4, order) for number in (0x13579ace, 0x13579acd, 0x13579acf)
              for order in ("little", "big"))
_SUFFIXES = (".sqlite", ".sqlite3", ".db")

_Socket = socket.socket


class Finding:
    """One reason not to fork: its kind, and words for it that begin in lower case."""

    def __init__(self, kind, text):
        """Only data."""
        self.kind = kind
        self.text = text

    def __repr__(self):
        """For tests."""
        return "Finding(%r, %r)" % (self.kind, self.text)


class Decision:
    """forks: whether this process becomes a mold; text: why, in one line; refused: an error."""

    def __init__(self, forks, text, refused=False):
        """Only data."""
        self.forks = forks
        self.text = text
        self.refused = refused


def _named(found):
    """The texts of findings, the first few of each kind."""
    texts = []
    for kind in dict.fromkeys(finding.kind for finding in found):
        same = [finding.text for finding in found if finding.kind == kind]
        texts += same[:_NAMED]
        if len(same) > _NAMED:
            texts.append("%d more of these" % (len(same) - _NAMED))
    return "; ".join(texts)


def decide(preload, found):
    """What the setting preload (auto or yes) makes of a list of findings."""
    if not found:
        return Decision(True, "preload: yes, nothing was found that a fork would break")
    kinds = {finding.kind for finding in found}
    if preload == "yes":
        if FORK in kinds:
            return Decision(False, "preload = yes, but " + _named(
                [finding for finding in found if finding.kind == FORK]), True)
        if CONNECTION in kinds:
            return Decision(False, "preload = yes, but %s: all workers would use it at once "
                            "(before-fork = module:function could close it)" % _named(
                                [finding for finding in found if finding.kind == CONNECTION]), True)
        return Decision(True, "preload: yes, in spite of: " + _named(found))
    if FORK in kinds:
        hint = ""
    elif CONNECTION in kinds:
        hint = " (before-fork = module:function could close it)"
    else:
        hint = " (before-fork = module:function could end that; preload = yes forks all the same)"
    return Decision(False, "preload: no, workers are exec'd: " + _named(found) + hint)


def look(ours):
    """Findings about this process; ours are descriptors that are no application's."""
    found, sockets, polls = _threads() + _folders(), [], []
    for fd in _descriptors():
        if fd > 2 and fd not in ours:
            _look_at(fd, found, sockets, polls)
    _forget_gevent(polls)
    found += [Finding(LOOP, "an event loop was made (descriptor %d, epoll)" % fd) for fd in polls]
    for text, own in sockets:
        # An event loop wakes itself by a pair of sockets, and has been named already.
        if not own:
            found.append(Finding(CONNECTION, text))
        elif not polls:
            found.append(Finding(PAIR, text))
    return found


def _folders():
    """Temporary folders that the first worker to end would remove, and the others miss."""
    found = []
    for finalizer in list(getattr(weakref.finalize, "_registry", ())):
        peeked = finalizer.peek() if finalizer.atexit else None
        if peeked is not None and peeked[1] == tempfile.TemporaryDirectory._cleanup:
            found.append(Finding(FOLDER, "the temporary directory %s ends with the process that "
                                 "made it" % peeked[2][0]))
    return found


def _threads():
    """Threads that do not end by themselves."""
    _end_gevent_threads()
    _end_asgiref_thread()
    deadline = monotonic() + THREADS_WAIT
    while True:
        names = _thread_names()
        if not names or monotonic() >= deadline:
            return [Finding(THREAD, "%s runs" % name) for name in names]
        real_sleep(0.01)


def _thread_names():
    """Names of all threads but the first one: Python's, or the kernel's."""
    known = {getattr(thread, "native_id", None): thread.name
             for thread in list(getattr(threading, "_active", {}).values())}
    names = []
    for task in sorted(int(name) for name in os.listdir("/proc/self/task")):
        if task == os.getpid():
            continue
        name = known.get(task) or _comm(task)
        if name is None:
            # It has just ended.
            continue
        names.append("a thread without a name" if name == _comm(os.getpid())
                     else "thread '%s'" % name)
    return names


def _comm(task):
    """The kernel's name of a thread, which it has from the one that started it; None: no such."""
    try:
        with open("/proc/self/task/%d/comm" % task, encoding="utf-8", errors="replace") as comm:
            return comm.read().strip()
    except OSError:
        return None


def _gevent_hub():
    """gevent's hub, where there is one in this thread."""
    try:
        return sys.modules["gevent._hub_local"].get_hub_if_exists()
    except (KeyError, AttributeError):
        return None


def _end_gevent_threads():
    """Those that look up names for gevent: it starts them anew, here and in a forked process."""
    pool = getattr(_gevent_hub(), "_threadpool", None)
    try:
        if pool is not None and not len(pool):
            pool.size = 0
    except Exception:
        # Then they are found.
        pass


def _end_asgiref_thread():
    """The one thread for what must not run at the same time, which Django starts at a request.

    asgiref keeps its pool for ever; in a forked process it would wait for the thread for ever.
    """
    owner = getattr(sys.modules.get("asgiref.sync"), "SyncToAsync", None)
    pool = getattr(owner, "single_thread_executor", None)
    try:
        if pool is not None:
            owner.single_thread_executor = type(pool)(max_workers=1)
            pool.shutdown(wait=False)
    except Exception:
        # Then it is found.
        pass


def _descriptors():
    """Open descriptors, in order; the one of the listing itself is closed by then."""
    return sorted(int(name) for name in os.listdir("/proc/self/fd"))


def _look_at(fd, found, sockets, polls):
    """Sorts a descriptor: databases, stream sockets as (text, is our own pair), epoll."""
    try:
        target = os.readlink("/proc/self/fd/%d" % fd)
        mode = os.fstat(fd).st_mode
    except OSError:
        return
    if stat.S_ISSOCK(mode):
        connected = _stream_peer(fd)
        if connected is not None:
            sockets.append(connected)
    elif target == "anon_inode:[eventpoll]":
        polls.append(fd)
    elif stat.S_ISREG(mode):
        kind = _database(fd, target)
        if kind is not None:
            found.append(Finding(DATABASE, "the %s database %s is open" % (kind, target)))


def _stream_peer(fd):
    """(text, is our own pair) of a connected stream socket, None for any other.

    O_NONBLOCK belongs to the open file, and Python sets it on what it wraps where a default
    timeout is set: so there must be none meanwhile.
    """
    default = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(None)
        copy = os.dup(fd)
        try:
            sock = _Socket(fileno=copy)
        except OSError:
            os.close(copy)
            raise
    except OSError:
        return None
    finally:
        socket.setdefaulttimeout(default)
    with sock:
        try:
            if sock.type == socket.SOCK_DGRAM:
                return None
            peer = sock.getpeername()
        except OSError:
            return None
        if sock.family != socket.AF_UNIX:
            return "a connection to %s is open" % _inet(peer), False
        if peer:
            name = "unix:" + peer if isinstance(peer, str) else "unix:@" + peer[1:].decode(
                "utf-8", "replace")
            return "a connection to %s is open" % name, False
        return "an unnamed unix socket (socketpair) is open", _peer_pid(sock) == os.getpid()


def _inet(peer):
    """host:port as an operator writes it; other families as Python shows them."""
    if not isinstance(peer, tuple) or len(peer) < 2:
        return repr(peer)
    return "%s:%s" % ("[%s]" % peer[0] if ":" in str(peer[0]) else peer[0], peer[1])


def _peer_pid(sock):
    """The process that made the other end of a unix socket, or 0."""
    try:
        data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(data[:4], sys.byteorder)
    except OSError:
        return 0


def _forget_gevent(polls):
    """Takes out gevent's own loop, which gevent makes anew in a forked process.

    Where gevent uses the system's libev, it cannot tell the descriptor: then it is the first.
    """
    hub = _gevent_hub()
    if hub is None or not polls:
        return
    try:
        fd = hub.loop.fileno()
    except Exception:
        fd = None
    polls.remove(fd if fd in polls else polls[0])


def _database(fd, path):
    """Which kind of database a regular file is, or None.

    Read by the descriptor that is there: to close another one would drop SQLite's locks.
    """
    name = path[:-len(" (deleted)")] if path.endswith(" (deleted)") else path
    if os.path.basename(name) == "data.mdb":
        return "LMDB"
    try:
        head = os.pread(fd, 16, 0)
        if head == _SQLITE:
            return "SQLite"
        if head[:4] in _GDBM:
            return "GDBM"
        if not head and name.endswith(_SUFFIXES):
            return "SQLite"
    except OSError:
        # Open for writing only.
        pass
    return None
