# SPDX-License-Identifier: MIT
"""Why a worker could not boot, in words that help.

A BootError is a failure that we understood: its text says all there is to say. Any other exception
is described by its summary and the tail of its traceback, without the launcher's own frames.
"""

import os
import sys
import traceback

PACKAGE = os.path.dirname(os.path.abspath(__file__))

# Room in a datagram of 4096 bytes, escapes included, so that the end of a traceback survives.
TEXT_MAX = 3600


def flush(files=()):
    """Standard streams, whatever the application made of them, and more."""
    for stream in (*files, sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass


class BootError(Exception):
    """The worker cannot boot, for a reason that the text explains; its first line is a summary."""


def _is_ours(frame):
    """True for frames of the launcher and of the import system."""
    name = frame.f_code.co_filename
    return name.startswith(PACKAGE + os.sep) or name.startswith("<frozen importlib") or (
        os.sep + "importlib" + os.sep + "__init__" in name)


def visible_traceback(tb):
    """The traceback from the first frame that is not ours; all of it when there is none."""
    first = tb
    while first is not None and _is_ours(first.tb_frame):
        first = first.tb_next
    return first if first is not None else tb


def format_exception(exc):
    """The traceback as Python prints it, without the launcher's frames."""
    tb = visible_traceback(exc.__traceback__)
    return "".join(traceback.format_exception(type(exc), exc, tb))


def last_line(exc):
    """The last line of what Python prints for an exception: type and text."""
    lines = traceback.format_exception_only(type(exc), exc)
    return lines[-1].strip() if lines else type(exc).__name__


def where(exc):
    """' (file:line)' of the innermost visible frame, or ''."""
    if isinstance(exc, SyntaxError) and exc.filename:
        return " (%s:%s)" % (exc.filename, exc.lineno)
    tb = visible_traceback(exc.__traceback__)
    if tb is None or _is_ours(tb.tb_frame):
        return ""
    while tb.tb_next is not None:
        tb = tb.tb_next
    return " (%s:%d)" % (tb.tb_frame.f_code.co_filename, tb.tb_lineno)


def path_note():
    """Where modules are looked for: working directory and sys.path."""
    try:
        cwd = os.getcwd()
    except OSError as exc:
        cwd = "unknown (%s)" % exc
    return "working directory: %s\nsys.path: %s" % (cwd, ", ".join(repr(p) for p in sys.path))


def missing_module(exc):
    """The first ModuleNotFoundError among an exception, its causes and contexts, or None."""
    seen = set()
    while exc is not None and id(exc) not in seen:
        if isinstance(exc, ModuleNotFoundError):
            return exc
        seen.add(id(exc))
        exc = exc.__cause__ or exc.__context__
    return None


def shorten(head, tail, limit=TEXT_MAX):
    """head and as much of the end of tail as fits, cut between lines."""
    head = head[:limit]
    room = limit - len(head) - 1
    if not tail or room < 80:
        return head
    if len(tail) > room:
        tail = tail[len(tail) - room + 4:]
        tail = "...\n" + tail[tail.find("\n") + 1:]
    return head + "\n" + tail


def describe(exc, doing=None):
    """The text of ERROR= for any exception: a one-line summary, then what helps to find it."""
    if isinstance(exc, BootError):
        return shorten(str(exc), "")
    summary = last_line(exc) + where(exc)
    if isinstance(exc, SystemExit):
        summary = "the process was ended by SystemExit(%r)%s" % (exc.code, where(exc))
    if doing:
        summary = "%s: %s" % (doing, summary)
    head = " ".join(summary.split())
    if missing_module(exc) is not None:
        head += "\n" + path_note()
    return shorten(head, format_exception(exc).rstrip())
