# SPDX-License-Identifier: MIT
"""The wire to the master: datagrams of KEY=VALUE lines on a SOCK_SEQPACKET socket.

Sends never block the caller: MSG_DONTWAIT, and only what must not be lost (READY, ERROR, REPORT)
waits for room, for a second at most. All functions of the operating system are bound at import, so
that the channel works on real descriptors and in a real thread under gevent's monkey patches too.
"""

from array import array
from errno import EBADF, ENOTSOCK
from os import dup, pipe2, read, write, close, O_CLOEXEC, O_NONBLOCK
from select import POLLIN, POLLOUT, poll
from socket import (CMSG_SPACE, MSG_CMSG_CLOEXEC, MSG_DONTWAIT, SCM_RIGHTS, SOL_SOCKET, socket)
from time import monotonic

from . import memory

MESSAGE_MAX = 4096
WAIT = 1.0
# Key of a received message that holds the descriptors that came with it; no line can have it.
FD_KEY = "\n"

# Room for descriptors of one datagram: a mold gets all those of a worker.
_FDS_MAX = 80


def escape(text):
    """A text as the value of a line: newlines and backslashes escaped, no NUL."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "").replace("\0", "")


def encode_text(text):
    """Escaped bytes of a text; what is not UTF-8 is shown as escapes."""
    return escape(text).encode("utf-8", "backslashreplace")


def split_text(text, limit):
    """Parts of a text whose escaped forms fit in limit bytes; splits between lines if it can."""
    parts, current, size = [], [], 0
    for line in text.splitlines(True):
        while line:
            length = len(encode_text(line))
            if size + length <= limit:
                current.append(line)
                size += length
                break
            if current:
                parts.append("".join(current))
                current, size = [], 0
                continue
            # One line that is too long by itself: a character takes at most 10 bytes.
            cut = max(1, limit // 10)
            parts.append(line[:cut])
            line = line[cut:]
    if current or not parts:
        parts.append("".join(current))
    return parts


def parse(data):
    """Keys and values of a datagram; lines without '=' are ignored."""
    pairs = {}
    for line in data.decode("utf-8", "replace").split("\n"):
        key, sign, value = line.partition("=")
        if sign:
            pairs[key] = value
    return pairs


def _descriptors(ancillary):
    """Descriptors that came with a datagram (SCM_RIGHTS, unix(7))."""
    fds = array("i")
    for level, kind, data in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
    return list(fds)


def close_received(message):
    """Closes the descriptors that came with a message."""
    for fd in message.pop(FD_KEY, ()):
        close(fd)


class Channel:
    """The worker's end. Every method may be called from any thread."""

    burst = 16          # datagrams read before the thread looks at its timers again

    def __init__(self, fd):
        """Takes over the descriptor; a negative one gives a channel that says nothing."""
        self._socket = socket(fileno=fd) if fd >= 0 else None
        self._wake_read, self._wake_write = pipe2(O_CLOEXEC | O_NONBLOCK)
        self._relay = -1        # hears of signals as wait() does
        self.wakes = b""        # what woke wait() the last time: b"w", or numbers of signals

    def become(self, fd):
        """In a forked worker: its own descriptor in the place of the mold's."""
        self.after_fork_in_child()
        self.__init__(fd)

    def descriptors(self):
        """All that are open for it."""
        own = {self._wake_read, self._wake_write, self._relay}
        return own if self._socket is None else own | {self._socket.fileno()}

    def has_peer(self):
        """False when the other end was closed."""
        if self._socket is None:
            return False
        poller = poll()
        poller.register(self._socket.fileno(), 0)
        return not poller.poll(0)

    @property
    def is_open(self):
        """True where there is a master to talk to."""
        return self._socket is not None

    def fileno(self):
        """The descriptor: gunicorn wants a real one from what replaces its heartbeat file."""
        return self._socket.fileno() if self._socket is not None else self._wake_read

    def send(self, message, wait=False, fd=-1):
        """Sends one datagram (text or bytes), with a descriptor if there is one.

        True when the kernel took it.
        """
        sock = self._socket
        if sock is None:
            return True
        data = message if isinstance(message, bytes) else message.encode("utf-8", "replace")
        rights = [(SOL_SOCKET, SCM_RIGHTS, array("i", [fd]))] if fd >= 0 else []
        deadline = monotonic() + WAIT if wait else 0
        while True:
            try:
                sock.sendmsg([data], rights, MSG_DONTWAIT)
                return True
            except (BlockingIOError, InterruptedError):
                left = deadline - monotonic()
                if left <= 0:
                    return False
                poller = poll()
                poller.register(sock.fileno(), POLLOUT)
                poller.poll(left * 1000)
            except (OSError, ValueError):
                return False

    def send_ready(self, message):
        """READY, with the descriptor by which the master may look at this process's memory."""
        fd = memory.open_rollup()
        try:
            return self.send(message, True, fd)
        finally:
            if fd >= 0:
                close(fd)

    def send_text(self, key, text, wait=False):
        """Sends KEY=text, cut to what fits in a datagram."""
        room = MESSAGE_MAX - len(key) - 1
        part = split_text(text, room)[0]
        return self.send(key.encode() + b"=" + encode_text(part), wait)

    def send_report(self, number, text):
        """Sends a long text in as many datagrams as it takes."""
        parts = split_text(text, MESSAGE_MAX - 64)
        for index, part in enumerate(parts):
            more = b"\nMORE=1" if index + 1 < len(parts) else b""
            head = b"REPORT=%d\nTEXT=" % number
            if not self.send(head + encode_text(part) + more, True):
                return

    def wake(self):
        """Rouses the thread in wait(); also from a signal handler."""
        try:
            write(self._wake_write, b"w")
        except (OSError, ValueError):
            pass

    def wake_fd(self):
        """For signal.set_wakeup_fd(): signals wake wait(), and their numbers are in wakes."""
        return self._wake_write

    def relay_signals(self, fd):
        """What wait() hears of signals is written to this descriptor, too.

        It does not block. A copy is kept: whoever closes it does not say so.
        """
        self._relay = dup(fd)

    def wait(self, timeout):
        """Waits for wake(), a message or the timeout in seconds (None: none).

        Returns the messages that came as a list of dicts, None at its end when the master is gone.
        """
        poller = poll()
        poller.register(self._wake_read, POLLIN)
        if self._socket is not None:
            poller.register(self._socket.fileno(), POLLIN)
        ready = [fd for fd, _ in poller.poll(None if timeout is None else max(0, timeout * 1000))]
        self.wakes = b""
        if self._wake_read in ready:
            try:
                self.wakes = read(self._wake_read, 4096)
                numbers = self.wakes.replace(b"w", b"")
                if numbers and self._relay >= 0:
                    write(self._relay, numbers)
            except OSError:
                pass
        if self._socket is None or self._socket.fileno() not in ready:
            return []
        return self._receive()

    def _receive(self):
        """What is in the socket now; None at the end stands for end-of-file."""
        messages = []
        while len(messages) < self.burst:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(
                    MESSAGE_MAX, CMSG_SPACE(_FDS_MAX * array("i").itemsize),
                    MSG_DONTWAIT | MSG_CMSG_CLOEXEC)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as exc:
                if exc.errno in (EBADF, ENOTSOCK):
                    # The application closed what it does not know: whatever is here is no master.
                    self._socket.detach()
                    self._socket = None
                    break
                data, ancillary = b"", []
            if not data:
                messages.append(None)
                break
            message = parse(data)
            fds = _descriptors(ancillary)
            if fds:
                message[FD_KEY] = fds
            messages.append(message)
        return messages

    def after_fork_in_child(self):
        """A forked child keeps no end of the channel, or its parent's death would go unnoticed."""
        sock, self._socket = self._socket, None
        try:
            if sock is not None:
                sock.close()
            close(self._wake_read)
            close(self._wake_write)
            if self._relay >= 0:
                close(self._relay)
        except OSError:
            pass
        self._wake_read = self._wake_write = self._relay = -1
