# SPDX-License-Identifier: MIT
"""Instances of preforkd@.service in a systemd_box, and the base of the tests that use them."""

import json
import os
import subprocess
import sys
import unittest

import harness
import systemd_box
from harness import APPS, free_port, get, has_module, ini_text, wait_until
from systemd_box import BIN, UNITS

# The machine's own: one of a virtual environment may lie where services may not read.
INSIDE_PYTHON = "/usr/bin/python3"
APP = """\
%(before)s
import plain


def app(environ, start_response):
    if environ["PATH_INFO"] != "/version":
        return plain.app(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%(version)s"]
"""
MISSING = systemd_box.missing()
boxes = []


def boot_box():
    """A system with preforkd inside that ends with the test's module."""
    box = systemd_box.Box()
    unittest.addModuleCleanup(box.stop)
    box.start()
    box.install()
    boxes.append(box)
    return box


class Service:
    """An instance preforkd@NAME inside, with an application of its own in /srv/NAME.

    unit: lines for section [Service] of a drop-in. Further keywords are settings.
    """

    def __init__(self, box, name, unit="", **settings):
        """Writes everything; nothing is started."""
        self.box = box
        self.name = name
        self.unit = "preforkd@%s.service" % name
        self.port = free_port()
        self.settings = {
            "wsgi": "app:app", "worker_class": worker_class(), "python": INSIDE_PYTHON,
            "listen": "127.0.0.1:%d" % self.port, "workers": 1,
            "chdir": "/srv/" + name, "pythonpath": "/srv/lib"}
        self.write_ini(**settings)
        with open(os.path.join(APPS, "plain.py"), encoding="utf-8") as plain:
            box.write("/srv/lib/plain.py", plain.read())
        self.write_app("one")
        if unit:
            self.write_unit(unit)

    def write_ini(self, **changes):
        """The settings anew, with changes (None: leave a key out)."""
        self.settings.update(changes)
        self.box.write("/etc/preforkd/%s.ini" % self.name, ini_text(self.settings))

    def write_app(self, version, before=""):
        """The application: plain.py of the tests, and /version. before: code run first."""
        self.box.write("/srv/%s/app.py" % self.name, APP % {"before": before, "version": version})

    def write_unit(self, lines):
        """A drop-in for this instance alone."""
        self.box.write("%s/%s.d/test.conf" % (UNITS, self.unit), "[Service]\n%s\n" % lines)
        self.box.systemctl("daemon-reload")

    def start(self, check=True):
        """systemctl start, which waits."""
        return self.box.systemctl("start", self.unit, check=check)

    def reload(self, check=True):
        """systemctl reload, which waits."""
        return self.box.systemctl("reload", self.unit, check=check)

    def stop(self):
        """systemctl stop, which waits."""
        return self.box.systemctl("stop", self.unit)

    def show(self, *names):
        """Properties of the unit."""
        return self.box.show(self.unit, *names)

    def prop(self, name):
        """One property of the unit."""
        return self.show(name).get(name)

    def wait_prop(self, name, value, timeout=20):
        """Waits until a property has the value."""
        wait_until(lambda: self.prop(name) == value, timeout, "%s=%s" % (name, value))

    def main_pid(self):
        """The master, by its number inside."""
        return int(self.prop("MainPID"))

    def ctl(self, *args):
        """preforkctl inside, as root: a CompletedProcess."""
        return self.box.run([BIN + "/preforkctl", "--file", "/etc/preforkd/%s.ini" % self.name,
                             *args])

    def status(self):
        """preforkctl's status as a dict, None when the master does not answer."""
        done = self.ctl("--json", "status")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def wait_status(self, predicate, timeout=20, what="status"):
        """Waits for a status that the predicate likes; that status."""
        def check():
            """The status, or None."""
            status = self.status()
            return status if status is not None and predicate(status) else None
        return wait_until(check, timeout, what)

    def text(self, path, timeout=20):
        """The body of the answer to one request, which must be 200."""
        answer = get(("127.0.0.1", self.port), path, timeout)
        if answer.status != 200:
            raise AssertionError("%s: %s %s" % (path, answer.status, answer.body))
        return answer.body

    def journal(self, *args):
        """The unit's entries."""
        return self.box.journal("-u", self.unit, *args)

    def log(self):
        """The unit's messages, a line each; systemd's own among them."""
        return "\n".join(str(entry.get("MESSAGE")) for entry in self.journal())

    def wait_log(self, word, timeout=20):
        """Waits for a message with the word in it."""
        wait_until(lambda: word in self.log(), timeout, "journal: " + word, 0.1)


def worker_class():
    """gunicorn's threads where Debian's Python has them: a server that people use."""
    return "gthread" if has_module("gunicorn", INSIDE_PYTHON) else "stdlib"


class Request:
    """One request in the background; its answer after the block."""

    def __init__(self, service, path):
        """Not sent yet."""
        self.answer = None
        self.service = service
        self.path = path
        self.process = None

    def __enter__(self):
        """Sends it."""
        code = ("import sys, urllib.request as u; sys.stdout.write("
                "u.urlopen(sys.argv[1], timeout=float(sys.argv[2])).read().decode())")
        self.process = subprocess.Popen(
            [sys.executable, "-c", code,
             "http://127.0.0.1:%d%s" % (self.service.port, self.path),
             str(harness.stretched(60))], stdout=subprocess.PIPE, universal_newlines=True)
        return self

    def __exit__(self, *exc):
        """Takes the answer."""
        self.answer = self.process.communicate()[0]
        return False


class SystemdCase(unittest.TestCase):
    """Starts instances and stops them again; shows their journal when a test fails."""

    maxDiff = 4000

    def setUp(self):
        """Nothing is started yet; skipped where there is no box."""
        self.services = []
        if MISSING is not None:
            self.skipTest(MISSING)

    @property
    def box(self):
        """The system that the tests share."""
        return boxes[0]

    def service(self, name, unit="", start=True, **settings):
        """An instance, stopped with the test."""
        s = Service(self.box, name, unit, **settings)
        self.services.append(s)
        if start:
            s.start()
        return s

    def run(self, result=None):
        """Stops the instances; shows the journals of failed tests."""
        bad = len(result.failures) + len(result.errors)
        super().run(result)
        for s in getattr(self, "services", ()):
            s.box.systemctl("stop", s.unit, check=False)
            log = s.log()
            if harness.SANITIZER.search(log):
                result.addFailure(self, (AssertionError, AssertionError("sanitizer"), None))
            if len(result.failures) + len(result.errors) > bad:
                print("--- %s\n%s" % (s.unit, log[-6000:]), flush=True)
        return result

    def wait_new_master(self, s, old):
        """Waits until systemd has started another master and it is ready."""
        def replaced():
            """The new number, or None."""
            now = s.show("MainPID", "ActiveState")
            is_new = now["MainPID"] not in ("0", str(old)) and now["ActiveState"] == "active"
            return int(now["MainPID"]) if is_new else None
        return harness.wait_until(replaced, 30, "a new master")
