# SPDX-License-Identifier: MIT
"""What the master tells a worker by its environment.

Everything is read once, checked, and taken out of os.environ, so that nothing that the application
starts believes that it was meant. PREFORKD_SLOT, PREFORKD_WORKER_ID and PREFORKD_GENERATION stay
for the application's use.
"""

import json
import os

from .errors import BootError

FIRST_FD = 3

# Gone from os.environ once read; the systemd ones are the master's own.
_PRIVATE = (
    "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "PREFORKD_CHANNEL", "PREFORKD_STDERR",
    "PREFORKD_SETTINGS", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
)

_NUMBER = (int, float)
_TEXT_OR_NONE = (str, type(None))

# name -> (accepted types, default)
_KNOWN = {
    "kind": (str, "wsgi"),
    "app": (str, ""),
    "worker_class": (str, "auto"),
    "threads": (int, 0),
    "worker_connections": (int, 0),
    "keepalive": (_NUMBER + (type(None),), None),
    "gunicorn_config": (_TEXT_OR_NONE, None),
    "server": (dict, {}),
    "pythonpath": (list, []),
    "workers": (int, 1),
    "timeout": (_NUMBER, 30.0),
    "graceful_timeout": (_NUMBER, 30.0),
    "drain_idle": (_NUMBER + (type(None),), None),
    "backlog": (int, 2048),
    "title": (str, ""),
    "limit": (int, 0),
    "beat": (_NUMBER, 0),
    "log_level": (str, "info"),
    "preload": (str, "no"),
    "warm_up": (list, []),
    "before_fork": (_TEXT_OR_NONE, None),
    "after_fork": (_TEXT_OR_NONE, None),
    "master": (int, 0),
    "worker_title": (str, ""),
}

# preforkd's levels in Python's words.
_LEVELS = {
    "debug": "debug", "info": "info", "notice": "info", "warning": "warning", "warn": "warning",
    "error": "error", "err": "error", "crit": "critical", "critical": "critical",
}


class Settings:
    """The settings of one worker as attributes; unknown ones are ignored, absent ones defaulted."""

    def __init__(self, values):
        """Checks the types of what the JSON held."""
        for name, (types, default) in _KNOWN.items():
            value = values.get(name, default)
            if not isinstance(value, types) or (
                    isinstance(value, bool) and bool not in (types if isinstance(types, tuple)
                                                             else (types,))):
                raise BootError("PREFORKD_SETTINGS: %s is %r" % (name, value))
            setattr(self, name, value)
        if self.kind not in ("wsgi", "asgi"):
            raise BootError("PREFORKD_SETTINGS: kind is %r" % self.kind)
        if self.preload not in ("no", "auto", "yes"):
            raise BootError("PREFORKD_SETTINGS: preload is %r" % self.preload)
        self.server = {str(k): str(v) for k, v in self.server.items()}
        self.warm_up = [str(word) for word in self.warm_up]
        self.log_level = _LEVELS.get(self.log_level.lower(), "info")


class Inherited:
    """Descriptors and settings that came with the environment; -1 stands for none."""

    def __init__(self, settings, listen_fds, channel, stderr):
        """Only holds what read_environment() found."""
        self.settings = settings
        self.listen_fds = listen_fds
        self.channel = channel
        self.stderr = stderr


def _number(text, name):
    """A number from the environment."""
    try:
        return int(text)
    except (TypeError, ValueError):
        raise BootError("%s=%s is not a number" % (name, text)) from None


def _listen_fds(values):
    """The inherited sockets, after a check that they are meant for this very process."""
    count = values.get("LISTEN_FDS")
    if not count:
        return []
    pid = values.get("LISTEN_PID")
    if pid and _number(pid, "LISTEN_PID") != os.getpid():
        raise BootError(
            "the sockets are meant for process %s, this is %d: the setting 'python' must name the "
            "interpreter itself, not a program that starts it as a child" % (pid, os.getpid()))
    return list(range(FIRST_FD, FIRST_FD + _number(count, "LISTEN_FDS")))


def take_channel():
    """The channel's descriptor, first of all, so that every later error can be told; or -1."""
    text = os.environ.pop("PREFORKD_CHANNEL", None)
    try:
        fd = int(text) if text else -1
        if fd >= 0:
            os.set_inheritable(fd, False)
        return fd
    except (ValueError, OSError):
        return -1


def read_environment(channel):
    """All that the master passed on, as Inherited. Raises BootError."""
    values = {name: os.environ.pop(name, None) for name in _PRIVATE}
    stderr = values["PREFORKD_STDERR"]
    stderr = _number(stderr, "PREFORKD_STDERR") if stderr else -1
    fds = _listen_fds(values)
    try:
        for fd in fds + ([stderr] if stderr >= 0 else []):
            os.set_inheritable(fd, False)
    except OSError as exc:
        raise BootError("an inherited descriptor is missing: %s" % exc) from None
    try:
        parsed = json.loads(values["PREFORKD_SETTINGS"] or "{}")
    except ValueError as exc:
        raise BootError("PREFORKD_SETTINGS is not JSON: %s" % exc) from None
    if not isinstance(parsed, dict):
        raise BootError("PREFORKD_SETTINGS is not a JSON object")
    return Inherited(Settings(parsed), fds, channel, stderr)
