# SPDX-License-Identifier: MIT
"""Looks at processes through /proc: a server's tree, its processor time, memory and wake-ups."""

import os

_TICKS = os.sysconf("SC_CLK_TCK")


def _read(pid, name):
    """A file of /proc/PID, "" when the process is gone."""
    try:
        with open("/proc/%d/%s" % (pid, name)) as file:
            return file.read()
    except OSError:
        return ""


def _stat(pid):
    """The fields of stat from the state on, [] when the process is gone."""
    return _read(pid, "stat").rpartition(")")[2].split()


def tree(pid):
    """pid and all its descendants."""
    children = {}
    for name in os.listdir("/proc"):
        fields = _stat(int(name)) if name.isdigit() else []
        if fields:
            children.setdefault(int(fields[1]), []).append(int(name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def _threads(pid):
    """Names of the threads, [] when the process is gone."""
    try:
        return os.listdir("/proc/%d/task" % pid)
    except OSError:
        return []


def cpu_seconds(pid):
    """User and system time of the threads that live, without children.

    From schedstat, in nanoseconds; where the kernel has none, in ticks.
    """
    spent = 0
    for thread in _threads(pid):
        spent += int((_read(pid, "task/%s/schedstat" % thread).split() or [0])[0])
    if spent:
        return spent / 1e9
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS if fields else 0.0


def peak_bytes(pid):
    """The most that it has ever had resident, 0 when it is gone."""
    for line in _read(pid, "status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0


def cpu_with_ended(pid):
    """Processor seconds of a process and all below it, those included that have ended; in ticks.

    Who leaves a tree without being waited for in it is missing.
    """
    spent = 0
    for member in tree(pid):
        spent += sum(int(ticks) for ticks in _stat(member)[11:15])
    return spent / _TICKS


def memory(pid):
    """Pss, Rss and what is private, in bytes, from smaps_rollup; {} without permission.

    pss_anon: the part of Pss that no file stands behind, which other programs cannot share.
    """
    found = {}
    for line in _read(pid, "smaps_rollup").splitlines():
        name, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            found[name] = int(rest.split()[0]) << 10
    if "Pss" not in found:
        return {}
    return {"pss": found["Pss"], "rss": found["Rss"], "pss_anon": found.get("Pss_Anon", 0),
            "private": found["Private_Clean"] + found["Private_Dirty"]}


def switches(pid):
    """Voluntary and involuntary context switches of all threads."""
    sums = [0, 0]
    for thread in _threads(pid):
        for line in _read(pid, "task/%s/status" % thread).splitlines():
            name, _, rest = line.partition(":")
            if name in ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"):
                sums[name.startswith("non")] += int(rest)
    return sums


def running(program):
    """How many processes run the program of that file name."""
    count = 0
    for name in os.listdir("/proc"):
        try:
            count += name.isdigit() and os.path.basename(
                os.readlink("/proc/%s/exe" % name)) == program
        except OSError:
            pass
    return count


def listens(port):
    """Whether a socket listens at this port of 127.0.0.1, without connecting to it."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return any(row[1] == "0100007F:%04X" % port and row[3] == "0A" for row in rows)
