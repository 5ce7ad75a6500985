# SPDX-License-Identifier: MIT
"""Cases of the loss test: a server, the way its sockets are shared, and what is done to it.

One Case is one preforkd with a client (tests/loss) that accounts for every request. While it
asks, a scenario is played:

    recycle     max-requests replaces workers as fast as they boot
    change      reloads and rescales, from 2 workers to 6 and back
    slow-boot   reloads with an import that takes long

The result of each is a Row. Lengths come from outside: seconds for the soak, numbers of events for
the shortened cases of make check.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))
import harness  # noqa: E402

LOSS = os.path.join(harness.BUILDDIR, "tests", "loss", "loss")

# An ending worker keeps idle connections for so long, and gaps are well below or above it.
DRAIN_IDLE = 1.0
LONG_GAP = "1250ms:2s"

# Several recycles a second times drain-idle, and six more that a rescale takes away at once.
MAX_DRAINING = 64

# Longest run of the client: it is stopped when the scenario is over.
_FOREVER = 3600

LOST = ("refused", "reset_before", "reset_inside", "timeout", "bad")
SCENARIOS = ("recycle", "change", "slow-boot")
BALANCES = ("shared", "per-slot", "unix")


class Server:
    """One worker class."""

    def __init__(self, name, needs=(), slow=4, **settings):
        """needs: modules; slow: how many slow clients; a setting that it does not know is None."""
        self.name, self.needs, self.slow = name, needs, slow
        self.settings = dict({"worker_class": name, "keepalive": "10s"}, **settings)
        if "asgi" not in settings:
            self.settings["wsgi"] = "app:wsgi"

    @property
    def lacking(self):
        """Modules that the workers' interpreter does not have."""
        return [name for name in self.needs if not harness.has_module(name)]


# A sync worker serves one request at a time: a slow client has it for itself.
SERVERS = {server.name: server for server in (
    Server("sync", ["gunicorn"], slow=2, keepalive=None),
    Server("gthread", ["gunicorn"]),
    Server("gevent", ["gunicorn.workers.ggevent"]),
    Server("waitress", ["waitress"]),
    Server("uvicorn", ["uvicorn"], asgi="app:asgi"),
    Server("hypercorn", ["hypercorn"], asgi="app:asgi"),
    Server("stdlib", keepalive=None),
)}


class Row:
    """What one scenario gave."""

    def __init__(self, case, scenario, counts, notes, seconds, recycles):
        """counts: what the client printed; notes: its lines about losses."""
        self.server, self.balance, self.scenario = case.server.name, case.balance, scenario
        self.product, self.notes = case.product, notes
        self.counts, self.seconds, self.recycles = counts, seconds, recycles
        self.total = counts["total"]
        self.trouble = []

    @property
    def lost(self):
        """Requests without a good answer."""
        return sum(self.total[name] for name in LOST)

    @property
    def good(self):
        """Nothing lost, nothing closed early, no other trouble, and it was not for want of work."""
        return not self.lost and not self.total["closed_early"] and not self.trouble and \
            self.total["ok"] == self.total["requests"] > 0

    @property
    def slowest(self):
        """Milliseconds of the slowest answer to a client that was not slow itself."""
        return self.counts["quick"]["max_ms"]

    def as_dict(self):
        """For JSON."""
        return {"class": self.server, "balance": self.balance, "scenario": self.scenario,
                "product": self.product, "seconds": round(self.seconds, 1), "lost": self.lost,
                "recycles": self.recycles,
                "recycles_per_second": round(self.recycles / self.seconds, 2),
                "trouble": self.trouble, "notes": self.notes, "counts": self.counts}

    def explain(self):
        """Why it is not good."""
        return "%s %s %s: %d lost, %d closed early; %s\n%s" % (
            self.server, self.balance, self.scenario, self.lost, self.total["closed_early"],
            ", ".join(self.trouble) or "no other trouble", "\n".join(self.notes[:20]))


class Client:
    """A running loss client."""

    def __init__(self, target, slow, seconds=_FOREVER):
        """Starts it."""
        words = [LOSS, "--json", "--seconds", seconds, "--keep-alive", 16, "--close", 6,
                 "--slow", slow, "--gap", "0:20ms", "--long-gap", LONG_GAP, "--long-share", "1%",
                 "--drain-idle", "%dms" % (DRAIN_IDLE * 1000), "--work", "10ms:60ms",
                 "--work-share", "3%", "--timeout", "%ds" % harness.stretched(20), target]
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            [str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, universal_newlines=True)

    def kill(self):
        """Ends it without a result."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def finish(self):
        """Lets it end what it has begun; (counts, lines about losses, seconds)."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=harness.stretched(60))
        if self.process.returncode != 0:
            raise AssertionError("the client failed: %s %s" % (self.process.returncode, err))
        return json.loads(out), err.splitlines(), time.monotonic() - self.begun


class Case:
    """One server with one way to share its sockets; a context manager."""

    def __init__(self, server, balance, workers=2, **settings):
        """server: a name of SERVERS; balance: one of BALANCES; more settings as keywords."""
        self.server, self.balance = SERVERS[server], balance
        given = {"workers": workers, "pythonpath": HERE, "graceful_timeout": "30s",
                 "drain_idle": "%dms" % (DRAIN_IDLE * 1000), "min_worker_lifetime": 0,
                 "max_draining": MAX_DRAINING,
                 "balance": "per-slot" if balance == "per-slot" else "shared",
                 "listen": "unix:app.sock" if balance == "unix" else "127.0.0.1:0"}
        given.update(self.server.settings)
        given.update(settings)
        self.preforkd = harness.Preforkd(**given)
        self.product = None
        self._client = None

    def __enter__(self):
        """Starts it; all workers are ready."""
        self.preforkd.__enter__()
        try:
            status = self.preforkd.wait_ready(timeout=60)
            self.product = status["workers"][0]["server"]
        except BaseException:
            self.preforkd.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *exc):
        """Ends everything."""
        if self._client is not None:
            self._client.kill()
        return self.preforkd.__exit__(*exc)

    def save_log(self, path):
        """Copies the log of preforkd."""
        shutil.copy(self.preforkd.log_path, path)

    @property
    def target(self):
        """The address in the client's words."""
        address = self.preforkd.address()
        return "unix:%s" % self.preforkd.path("app.sock") if self.balance == "unix" else \
            "%s:%d" % address

    def recycles(self, *reasons):
        """How many workers were replaced so far for these reasons."""
        told = self.preforkd.status()["recycles"]
        return sum(told[reason] for reason in reasons)

    def _ctl(self, *words):
        """A command that has to succeed."""
        code, out, err = self.preforkd.ctl(*words, timeout=120)
        if code != 0:
            raise AssertionError("preforkctl %s: %d %s%s" % (" ".join(map(str, words)), code, out,
                                                             err))

    def play(self, scenario, seconds=0, events=0):
        """Plays a scenario under load until it took so long and had so many events; a Row."""
        mark = self.preforkd.mark()
        play = {"recycle": self._recycle, "change": self._change,
                "slow-boot": self._slow_boot}[scenario]
        self._client = Client(self.target, self.server.slow)
        try:
            recycles = play(self._client.begun + seconds, events)
            counts, notes, took = self._client.finish()
        finally:
            self._client.kill()
        row = Row(self, scenario, counts, notes, took, recycles)
        row.trouble = self._trouble(self.preforkd.log(mark))
        return row

    def _recycle(self, until, events):
        """max-requests is in the settings; waits for the time and the number of recycles."""
        before = self.recycles("max-requests")
        harness.wait_until(
            lambda: time.monotonic() >= until and self.recycles("max-requests") >= before + events,
            max(0, until - time.monotonic()) + 60, "%d recycles" % events, every=0.1)
        return self.recycles("max-requests") - before

    def _change(self, until, events):
        """A rescale, then a reload, alternately up and down, so many times and so long."""
        before = self.recycles("reload", "scale")
        done, workers = 0, self.preforkd.settings["workers"]
        while done < events or time.monotonic() < until:
            workers = 2 if workers == 6 else 6
            # A reload takes the number from the ini.
            self.preforkd.write_ini(workers=workers)
            self._ctl("scale", workers)
            self._ctl("reload")
            done += 1
        if workers != 2:
            self.preforkd.write_ini(workers=2)
            self._ctl("scale", 2)
        return self.recycles("reload", "scale") - before

    def _slow_boot(self, until, events):
        """Reloads; the import takes as long as the last words of the settings' [env] say."""
        before = self.recycles("reload")
        done = 0
        while done < events or time.monotonic() < until:
            self._ctl("reload")
            done += 1
        return self.recycles("reload") - before

    def set_import(self, seconds):
        """Workers that start from now on need so long for their import."""
        self.preforkd.write_ini(env={"SOAK_IMPORT_SECONDS": seconds} if seconds else {})

    def _trouble(self, log):
        """What the master had to complain about meanwhile."""
        status = self.preforkd.status()
        found = []
        for reason in ("timeout", "request-timeout", "boot-timeout"):
            if status["recycles"].get(reason):
                found.append("%d %s" % (status["recycles"][reason], reason))
        if status["crashes"]:
            found.append("%d crashes" % status["crashes"])
        inside = False
        for line in log.splitlines():
            if inside and not line.startswith(" "):
                found.append(line)
                inside = False
            elif line.startswith("Traceback"):
                inside = True
            elif " WARN" in line or " ERROR" in line:
                found.append(line)
        return sorted(set(found), key=found.index)[:10]
