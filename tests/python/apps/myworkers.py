# SPDX-License-Identifier: MIT
"""Worker classes as users write them, by inheriting from gunicorn's."""

import os

from gunicorn.workers.base import Worker
from gunicorn.workers.gthread import ThreadWorker
from gunicorn.workers.sync import SyncWorker


class Thread(ThreadWorker):
    """Adds nothing but its name."""


class Sync(SyncWorker):
    """Looks at every request."""

    def handle_request(self, listener, req, client, addr):
        """Calls the original."""
        self.seen = getattr(self, "seen", 0) + 1
        return super().handle_request(listener, req, client, addr)


class Strange(Worker):
    """Inherits from the base alone: one request after the other, its own way."""

    def run(self):
        """Answers everything the same."""
        import select
        for sock in self.sockets:
            sock.setblocking(False)
        while self.alive:
            self.notify()
            ready, _, _ = select.select(self.sockets + [self.PIPE[0]], [], [], 0.1)
            for sock in ready:
                if sock == self.PIPE[0]:
                    os.read(sock, 100)
                    continue
                try:
                    client, _ = sock.accept()
                except BlockingIOError:
                    continue
                client.setblocking(True)
                client.recv(65536)
                client.sendall(b"HTTP/1.0 200 OK\r\n\r\nstrange")
                client.close()
                self.nr += 1
