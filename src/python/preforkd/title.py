# SPDX-License-Identifier: MIT
"""A telling name in ps(1): best effort, and silent when it does not work.

The kernel shows the memory where the arguments of exec were copied to; it is overwritten in place,
by way of /proc/self/mem (proc_pid_mem(5)), and only when the title fits, because nothing behind it
is ours.
"""

import os

COMM_MAX = 15

_known = []


def _file(path, flags, function, *args):
    """What a function of os does with a file; objects of open() would take pages of memory from
    what a forked worker shares with its mold.
    """
    fd = os.open(path, flags)
    try:
        return function(fd, *args)
    finally:
        os.close(fd)


def _argument_memory():
    """Start and length of the memory that holds the arguments, by /proc/self/stat; the same after
    a fork.
    """
    if not _known:
        # The second field is the name in parentheses, which may hold anything.
        fields = _file("/proc/self/stat", os.O_RDONLY, os.read, 4096).rpartition(b")")[2].split()
        _known.append((int(fields[45]), int(fields[46]) - int(fields[45])))
    return _known[0]


def _overwrite(title):
    """Puts title in the place of the arguments, the rest is zeroed."""
    data = title.encode("utf-8", "replace")
    start, size = _argument_memory()
    if start <= 0 or not 0 < len(data) < size:
        return
    _file("/proc/self/mem", os.O_RDWR, os.pwrite, data + bytes(size - len(data)), start)


def _set_comm(name):
    """The short name of this thread, which is the process's in top(1)."""
    _file("/proc/self/comm", os.O_WRONLY, os.write, name.encode()[:COMM_MAX])


def set_title(title):
    """Names the process; failure changes nothing."""
    if not title:
        return
    try:
        slot = os.environ.get("PREFORKD_SLOT")
        _set_comm("preforkd-mold" if slot is None else "preforkd-w" + slot)
        _overwrite(title)
    except Exception:
        pass
