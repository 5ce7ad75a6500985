# SPDX-License-Identifier: MIT
"""A telling name in ps(1): best effort, and silent when it does not work.

The kernel shows the memory where the arguments of exec were copied to; it is overwritten in place,
by way of /proc/self/mem (proc_pid_mem(5)), and only when the title fits, because nothing behind it
is ours.
"""

import os

COMM_MAX = 15


def _argument_memory():
    """Start and length of the memory that holds the arguments, by /proc/self/stat."""
    with open("/proc/self/stat", "rb") as stat:
        # The second field is the name in parentheses, which may hold anything.
        fields = stat.read().rpartition(b")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    return start, end - start


def _overwrite(title):
    """Puts title in the place of the arguments, the rest is zeroed."""
    data = title.encode("utf-8", "replace")
    start, size = _argument_memory()
    if start <= 0 or not 0 < len(data) < size:
        return
    with open("/proc/self/mem", "r+b", 0) as memory:
        memory.seek(start)
        memory.write(data + bytes(size - len(data)))


def _set_comm(name):
    """The short name of this thread, which is the process's in top(1)."""
    with open("/proc/self/comm", "wb", 0) as comm:
        comm.write(name.encode()[:COMM_MAX])


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
