# SPDX-License-Identifier: MIT
"""The inherited listening sockets, in a form that no server can spoil for the other workers.

O_NONBLOCK, the backlog and the shut-down state belong to the open file description, which all
workers share: so listen(), shutdown() and a return to blocking mode do nothing here. A server that
closes a Listener closes this process's copy alone.
"""

import errno
import socket
import weakref

from .errors import BootError

_Socket = socket.socket


class Listener(_Socket):
    """A listening socket shared with other processes.

    It also answers to what gunicorn's own socket wrappers are asked for, so that it can stand in
    their place.
    """

    # Set of weak references to accepted sockets, where the drain has to know them.
    accepted = None

    def __init__(self, *args, **kwargs):
        """As socket.socket, which calls it for duplicates too."""
        super().__init__(*args, **kwargs)
        self._kind = int(self.family), int(self.type), self.proto

    @property
    def FAMILY(self):
        """gunicorn's name for the address family."""
        return self.family

    @property
    def sock(self):
        """gunicorn's name for the socket in the wrapper."""
        return self

    def listen(self, backlog=None):
        """Does nothing: it listens already, with the backlog that the master has set."""

    def shutdown(self, how):
        """Does nothing: it would end the listener for every process."""

    def setblocking(self, flag):
        """Never back to blocking mode."""
        if not flag:
            super().setblocking(False)

    def settimeout(self, value):
        """Never back to blocking mode."""
        if value is not None:
            super().settimeout(value)

    def get_backlog(self):
        """gunicorn's name for a metric that the master keeps."""
        return -1

    def accept(self):
        """Accepts one connection, remembered where that is wanted.

        A socket that does not listen, because the master lets it begin when this worker is ready,
        or because somebody shut it down and the master has yet to see that, has none waiting.
        The library's accept() asks three times what kind of socket this is, for more time than the
        counting of a request takes.
        """
        try:
            fd, addr = self._accept()
        except OSError as exc:
            if exc.errno == errno.EINVAL:
                raise BlockingIOError(errno.EAGAIN, "not listening") from None
            raise
        conn = _Socket(*self._kind, fileno=fd)
        if self.accepted is not None:
            self.accepted.add(conn)
        return conn, addr

    def track(self):
        """Remember accepted sockets from now on, so that TLS handshakes under way are known."""
        self.accepted = weakref.WeakSet()

    def open_connections(self):
        """How many of the remembered sockets are open."""
        return sum(1 for conn in list(self.accepted or ()) if conn.fileno() >= 0)

    def __str__(self):
        """The address as an operator writes it."""
        try:
            name = self.getsockname()
        except OSError:
            return "closed socket"
        if isinstance(name, tuple):
            host = "[%s]" % name[0] if ":" in name[0] else name[0]
            return "%s:%d" % (host, name[1])
        if isinstance(name, bytes):
            return "unix:@" + name[1:].decode("utf-8", "replace")
        return "unix:" + name


def adopt(fds):
    """Listeners for the descriptors, which they own from now on. Raises BootError."""
    found = []
    for fd in fds:
        try:
            listener = Listener(fileno=fd)
            listener.setblocking(False)
            if listener.family != socket.AF_UNIX:
                # Inherited by what is accepted; not every server sets it itself.
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as exc:
            raise BootError("descriptor %d is not a listening socket: %s" % (fd, exc)) from None
        if listener.type != socket.SOCK_STREAM:
            raise BootError("descriptor %d is not a stream socket" % fd)
        found.append(listener)
    if not found:
        raise BootError("no listening socket was passed (LISTEN_FDS)")
    return found
