# SPDX-License-Identifier: MIT
"""Where Python allocates what it does not free: tracemalloc, begun and ended by the master.

Tracing makes the work of a request take several times as long (preforkd.ini(5) has figures), and
takes some 50 bytes for each allocation that lives; so it is never on unless it was asked for, one
frame deep, and its cost is told (TRACED). All of it
happens in a thread of its own, so that a report works while requests hang. An application that
traces by itself keeps its trace.
"""

import collections
import os
from _thread import allocate_lock, start_new_thread
from time import monotonic, sleep as real_sleep

from . import memory

SITES_MAX = 10

# The share of what the first place keeps that makes another one worth a line.
_SHOWN = 0.01

# Seconds of tracing for those who do not say, and at most.
SECONDS = 10
SECONDS_MAX = 3600

# What was allocated at the very beginning fills caches and replaces what was there untraced: growth
# is counted from here on, or from a quarter of the time of a report, but not when most of the time
# had passed then.
SETTLE = 5.0

# Seconds that the end of a worker waits for a report that is being made. Nobody else does: its
# requests are answered, and its successor serves.
FINISH = 2.0

# Seconds between two looks at the cost.
LOOK = 0.25

# A trace that costs more than this is reported and ended: taking the snapshot takes four times
# as much again, and holds the interpreter's lock for a quarter of a second.
COST_MAX = 32 << 20

# A smaller change of the cost is not told, but for the first.
_STEP = 64 << 10
_UNTOLD = -_STEP

_SOURCE_MAX = 4 << 20
_LINE_MAX = 80

# Growth of the process that tracing does not explain is worth a line when it is more than a half.
_UNEXPLAINED = 1 << 20

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep

_NEVER = float("inf")


class _Trace:
    """One period of tracing."""

    def __init__(self, settle, requests):
        """Begins it."""
        import tracemalloc
        self.module = tracemalloc
        self.is_ours = not tracemalloc.is_tracing()
        self.base = {}
        self.base_after = None      # seconds after the beginning
        self.begun = monotonic()
        self.requests = requests
        if self.is_ours:
            tracemalloc.start(1)
            self.base_due = self.begun + settle
        else:
            self.settle()
        self.memory = memory.own() - self.cost()

    def cost(self):
        """Bytes that tracing itself takes."""
        return self.module.get_tracemalloc_memory()

    def settle(self):
        """Growth is counted from now on."""
        self.base_due = _NEVER
        self.base = self.sites()
        self.base_after = monotonic() - self.begun

    def sites(self):
        """Bytes and blocks that live, by file and line, without what is the launcher's."""
        hidden = self.module.__file__
        found = collections.defaultdict(list)
        # What statistics() does, in a fraction of the time, since this loop makes no objects that
        # would be traced. Each trace is a domain, a size, and pairs of file and line, the latest
        # call first.
        for trace in self.module.take_snapshot().traces._traces:
            found[trace[2][0]].append(trace[1])
        return {place: (sum(sizes), len(sizes)) for place, sizes in found.items()
                if place[0] != hidden and not place[0].startswith(_OWN)}

    def growth(self, base):
        """(bytes, blocks, file, line) of each place that keeps more than in base, most first."""
        grown = []
        for place, (size, count) in self.sites().items():
            size_before, count_before = base.get(place, (0, 0))
            if size > size_before:
                grown.append((size - size_before, count - count_before) + place)
        return sorted(grown, reverse=True)

    def end(self):
        """Ends it, unless it is the application's.

        Before 3.12.9 and 3.13.2 the interpreter crashes when stop() meets a thread that allocates
        without the interpreter's lock, as zlib's do: so that takes as little time as it can, and
        those who wait for the lock get it before.
        """
        if self.is_ours:
            self.module.clear_traces()
            real_sleep(0.001)
            self.module.stop()


class Tracer:
    """What the master has asked for, carried out by a thread that lives as long as a trace does.

    Making a report takes up to a second: the channel's thread must hear of a drain meanwhile.
    """

    def __init__(self, agent):
        """Nothing is traced."""
        self._agent = agent
        self._lock = allocate_lock()
        self._bell = allocate_lock()
        self._bell.acquire()
        self._orders = collections.deque()
        self._runs = False
        self._making = 0            # reports that are being made
        # From here on the thread's own.
        self._trace = None
        self._wanted = False        # TRACE=1
        self._number = None         # of a report that is waited for
        self._until = 0.0           # when that is made
        self._told = _UNTOLD        # cost
        self._look = 0.0            # when the cost is looked at next

    def set(self, wanted):
        """TRACE=1 or TRACE=0 has come."""
        self._order(self._set, wanted)

    def ask(self, number, seconds):
        """REPORT=number WHAT=memory has come: at once when tracing has begun already."""
        with self._lock:
            self._making += 1
        self._order(self._ask, number, seconds)

    def after_fork_in_child(self):
        """A forked child has no such thread, and need not be slow."""
        trace, self._trace = self._trace, None
        if trace is not None and trace.is_ours:
            trace.module.stop()

    def finish(self, seconds):
        """At the end of the worker: lets a report that is being made get out."""
        end = monotonic() + seconds
        while self._making and monotonic() < end:
            real_sleep(0.01)

    def _order(self, function, *args):
        """Something for the thread to do, which is started when there is none."""
        with self._lock:
            self._orders.append((function, args))
            if not self._runs:
                try:
                    start_new_thread(self._run, ())
                except RuntimeError:
                    # No room for a thread: nothing is traced, and nobody is waited for.
                    self._orders.clear()
                    self._making = 0
                    raise
                self._runs = True
            elif self._bell.locked():
                self._bell.release()

    def _run(self):
        """Main function of the thread."""
        while True:
            with self._lock:
                order = self._orders.popleft() if self._orders else None
                if order is None and self._trace is None:
                    self._runs = False
                    return
            try:
                if order is not None:
                    order[0](*order[1])
                else:
                    self._bell.acquire(True, self._due())
                    self._turn()
            except Exception as exc:
                self._agent.complain("tracing: %r" % exc)
                real_sleep(LOOK)

    def _set(self, wanted):
        """TRACE"""
        self._wanted = wanted
        if wanted:
            self._begin(SETTLE)
        else:
            self._end_unwanted()

    def _ask(self, number, seconds):
        """REPORT; who has to wait for it is no reason for the worker to wait at its end."""
        if self._trace is not None and self._number is None:
            self._report(number)
            return
        with self._lock:
            self._making -= 1
        if self._number is not None:
            self._agent.channel.send_report(number, "another report is under way\n")
            return
        seconds = min(seconds or SECONDS, SECONDS_MAX)
        try:
            self._begin(min(SETTLE, seconds / 4.0))
            self._number, self._until = number, self._trace.begun + seconds
        except Exception as exc:
            self._agent.channel.send_report(number, "no tracing: %r\n" % exc)

    def _due(self):
        """Seconds until something is to be done."""
        when = min(self._look, self._trace.base_due)
        if self._number is not None:
            when = min(when, self._until)
        return max(0.0, when - monotonic())

    def _turn(self):
        """Does what is due."""
        trace, now = self._trace, monotonic()
        if now >= trace.base_due:
            trace.settle()
        cost = self._tell_cost(now)
        if self._number is not None and (now >= self._until or cost > COST_MAX):
            number, self._number = self._number, None
            with self._lock:
                self._making += 1
            self._report(number)
            self._end_unwanted()

    def _tell_cost(self, now):
        """Tells the master what tracing costs, when it has changed; the cost."""
        if now < self._look:
            return self._told
        self._look = now + LOOK
        cost = self._trace.cost()
        if abs(cost - self._told) >= _STEP and self._agent.channel.send("TRACED=%d" % cost):
            self._told = cost
        return cost

    def _begin(self, settle):
        """Begins a trace unless there is one."""
        if self._trace is None:
            self._trace = _Trace(settle, self._agent.counter.done)
            self._look = 0.0
            self._tell_cost(monotonic())

    def _end_unwanted(self):
        """Ends the trace when nobody wants it any more."""
        if self._trace is None or self._wanted or self._number is not None:
            return
        trace, self._trace = self._trace, None
        trace.end()
        self._told = _UNTOLD
        self._agent.channel.send("TRACED=0", True)

    def _report(self, number):
        """Makes a report of what the trace knows, and sends it."""
        try:
            text = self._text()
        except Exception as exc:
            text = "not available: %r\n" % exc
        self._agent.channel.send_report(number, text)
        with self._lock:
            self._making -= 1

    def _text(self):
        """The report."""
        agent, trace = self._agent, self._trace
        seconds = monotonic() - trace.begun
        has_base = trace.base_after is not None and (
            seconds >= 2 * trace.base_after or not trace.is_ours)
        grown = trace.growth(trace.base if has_base else {})
        lines = ["worker %d, %s: what Python has allocated and kept in %.1f s, %d requests" % (
            os.getpid(), agent.server.version if agent.server is not None else "no server",
            seconds, agent.counter.done - trace.requests)]
        if has_base:
            lines.append("(more than there was %.1f s after tracing began)" % trace.base_after)
        shown = [site for site in grown[:SITES_MAX] if site[0] >= grown[0][0] * _SHOWN]
        for size, count, name, number in shown:
            lines.append("  %8s in %7s  %s:%d  %s" % (
                "+" + memory.human(size), "%+d" % count, name, number, source_line(name, number)))
        if not grown:
            lines.append("  nothing")
        elif len(grown) > len(shown):
            lines.append("  %8s at %d other places" % (
                "+" + memory.human(sum(site[0] for site in grown[len(shown):])),
                len(grown) - len(shown)))
        lines.extend(self._explain(sum(site[0] for site in grown)))
        return "\n".join(line.rstrip() for line in lines) + "\n"

    def _explain(self, explained):
        """How much of the growth of the process that is."""
        trace = self._trace
        cost = trace.cost()
        growth = memory.own() - cost - trace.memory
        lines = ["the process has grown by %s meanwhile; tracing takes %s more" % (
            memory.human(max(0, growth)), memory.human(cost))]
        if growth > _UNEXPLAINED and growth > 2 * explained:
            lines.append("most of that is not Python's: memory of a C library, or free memory that "
                         "malloc keeps (trim-on-rss, MALLOC_ARENA_MAX)")
        return lines


def source_line(name, number):
    """The text of a line of a program, "" where it cannot be had."""
    try:
        if os.path.getsize(name) > _SOURCE_MAX:
            return ""
        with open(name, "rb") as source:
            for index, line in enumerate(source, 1):
                if index == number:
                    return line.decode("utf-8", "replace").strip()[:_LINE_MAX]
    except (OSError, ValueError):
        pass
    return ""
