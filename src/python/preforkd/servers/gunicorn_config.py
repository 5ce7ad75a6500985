# SPDX-License-Identifier: MIT
"""gunicorn's settings without gunicorn's command line.

Sources, the later one wins: gunicorn's defaults, the file of gunicorn-config, section [server], and
what preforkd decides. Neither ./gunicorn.conf.py nor GUNICORN_CMD_ARGS is read.
"""

import importlib.util
import math
import os
import sys

from .. import options
from ..errors import BootError, format_exception, last_line, shorten

_HOOK = "it is a hook of gunicorn's master, which does not run"
_RELOAD = "use preforkctl reload"
_DIRTY = "gunicorn's dirty workers are not supported"
_CONTROL = options.use("control")

# What preforkd does in gunicorn's place.
OWNED = {
    "bind": options.use("listen"), "backlog": options.use("backlog"),
    "workers": options.use("workers"), "worker_class": options.use("worker-class"),
    "threads": options.use("threads"), "worker_connections": options.use("worker-connections"),
    "keepalive": options.use("keepalive"), "max_requests": options.use("max-requests"),
    "max_requests_jitter": options.use("max-requests-jitter"),
    "timeout": options.use("timeout"), "graceful_timeout": options.use("graceful-timeout"),
    "preload_app": options.use("preload"), "reuse_port": options.use("balance"),
    "chdir": options.use("chdir"), "raw_env": "use section [env]",
    "pythonpath": options.use("pythonpath"), "pidfile": options.use("pidfile"),
    "user": options.use("user"), "group": options.use("group"), "umask": options.use("umask"),
    "initgroups": "it follows from user in section [preforkd]",
    "daemon": "preforkd stays in the foreground, use systemd",
    "worker_tmp_dir": "heartbeats need no file", "proc_name": "the ini file's name is used",
    "default_proc_name": "the ini file's name is used",
    "reload": _RELOAD, "reload_engine": _RELOAD, "reload_extra_files": _RELOAD,
    "config": options.use("gunicorn-config"), "wsgi_app": options.use("wsgi"),
    "paste": options.use("wsgi"), "raw_paste_global_conf": options.use("wsgi"),
    "check_config": "use preforkd --check", "print_config": "use preforkd --show-settings",
    "spew": "it is not supported", "enable_backlog_metric": "use status-listen",
    "control_socket": _CONTROL, "control_socket_mode": _CONTROL,
    "control_socket_disable": _CONTROL,
    "dirty_apps": _DIRTY, "dirty_workers": _DIRTY, "dirty_timeout": _DIRTY,
    "dirty_threads": _DIRTY, "dirty_graceful_timeout": _DIRTY, "dirty_post_fork": _DIRTY,
    "dirty_worker_init": _DIRTY, "dirty_worker_exit": _DIRTY, "on_dirty_starting": _DIRTY,
    "on_starting": _HOOK, "on_reload": _HOOK, "when_ready": _HOOK, "pre_fork": _HOOK,
    "pre_exec": _HOOK, "nworkers_changed": _HOOK, "on_exit": _HOOK,
    "child_exit": options.use("on-worker-exit"),
    "worker_int": "workers get no SIGINT, use worker_exit",
}

# In a gunicorn file these are defaults for the keys of the ini.
_FROM_FILE = ("threads", "worker_connections", "keepalive", "raw_env", "pythonpath")

DEFAULT_THREADS = 4


def _is_bool(setting):
    """True for settings that are yes or no."""
    return getattr(setting.validator, "__name__", "") == "validate_bool"


def _converter(cfg):
    """convert(name, text) by gunicorn's own validators, on a copy."""
    def convert(name, text):
        """The value that Config.set() takes."""
        setting = cfg.settings[name]
        kind = getattr(setting.validator, "__name__", "")
        if _is_bool(setting):
            value = options.as_bool(text)
        elif kind == "validate_dict":
            value = options.as_literal(text)
        elif name == "cert_reqs":
            value = options.as_constant("CERT_")(text)
        else:
            value = text
        try:
            setting.copy().set(value)
        except Exception as exc:
            raise ValueError(str(exc)) from None
        return value
    return convert


def _read_file(path):
    """The names that a gunicorn configuration file defines."""
    try:
        spec = importlib.util.spec_from_file_location("__config__", path)
        if spec is None:
            from importlib.machinery import SourceFileLoader
            loader = SourceFileLoader("__config__", path)
            spec = importlib.util.spec_from_file_location("__config__", path, loader=loader)
        module = importlib.util.module_from_spec(spec)
        sys.modules["__config__"] = module
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as exc:
        raise BootError(shorten("gunicorn-config %s: %s" % (path, last_line(exc)),
                                format_exception(exc).rstrip())) from None
    return vars(module)


def _apply_file(cfg, path):
    """Applies a file; returns the settings in it that preforkd owns."""
    not_applied = []
    for name, value in _read_file(path).items():
        if name not in cfg.settings:
            continue
        if name in OWNED and name not in _FROM_FILE:
            not_applied.append(name)
            continue
        try:
            cfg.set(name, value)
        except Exception as exc:
            raise BootError("gunicorn-config %s: %s = %r: %s" % (path, name, value, exc)) from None
    return not_applied


def _whole(seconds):
    """gunicorn counts whole seconds; a little is not nothing."""
    return int(math.ceil(seconds))


def build(settings, version, say):
    """gunicorn's Config for one worker. Raises BootError."""
    from gunicorn.config import Config
    cfg = Config(prog="preforkd")
    cfg.set("loglevel", settings.log_level)
    file_names = ()
    if settings.gunicorn_config:
        file_names = _apply_file(cfg, settings.gunicorn_config)
    values = options.collect(settings.server, OWNED, cfg.settings, _converter(cfg), version)
    for name, value in values.items():
        cfg.set(name, value)
    _set_preforkd(cfg, settings)
    if file_names:
        say("gunicorn-config %s: these settings do not apply: %s" % (
            settings.gunicorn_config,
            "; ".join("%s (%s)" % (name, OWNED[name]) for name in sorted(file_names))))
    return cfg


def _set_preforkd(cfg, settings):
    """What preforkd decides."""
    values = {
        "worker_class": settings.worker_class, "workers": max(1, settings.workers),
        "backlog": settings.backlog, "default_proc_name": settings.app,
        "timeout": _whole(settings.timeout), "graceful_timeout": _whole(settings.graceful_timeout),
        "max_requests": 0, "max_requests_jitter": 0, "preload_app": False, "reuse_port": False,
        "reload": False, "daemon": False, "pidfile": None, "control_socket_disable": True,
        "chdir": os.getcwd(),
    }
    if settings.threads:
        values["threads"] = settings.threads
    elif cfg.threads <= 1 and settings.worker_class == "gthread":
        values["threads"] = DEFAULT_THREADS
    if settings.worker_connections:
        values["worker_connections"] = settings.worker_connections
    if settings.keepalive is not None:
        values["keepalive"] = _whole(settings.keepalive)
    for name, value in values.items():
        if name in cfg.settings:
            cfg.set(name, value)
    if cfg.pythonpath:
        for path in cfg.pythonpath.split(","):
            path = os.path.abspath(path)
            if path not in sys.path:
                sys.path.insert(1, path)
