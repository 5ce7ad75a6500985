# SPDX-License-Identifier: MIT
"""Which server serves: worker-class, or the first one that is installed."""

import importlib
from importlib.util import find_spec

from ..errors import BootError

# worker-class -> module here; everything else is a class of gunicorn's.
_OWN = {"waitress": "waitress", "stdlib": "stdlib", "uvicorn": "uvicorn", "hypercorn": "hypercorn"}

# In order of preference: package, worker-class.
_AUTO = {
    "asgi": (("uvicorn", "uvicorn"), ("hypercorn", "hypercorn")),
    "wsgi": (("gunicorn", "gthread"), ("waitress", "waitress")),
}

_GEVENT = ("gevent", "gevent_wsgi", "gevent_pywsgi")


def _installed(package):
    """True when the package can be found; nothing is imported."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _nothing_installed(kind):
    """Says what to install, in Debian's words and in pip's."""
    import sys
    packages = [package for package, _ in _AUTO[kind]]
    text = "no %s server is installed for %s: install %s (Debian: %s; pip install %s)" % (
        kind.upper(), sys.executable, " or ".join(packages),
        " or ".join("python3-%s" % p for p in packages), " or ".join(packages))
    if kind == "wsgi":
        text += "; for a trial there is worker-class = stdlib"
    return BootError(text)


def resolve(settings):
    """The worker-class with 'auto' replaced. Raises BootError."""
    if settings.worker_class != "auto":
        return settings.worker_class
    for package, name in _AUTO[settings.kind]:
        if _installed(package):
            return name
    raise _nothing_installed(settings.kind)


def patch_early(worker_class):
    """gevent has to replace parts of the standard library before they are used."""
    if worker_class in _GEVENT or ".ggevent." in worker_class:
        try:
            from gevent import monkey
        except ImportError as exc:
            raise BootError("worker-class %s needs gevent (%s): install python3-gevent, or "
                            "pip install gevent" % (worker_class, exc)) from None
        monkey.patch_all()


def create(worker_class, agent, settings, listeners):
    """The server for a resolved worker-class, not prepared yet."""
    module = importlib.import_module("." + _OWN.get(worker_class, "gunicorn"), __name__)
    settings.worker_class = worker_class
    return module.create(agent, settings, listeners)


def not_installed(package, exc, worker_class):
    """The error for a server that was asked for by name."""
    if isinstance(exc, ModuleNotFoundError) and exc.name == package:
        return BootError("worker-class %s needs %s: install python3-%s (Debian), or "
                         "pip install %s" % (worker_class, package, package, package))
    return BootError("worker-class %s: %s cannot be imported: %s" % (worker_class, package, exc))
