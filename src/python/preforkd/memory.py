# SPDX-License-Identifier: MIT
"""The memory of this process as the kernel tells it."""

import os

_ROLLUP = "/proc/self/smaps_rollup"
_OWN = (b"Private_Dirty:", b"Private_Hugetlb:")


def open_rollup():
    """A descriptor for the master, which may not look into processes of another user; or -1.

    Who opens it is asked for the right to read it, and nobody later. To be called after the last
    exec or fork: it belongs to the address space of this moment.
    """
    try:
        return os.open(_ROLLUP, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def keep_large_buffers():
    """Lets malloc keep blocks of 256 kB instead of giving each back to the system at once.

    asyncio receives into a new buffer of that size, which is then cut to what has come. glibc maps
    such a block by itself, so that each receipt of data costs two page faults and three system
    calls, until it has freed a larger one: mallopt(3), M_MMAP_THRESHOLD, is adjusted then. A fork
    keeps that.
    """
    bytearray(320 << 10)


def _read(path):
    """A file of /proc, past the layers that an application may have put over open()."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 8192)
    finally:
        os.close(fd)


def own():
    """Private bytes that would come back to the machine; RSS on kernels before 4.14.

    Less than the USS by what is clean: pages of files, which become private, or cease to be, when
    another process that runs the same interpreter ends or starts.
    """
    try:
        return 1024 * sum(int(line.split()[1]) for line in _read(_ROLLUP).splitlines()
                          if line.startswith(_OWN))
    except (OSError, ValueError, IndexError):
        pass
    try:
        return int(_read("/proc/self/statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def human(size):
    """Bytes for people, as preforkctl writes them."""
    for unit in ("", "K", "M", "G"):
        if size < 1024 or unit == "G":
            break
        size /= 1024.0
    return "%.1f%s" % (size, unit) if unit else "%d" % size
