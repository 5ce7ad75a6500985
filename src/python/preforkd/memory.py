# SPDX-License-Identifier: MIT
"""The memory of this process: what the kernel tells of it, how a mold leaves it."""

import os

_ROLLUP = "/proc/self/smaps_rollup"
_OWN = (b"Private_Dirty:", b"Private_Hugetlb:")

# What settle() may take of the memory that the process has: a part in so many.
_FILLED_PART = 50

# Allocations that follow each other, each with so many bytes of malloc's own, are in no hole.
_ROW = 3
_HEAD = 8


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


def malloc_trim():
    """What gives free memory of the C library back, or None where there is no such thing (musl)."""
    function = of_libc("malloc_trim")
    return None if function is None else lambda: function((0,))


def of_libc(name):
    """A function of a tuple of small integers to an int, or None.

    Past the package ctypes, which would take as much memory as many a trim gives back.
    """
    try:
        import _ctypes
        address = _ctypes.dlsym(_ctypes.dlopen(None, os.RTLD_NOW), name)
        return lambda numbers: _ctypes.call_function(address, numbers)
    except (ImportError, AttributeError, OSError):
        return None


def settle():
    """Before gc.freeze() and forks: what is free is given back, or is no hole among what is used.

    An allocator gives out what was freed of a size, as long as there is any, wherever it is
    (Objects/obmalloc.c; malloc's bins): a worker would copy a page that it shares for each such
    hole. So they are filled, and what workers allocate lies together. Places that follow each other
    tell that no more holes of a size are left; other allocators are met by a limit.
    """
    trim = malloc_trim()
    if trim is not None:
        trim()
    room = _fill(_keep(), range(512, 0, -16), own() // _FILLED_PART)
    malloc = of_libc("malloc")
    if malloc is not None:
        # What it returns is cut to an int, which does for a comparison.
        _fill(lambda size: malloc((size,)), range(520, 8, -16), room)


def _keep():
    """Makes an object of a size that is never freed: its place.

    Not even at the end of the process: the list is in a cycle, which gc.freeze() puts out of reach.
    """
    kept = []
    kept.append(kept)

    def keep(size):
        """A class of pymalloc's; bytes have a head of 33 bytes."""
        if size > 32:
            kept.append(bytes(size - 33))
        else:
            kept.append(object() if size == 16 else float(len(kept)))
        return id(kept[-1])
    return keep


def _fill(allocate, sizes, room):
    """Allocates until there are no holes of these sizes, or no room: the bytes that are left."""
    for size in sizes:
        last = row = 0
        while row < _ROW and room > 0:
            place = allocate(size)
            row = row + 1 if 0 < place - last <= size + _HEAD else 0
            last = place
            room -= size
    return room


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
