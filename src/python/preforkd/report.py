# SPDX-License-Identifier: MIT
"""What the worker is doing right now: stacks of all threads, asyncio tasks and greenlets.

Built in the channel's thread, so that it works while a request hangs; only reads, and every part is
bounded and may fail without harm to the others.
"""

import gc
import os
import sys
import threading
import traceback

TEXT_MAX = 60000
_MAX_TASKS = 100
_MAX_DEPTH = 60


def _head(agent):
    """Who we are and what the counts say."""
    settings, server, counter = agent.settings, agent.server, agent.counter
    state = "draining" if agent.draining else "serving" if agent.is_ready else "booting"
    lines = ["worker %d, %s, %s, Python %s" % (
        os.getpid(), server.version if server is not None else "no server yet", state,
        sys.version.split()[0])]
    if settings is not None:
        lines.append("application %s" % settings.app)
    line = "%d requests completed, %d in flight" % (counter.done, counter.busy)
    oldest = counter.oldest_seconds()
    if oldest is not None:
        line += ", the oldest for %.1f s" % oldest
    lines.append(line)
    return "\n".join(lines) + "\n"


def _stack(frame):
    """One stack, innermost call last, as in a traceback."""
    return "".join(traceback.format_stack(frame, _MAX_DEPTH))


def _threads():
    """All threads but the one that writes this."""
    names = {t.ident: t.name for t in list(getattr(threading, "_active", {}).values())}
    own = threading.get_ident()
    main = threading.main_thread().ident
    parts = []
    for ident, frame in sorted(sys._current_frames().items(), key=lambda item: item[0] != main):
        if ident != own:
            parts.append("\nthread %s (%d):\n%s" % (names.get(ident, "?"), ident, _stack(frame)))
    return "".join(parts)


def _await_chain(coro):
    """The frames of a suspended coroutine and of those that it waits for."""
    lines = []
    for _ in range(_MAX_DEPTH):
        frame = next((f for f in (getattr(coro, name, None) for name in
                                  ("cr_frame", "gi_frame", "ag_frame")) if f is not None), None)
        if frame is None:
            break
        lines.extend(traceback.format_stack(frame, 1))
        coro = next((c for c in (getattr(coro, name, None) for name in
                                 ("cr_await", "gi_yieldfrom", "ag_await")) if c is not None), None)
    return "".join(lines)


def _tasks(loop):
    """The tasks of the asyncio loop."""
    asyncio = sys.modules.get("asyncio")
    if loop is None or asyncio is None:
        return ""
    tasks = list(asyncio.all_tasks(loop))
    parts = []
    for task in tasks[:_MAX_TASKS]:
        parts.append("\ntask %s:\n%s" % (task.get_name(), _await_chain(task.get_coro())))
    if len(tasks) > _MAX_TASKS:
        parts.append("\n%d more tasks\n" % (len(tasks) - _MAX_TASKS))
    return "".join(parts)


def _greenlets():
    """The greenlets that wait, where gevent is in use."""
    greenlet = sys.modules.get("greenlet")
    if "gevent" not in sys.modules or greenlet is None:
        return ""
    parts, count = [], 0
    for thing in gc.get_objects():
        if isinstance(thing, greenlet.greenlet) and thing.gr_frame is not None:
            count += 1
            if count <= _MAX_TASKS:
                parts.append("\ngreenlet %s:\n%s" % (
                    type(thing).__name__, _stack(thing.gr_frame)))
    if count > _MAX_TASKS:
        parts.append("\n%d more greenlets\n" % (count - _MAX_TASKS))
    return "".join(parts)


def build(agent):
    """The whole text, cut at TEXT_MAX."""
    text = ""
    for part in (lambda: _head(agent), _threads, lambda: _tasks(agent.loop), _greenlets):
        try:
            text += part()
        except Exception as exc:
            text += "\n(not available: %r)\n" % exc
    if len(text) > TEXT_MAX:
        text = text[:TEXT_MAX] + "\n(cut)\n"
    return text
