# SPDX-License-Identifier: MIT
"""Finding the application: "module:object", "module:factory()" with literal arguments.

Raises BootError with a text that says what to write instead; exceptions of the application's own
code come as they are.
"""

import ast
import difflib
import importlib
import inspect
import os

from .errors import BootError, describe, path_note

DEFAULT_NAME = "application"


class _Reference:
    """A parsed "module:expression"."""

    def __init__(self, module, names, args, kwargs):
        """args is None when the object itself is the application."""
        self.module = module
        self.names = names
        self.args = args
        self.kwargs = kwargs


def _names_of(node):
    """['a', 'b'] for the expression a.b, None for anything else."""
    names = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return [node.id] + names


def _parse(spec):
    """Takes a reference to pieces without evaluating anything."""
    module, _, text = spec.partition(":")
    module, text = module.strip(), text.strip() or DEFAULT_NAME
    if module.endswith(".py") or "/" in module:
        better = module[:-3] if module.endswith(".py") else module
        raise BootError("%r names a file: write the module, %s:%s"
                        % (spec, better.strip("/").replace("/", "."), text))
    if not module or not all(part.isidentifier() for part in module.split(".")):
        raise BootError("%r is no module: write module:object, or module:factory()" % spec)
    try:
        node = ast.parse(text, mode="eval").body
    except SyntaxError:
        raise BootError("%r: %r is neither a name nor a call" % (spec, text)) from None
    args = kwargs = None
    if isinstance(node, ast.Call):
        try:
            args = [ast.literal_eval(arg) for arg in node.args]
            kwargs = {word.arg: ast.literal_eval(word.value) for word in node.keywords}
        except (ValueError, TypeError, SyntaxError):
            raise BootError("%r: the arguments of a factory must be literals" % spec) from None
        if None in kwargs:
            raise BootError("%r: the arguments of a factory must be literals" % spec)
        node = node.func
    names = _names_of(node)
    if names is None:
        raise BootError("%r: %r is neither a name nor a call" % (spec, text))
    return _Reference(module, names, args, kwargs)


def _import(name):
    """Imports the module; a missing one is told with where it was looked for."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        missing = exc.name or ""
        if name != missing and not name.startswith(missing + "."):
            raise
        text = "there is no module %r" % missing
        if missing != name:
            text += " (for %r)" % name
        hint = _similar_files(missing)
        if hint:
            text += "; did you mean %s?" % hint
        raise BootError(text + "\n" + path_note()) from None


def _similar_files(name):
    """Modules of the working directory that sound alike."""
    try:
        found = {entry[:-3] if entry.endswith(".py") else entry for entry in os.listdir(".")
                 if entry.endswith(".py") or os.path.isdir(entry)}
    except OSError:
        return ""
    return " or ".join(difflib.get_close_matches(name.split(".")[0], sorted(found), 2))


def _resolve(module, reference):
    """The object with the reference's dotted name."""
    found, path = module, reference.module
    for name in reference.names:
        try:
            found = getattr(found, name)
        except AttributeError:
            raise BootError(_no_attribute(found, path, name)) from None
        path += "." + name
    return found


def _no_attribute(owner, path, name):
    """Says what is there instead."""
    text = "%s has no attribute %r" % (path, name)
    origin = getattr(owner, "__file__", None)
    if origin:
        text += " (%s)" % origin
    public = [n for n in dir(owner) if not n.startswith("_")]
    near = difflib.get_close_matches(name, public, 3)
    likely = [n for n in ("app", "application", "asgi", "create_app", "make_app") if n in public]
    names = near or likely
    if names:
        text += "; it has %s" % ", ".join(names)
    return text


def load(spec):
    """The application object of "module:object" or "module:factory()"."""
    reference = _parse(spec)
    module = _import(reference.module)
    app = _resolve(module, reference)
    name = "%s:%s" % (reference.module, ".".join(reference.names))
    if reference.args is not None:
        if not callable(app):
            raise BootError("%s is no factory: it cannot be called" % name)
        try:
            inspect.signature(app).bind(*reference.args, **reference.kwargs)
        except TypeError as exc:
            raise BootError("%s does not take these arguments: %s" % (name, exc)) from None
        except ValueError:
            pass
        app = app(*reference.args, **reference.kwargs)
        if app is None:
            raise BootError("%s() returned None" % name)
    if not callable(app):
        raise BootError("%s is not an application: %s cannot be called"
                        % (name, type(app).__name__))
    return app


def _accepts(app, count):
    """True when the callable takes count positional arguments; None when nobody knows."""
    try:
        inspect.signature(app).bind(*([None] * count))
        return True
    except TypeError:
        return False
    except ValueError:
        return None


def is_coroutine_app(app):
    """True for an ASGI 3 application that is a coroutine function or has such a __call__."""
    if inspect.isclass(app):
        return False
    call = getattr(app, "__call__", None)
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(call)


def is_double_callable(app):
    """True for an ASGI 2 application: app(scope) gives what takes receive and send."""
    if is_coroutine_app(app):
        return False
    return _accepts(app, 1) is True and _accepts(app, 3) is False


def check_kind(app, kind, spec):
    """An ASGI application under wsgi =, or the other way round, fails late and obscurely."""
    if kind == "wsgi" and is_coroutine_app(app) and _accepts(app, 2) is not True:
        raise BootError("%s is an ASGI application: write asgi = %s" % (spec, spec))
    if kind == "asgi" and not is_coroutine_app(app) and not inspect.isclass(app) and (
            _accepts(app, 2) is True and not _accepts(app, 3) and not _accepts(app, 1)):
        raise BootError("%s is a WSGI application: write wsgi = %s" % (spec, spec))


def function(spec, setting):
    """The function "module:function" that a setting names. Raises BootError."""
    try:
        reference = _parse(spec)
        if reference.args is not None or ":" not in spec:
            raise BootError("%r is no function: write module:function" % spec)
        found = _resolve(_import(reference.module), reference)
    except BootError as exc:
        raise BootError("%s = %s: %s" % (setting, spec, exc)) from None
    except BaseException as exc:
        raise BootError(describe(exc, "%s = %s" % (setting, spec))) from None
    if not callable(found):
        raise BootError("%s = %s: %s cannot be called" % (setting, spec, type(found).__name__))
    return found


def call_hook(hook, spec, setting):
    """Calls a function of the operator's, in no event loop. Raises BootError."""
    try:
        result = hook()
    except BaseException as exc:
        raise BootError(describe(exc, "%s = %s failed" % (setting, spec))) from None
    if inspect.iscoroutine(result):
        result.close()
        raise BootError("%s = %s is a coroutine function, and no loop runs yet: it must be an "
                        "ordinary one" % (setting, spec))


def loaded(app, settings):
    """The application is there: calls what the operator wants to be called in every worker."""
    if settings.after_fork is not None:
        call_hook(function(settings.after_fork, "after-fork"), settings.after_fork, "after-fork")
    return app
