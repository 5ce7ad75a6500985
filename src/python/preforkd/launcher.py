# SPDX-License-Identifier: MIT
"""From exec to the end: environment, settings, server, application, serving, exit.

Exit status 0 after a drain or SIGTERM, 1 for everything else; why it is 1 was told to the master as
ERROR= and, with the whole traceback, to standard error.
"""

import atexit
import functools
import os
import sys

from . import application, errors, listeners, servers, settings, signals, title, wrap
from .agent import Agent
from .channel import Channel

# A worker that failed while serving may take this long for its exit handlers.
_CRASH_GRACE = 5.0


def _set_path(pythonpath):
    """The working directory first, then pythonpath, as with gunicorn."""
    try:
        cwd = os.getcwd()
    except OSError as exc:
        raise errors.BootError("the working directory is gone: %s" % exc) from None
    wanted = [cwd] + [os.path.abspath(path) for path in pythonpath]
    sys.path[:] = wanted + [path for path in sys.path if path not in wanted]


def _line_buffered():
    """What the application prints reaches the log at once, although it is no terminal."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.reconfigure(line_buffering=True)
        except (AttributeError, ValueError):
            pass


def _better(agent, exc):
    """Servers only log why a lifespan startup failed, and end; the application's word is better."""
    said = agent.lifespan_error
    raised = agent.lifespan_raised
    if said is None and raised is not None and isinstance(exc, (SystemExit, _Ended)):
        said = wrap.lifespan_text(errors.format_exception(raised))
    return errors.BootError(said) if said is not None else exc


class _Ended(errors.BootError):
    """The server ended without an error, and before it served."""


def _fail(agent, exc):
    """Tells why, and ends. Never returns."""
    doing = None
    if not agent.is_ready:
        exc = _better(agent, exc)
    if not isinstance(exc, errors.BootError):
        sys.stderr.write(errors.format_exception(exc))
        if agent.settings is not None and not agent.is_ready:
            doing = "starting %s failed" % agent.settings.app
    text = errors.describe(exc, doing)
    if isinstance(exc, errors.BootError) or not agent.channel.is_open:
        sys.stderr.write("preforkd: %s\n" % text)
    agent.channel.send_text("ERROR", text, True)
    agent.exit_code = 1
    if not agent.is_ready:
        # Threads that the application started may never end; nothing is in flight.
        errors.flush()
        os._exit(1)
    agent.end_within(_CRASH_GRACE)
    errors.flush()
    sys.exit(1)


def _boot(agent, channel_fd, is_mold):
    """Everything up to the server, which is returned; a mold has no thread and no sockets."""
    inherited = settings.read_environment(channel_fd)
    chosen = inherited.settings
    agent.configure(chosen, inherited.stderr)
    title.set_title(chosen.title)
    _set_path(chosen.pythonpath)
    sys.argv[:] = ["preforkd"]
    worker_class = servers.resolve(chosen)
    servers.patch_early(worker_class)
    sockets = []
    if not is_mold:
        agent.start()
        sockets = listeners.adopt(inherited.listen_fds)
    agent.server = servers.create(worker_class, agent, chosen, sockets)
    agent.server.prepare()
    return agent.server


def _leave(code, files):
    """Ends a worker that a mold has forked. Never returns.

    What the interpreter would do at its end is done: threads, exit functions, buffers of files.
    Only the modules are not taken apart: that writes to every object of the application, so that
    the kernel would have to copy all the memory that is shared with the mold, just to free it.
    """
    threading = sys.modules.get("threading")
    for function in (getattr(threading, "_shutdown", None), atexit._run_exitfuncs):
        try:
            if function is not None:
                function()
        except BaseException as exc:
            sys.stderr.write(errors.format_exception(exc))
    errors.flush(files())
    os._exit(code)


def _status(exc):
    """The exit status that the interpreter would make of SystemExit."""
    if exc.code is None or isinstance(exc.code, int):
        return (exc.code or 0) & 0xFF
    sys.stderr.write("%s\n" % (exc.code,))
    return 1


def _mold():
    """The module, which must be imported before gevent patches anything."""
    from . import mold
    return mold


def _load(agent):
    """The application, and the operator's function that is called in every worker."""
    return application.loaded(application.load(agent.settings.app), agent.settings)


def main():
    """Runs a worker until its end; or a mold, and each worker that it forks."""
    mold = _mold() if sys.argv[1:2] == ["mold"] else None
    channel_fd = settings.take_channel()
    agent = Agent(Channel(channel_fd), "worker" if mold is None else "mold")
    try:
        signals.quiet()
        _line_buffered()
        server = _boot(agent, channel_fd, mold is not None)
        load = functools.partial(_load, agent) if mold is None else mold.run(agent)
        try:
            server.serve(load)
        finally:
            agent.finish()
        if not agent.is_ready:
            raise _Ended("%s ended before it served" % server.version)
    except SystemExit as exc:
        if not agent.is_ready:
            _fail(agent, exc)
        if mold is not None:
            _leave(_status(exc), mold.files)
        raise
    except BaseException as exc:
        _fail(agent, exc)
    if mold is not None:
        _leave(agent.exit_code, mold.files)
    errors.flush()
    sys.exit(agent.exit_code)
