# SPDX-License-Identifier: MIT
"""The control socket answers a client that knows nothing of preforkd: PyPI's varlink package."""

import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
import harness  # noqa: E402

CLIENT = """
import json, sys
import varlink

with varlink.Client("unix:" + sys.argv[1]) as client:
    interfaces = client.get_interfaces()
    with client.open("io.preforkd.Manager") as manager:
        status = manager.Status()["status"]
        progress = [reply.get("progress") for reply in manager.Reload(_more=True)]
        after = manager.Status()["status"]
        try:
            manager.Recycle(slot=99)
            error = None
        except varlink.VarlinkError as exc:
            error = exc.error()
print(json.dumps({"interfaces": sorted(interfaces), "before": status["generation"],
                  "after": after["generation"], "progress": progress, "error": error}))
"""


class Varlink(unittest.TestCase):
    """A foreign client."""

    def test_client(self):
        """The description, a call, a streamed call, an error."""
        python = os.environ.get("PREFORKD_TEST_PYTHON", "/usr/bin/python3")
        if subprocess.run([python, "-c", "import varlink"], stderr=subprocess.DEVNULL,
                          check=False).returncode:
            self.skipTest("no package varlink for %s" % python)
        with harness.Preforkd(wsgi="plain:app", worker_class="stdlib") as p:
            p.wait_ready()
            done = subprocess.run([python, "-c", CLIENT, p.control], capture_output=True,
                                  text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            told = json.loads(done.stdout)
        self.assertIn("io.preforkd.Manager", told["interfaces"])
        self.assertEqual((told["before"], told["after"]), (1, 2))
        self.assertTrue([text for text in told["progress"] if text])
        self.assertEqual(told["error"], "io.preforkd.Manager.NoSuchSlot")


if __name__ == "__main__":
    harness.main()
