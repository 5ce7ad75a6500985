# SPDX-License-Identifier: MIT
"""gunicorn's worker classes without gunicorn's arbiter, from gunicorn 20.1 on.

The worker gets our listeners in the place of gunicorn's wrappers, a small application object, and a
heartbeat that goes to the channel: its first notify() is readiness for every class. Hooks of the
worker run; those of the master cannot.
"""

import collections
import importlib
import os
import re
import sys
import types
from time import monotonic

from ..errors import BootError
from . import gunicorn_config, gunicorn_workers, not_installed
from .base import Server, import_all


class _EntryPoints(types.ModuleType):
    """Stands in for pkg_resources until somebody needs it.

    gunicorn before 21 imports it for classes that are named by entry points, which hardly anybody
    has; it costs 5 MB of memory and a part of the boot.
    """

    def __getattr__(self, name):
        """The real module's."""
        self.preforkd_leave()
        return getattr(importlib.import_module(self.__name__), name)

    def preforkd_leave(self):
        """From now on the real one is imported; who has imported this one keeps it."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]


def _import_gunicorn():
    """gunicorn, with the modules that prepare() needs. Raises ImportError."""
    entry_points = _EntryPoints("pkg_resources")
    sys.modules.setdefault("pkg_resources", entry_points)
    try:
        import gunicorn
        import gunicorn.util
        import gunicorn.workers
        import gunicorn.workers.base
    finally:
        entry_points.preforkd_leave()
    return gunicorn


class _Heartbeat:
    """Stands in for gunicorn's heartbeat file."""

    def __init__(self, server):
        """One per worker."""
        self._server = server

    def notify(self):
        """The worker's loop turns."""
        self._server.turn()

    def fileno(self):
        """gunicorn makes it close-on-exec."""
        return self._server.agent.channel.fileno()

    def last_update(self):
        """Nobody asks but the arbiter."""
        return 0

    def close(self):
        """Nothing to close."""


class _Application:
    """What a worker wants to know about the application."""

    def __init__(self, server, cfg):
        """Nothing is loaded yet."""
        self._server = server
        self.preforkd_load = None   # gives the application
        self.cfg = cfg
        self.callable = None

    def wsgi(self):
        """The callable, loaded once."""
        if self.callable is None:
            self.callable = self._server.wrap(self.preforkd_load())
        return self.callable

    def load(self):
        """gunicorn's other name for it."""
        return self.wsgi()


class _Arbiter:
    """What hooks of the worker may look at in the place of gunicorn's arbiter."""

    def __init__(self, server, cfg, log, app):
        """Only data."""
        self.cfg = cfg
        self.log = log
        self.app = app
        self.pid = os.getppid()
        self.LISTENERS = []
        self.address = []
        self.WORKERS = {}
        self.timeout = cfg.timeout
        self.num_workers = cfg.workers
        self.proc_name = cfg.proc_name
        self.worker_age = server.age
        self.master_pid = 0

    def preforkd_begin(self, server):
        """In the worker: what differs from worker to worker."""
        self.pid = os.getppid()
        self.LISTENERS = server.listeners
        self.address = [str(listener) for listener in server.listeners]
        self.worker_age = server.age


class GunicornServer(Server):
    """One worker of gunicorn's."""

    name = "gunicorn"
    uvicorn_server = None
    aio = None

    def __init__(self, agent, settings, listeners):
        """Nothing runs yet."""
        super().__init__(agent, settings, listeners)
        self._posted = collections.deque()
        self._worker = None
        self._made = None           # the worker, once it is made
        self._log = None            # gunicorn's logger
        self._arbiter = None
        self._beating = False
        self._last = {}             # methods of responses, once connections close
        self._due = 0.0             # time of the next turn with work to do
        self.age = 0

    def prepare(self):
        """Imports gunicorn, reads its settings, and finds the worker class."""
        try:
            self._gunicorn = gunicorn = _import_gunicorn()
        except ImportError as exc:
            raise not_installed("gunicorn", exc, self.settings.worker_class) from None
        self.version = "gunicorn %s %s" % (gunicorn.__version__, self.settings.worker_class)
        self._check_name()
        self.cfg = gunicorn_config.build(self.settings, self.version, self.say)
        self.keepalive = float(self.cfg.keepalive)
        self._find_class()
        self._check_tls()

    def _check_name(self):
        """A misspelt worker-class must not end in a puzzling import error."""
        name = self.settings.worker_class
        if "." not in name and name not in self._gunicorn.workers.SUPPORTED_WORKERS:
            own = ["auto", "sync", "gthread", "gevent", "waitress", "stdlib", "uvicorn",
                   "hypercorn"]
            raise BootError("worker-class %s is not known: one of %s, or the dotted path of a "
                            "gunicorn worker class" % (name, ", ".join(own)))

    def _find_class(self):
        """Loads the class and extends it."""
        name = self.settings.worker_class
        try:
            found = self.cfg.worker_class
        except Exception as exc:
            raise BootError("worker-class %s cannot be loaded: %s"
                            % (name, _essence(exc))) from None
        if not isinstance(found, type) or not issubclass(found, self._gunicorn.workers.base.Worker):
            raise BootError("worker-class %s is no gunicorn worker class" % name)
        self._class, mixin = gunicorn_workers.extend(found, self)
        if mixin.preforkd_kind is not None:
            self.require_kind(mixin.preforkd_kind)
        self.sync = mixin is gunicorn_workers.Sync
        self.own_term = issubclass(mixin, gunicorn_workers.Other)
        if name == "sync" and mixin is not gunicorn_workers.Sync:
            self.version = "gunicorn %s gthread" % self._gunicorn.__version__

    def _check_tls(self):
        """Files that are missing are told before the first handshake fails."""
        for name in ("certfile", "keyfile", "ca_certs"):
            path = getattr(self.cfg, name, None)
            if path and not os.path.exists(path):
                raise BootError("section [server]: %s %s does not exist" % (name, path))

    def preload(self):
        """The objects that gunicorn makes before it forks; what the application shall find in the
        environment when it is imported. Made in every worker anew, they would cost it 1 MB."""
        os.environ["SERVER_SOFTWARE"] = self._gunicorn.SERVER_SOFTWARE
        os.environ.update(self.cfg.env)
        import_all("gunicorn.http.wsgi", "gunicorn.workers.workertmp")
        try:
            self._make()
        except Exception:
            # The worker will say so.
            pass
        self._class.preforkd_preload()

    def _make(self):
        """Logger and worker; what they do with the application comes later."""
        from gunicorn import glogging
        cfg = self.cfg
        self._log = log = cfg.logger_class(cfg)
        if type(log).close_on_exec is glogging.Logger.close_on_exec:
            # Python has opened all log files so. Looking at every logger of the application
            # costs each worker 0.4 MB of what it shares.
            log.close_on_exec = _nothing
        app = _Application(self, cfg)
        self._gunicorn.workers.base.WorkerTmp = lambda cfg: _Heartbeat(self)
        self._last = _last_responses()
        if hasattr(self._class, "check_config"):
            self._class.check_config(cfg, log)
        beat = self.settings.beat or self.settings.timeout or 30
        worker = self._class(self.age, os.getppid(), [], app, beat, cfg, log)
        worker.tmp = _Heartbeat(self)
        self._arbiter = _Arbiter(self, cfg, log, app)
        self._made = worker

    def serve(self, load):
        """Runs the worker's loop in this thread."""
        gunicorn, cfg = self._gunicorn, self.cfg
        os.environ["SERVER_SOFTWARE"] = gunicorn.SERVER_SOFTWARE
        if self._made is None:
            self._make()
        worker, arbiter = self._made, self._arbiter
        try:
            self.age = int(os.environ.get("PREFORKD_WORKER_ID", "1"))
        except ValueError:
            self.age = 1
        worker.age = self.age
        worker.sockets = list(self.listeners)
        worker.app.preforkd_load = load
        arbiter.preforkd_begin(self)
        if self.agent.closing:
            self.close_responses()
        if self._class.notify is gunicorn.workers.base.Worker.notify:
            worker.notify = self.turn
        worker.pid = os.getpid()
        self._worker = worker
        if cfg.worker_abort is not cfg.settings["worker_abort"].default:
            self.abort_handler = worker.handle_abort
        try:
            cfg.post_fork(arbiter, worker)
            worker.init_process()
        finally:
            self._worker_exit(cfg, arbiter, worker, self._log)

    def _worker_exit(self, cfg, arbiter, worker, log):
        """The user's last hook; what it raises must not hide why the worker ended."""
        try:
            cfg.worker_exit(arbiter, worker)
        except Exception:
            log.exception("worker_exit hook")

    def wrap(self, app):
        """Checks the application and counts around it where the class needs that."""
        self.check(app)
        return self._worker.preforkd_wrap(app)

    def check(self, app):
        """A class that we know nothing about may have its own idea of an application."""
        if self.settings.kind == "asgi" or not self.own_term:
            super().check(app)

    def turn(self):
        """The worker's loop turns, often once per request: mostly there is nothing to do."""
        if self._posted or monotonic() >= self._due:
            self._work()

    def _work(self):
        """Something is due; the first time it is readiness."""
        while self._posted:
            self._posted.popleft()()
        if not self.agent.is_ready:
            self.agent.ready()
        if not self._beating:
            self._begin_beating()
        self._worker.preforkd_turn()
        due = self.agent.beat(self._worker.preforkd_healthy)
        if not (self.agent.draining or self._worker.preforkd_each_turn):
            self._due = due

    def _begin_beating(self):
        """asyncio workers beat by timers of the loop, which also turn while it drains."""
        self._beating = True
        asyncio = sys.modules.get("asyncio")
        loop = asyncio._get_running_loop() if asyncio is not None else None
        if loop is None or self.uvicorn_server is not None:
            return
        if self.aio is None:
            from ..aio import Loop
            self.aio = Loop(self.agent, loop)
        self.aio.start_beating()

    def post(self, function):
        """Runs function in the worker's loop, at its next turn."""
        if self.uvicorn_server is not None:
            self.uvicorn_server.post(function)
        elif self.aio is not None:
            self.aio.post(function)
        else:
            self._posted.append(function)
            if self._worker is not None:
                self._worker.preforkd_wake()

    def announce_drain(self):
        """Some classes need not wait for their loop."""
        if self._worker is not None:
            self._worker.preforkd_announce()

    def close_responses(self):
        """From now on, and not earlier: every request would pay for it."""
        for name, method in self._last.items():
            setattr(self._gunicorn.http.wsgi.Response, name, method)

    def announce_close(self):
        """Some classes have responses that do not look whether they are the last."""
        self._worker.preforkd_announce_close()

    def drain(self):
        """In the worker's loop, each turn of which counts from now on."""
        self._due = 0.0
        self._worker.preforkd_drain()

    def reopen(self):
        """gunicorn's log files, in a mold those that later workers get."""
        if self._log is not None:
            self._log.reopen_files()


def _last_responses():
    """What gunicorn's Response gets, by names, for responses to be the last of their connections.

    gunicorn reads what an application left of a request's body when the connection is kept. So it
    is done here: a socket that is closed with something to read resets the connection.
    """
    from gunicorn.http.wsgi import Response
    default_headers, close = Response.default_headers, Response.close

    def last_headers(response):
        """default_headers()"""
        if not response.must_close:
            response.force_close()
            response.preforkd_last = True
        return default_headers(response)

    def last_close(response):
        """close()"""
        close(response)
        if response.preforkd_last and not response.req.should_close():
            _read_out(response.req.body)

    return {"preforkd_last": False, "default_headers": last_headers, "close": last_close}


def _nothing():
    """Does nothing."""


def _read_out(body):
    """The rest of a request's body, which may end in any way."""
    try:
        while body.read(65536):
            pass
    except Exception:
        pass


def _essence(exc):
    """gunicorn puts whole tracebacks into the texts of its errors; only their last line helps."""
    lines = [line.strip() for line in str(exc).splitlines()]
    telling = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
    if telling:
        return telling[-1]
    return next((line for line in lines if line), type(exc).__name__)


create = GunicornServer
