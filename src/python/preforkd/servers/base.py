# SPDX-License-Identifier: MIT
"""What a server module gives to the launcher."""

from importlib import import_module

from .. import application
from ..errors import BootError

# TLS options have gunicorn's names everywhere; servers with own names map them.
TLS_NAMES = ("certfile", "keyfile", "ca_certs", "ciphers", "cert_reqs", "ssl_version",
             "keyfile_password")


class Server:
    """One HTTP server in this process.

    prepare() imports the server and reads its options, before the application is imported; serve()
    loads the application, calls agent.ready() when connections are accepted, and returns when the
    server has ended. post() and announce_drain() are the only ones called from other threads.
    """

    name = ""
    sync = False                # no heartbeat within a request
    own_term = False            # the server's own SIGTERM handler stays
    abort_handler = None        # Python handler of SIGABRT, after the stacks are printed
    keepalive = 5.0             # seconds that the server keeps idle connections

    def __init__(self, agent, settings, listeners):
        """Imports nothing yet."""
        self.agent = agent
        self.settings = settings
        self.listeners = listeners
        self.version = self.name
        self._checked = None        # an application that check() has found to be of our kind

    def prepare(self):
        """Imports the server and checks its options. Raises BootError."""
        raise NotImplementedError

    def preload(self):
        """In a mold, after prepare(): imports what workers need later, and changes nothing else.

        A module that is missing or broken is left to the worker, which knows what to say of it.
        """

    def interface(self):
        """How the application is called: wsgi or asgi."""
        return self.settings.kind

    def check(self, app):
        """Refuses an application of the other kind. Raises BootError.

        What a mold has looked at is not looked at again by its workers.
        """
        if app is not self._checked:
            application.check_kind(app, self.settings.kind, self.settings.app)
            self._checked = app

    def make(self, app):
        """In a mold, when the application is there: makes what workers would make each anew."""

    def serve(self, load):
        """Runs until the end; load() gives the application."""
        raise NotImplementedError

    def post(self, function):
        """Runs function in the server's loop, soon. Any thread, also a signal handler."""
        raise NotImplementedError

    def announce_drain(self):
        """A drain has begun. Any thread, also a signal handler: only flags may be set."""

    def close_responses(self):
        """agent.closing was set just now. Any thread, also a signal handler: only flags."""

    def announce_close(self):
        """Called by post() when agent.closing is set: for servers that do not look at it."""

    def drain(self):
        """Called by post(): stop accepting, finish what was accepted, end.

        When connections end is said by farewell.Farewell.
        """
        raise NotImplementedError

    def reopen(self):
        """Called by post(), or in a mold: log files of the server's own were moved away."""

    def say(self, text):
        """One line about the settings to standard error, by the worker of the first slot only."""
        import os
        if os.environ.get("PREFORKD_SLOT", "1") == "1":
            self.agent.complain(text)

    def ignore_unused(self, *names):
        """Says which general settings have no meaning for this server."""
        written = {"threads": "threads", "worker_connections": "worker-connections",
                   "gunicorn_config": "gunicorn-config"}
        unused = [written[name] for name in names if getattr(self.settings, name)]
        if unused:
            self.say("%s ha%s no meaning for %s" % (
                ", ".join(unused), "s" if len(unused) == 1 else "ve", self.name))

    def require_kind(self, kind):
        """Refuses an application of the other kind."""
        if self.settings.kind != kind:
            raise BootError("worker-class %s serves %s applications: write %s = %s, or choose "
                            "another worker-class" % (self.settings.worker_class, kind.upper(),
                                                      kind, self.settings.app))


def import_all(*names):
    """For preload()."""
    for name in names:
        try:
            import_module(name)
        except Exception:
            pass


class Progress:
    """Whether a pool of threads gets on: a pool in which every thread hangs must not beat."""

    def __init__(self, counter, threads):
        """threads is the size of the pool."""
        self._counter = counter
        self._threads = threads
        self._seen = -1

    def healthy(self, done, waiting):
        """done only grows while jobs complete; waiting: somebody waits for a thread."""
        idle = self._counter.busy < self._threads and not waiting
        moved, self._seen = done != self._seen, done
        return idle or moved
