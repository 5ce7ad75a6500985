# SPDX-License-Identifier: MIT
"""Nobody says of a healthy application that it leaks: the short form of tests/soak/healthy.py."""

import os
import sys

import harness
from harness import needs_module

sys.path.insert(0, os.path.join(harness.HERE, "..", "growth"))
import healthy  # noqa: E402


class Healthy(harness.Case):
    """Some thousand requests, looked at every 50 ms: as many samples as of minutes."""

    def check(self, name):
        """No leak at any look, nor at the end."""
        found, done = healthy.run(name, 4000, 8, memory_interval="100ms")
        self.assertEqual(found, [])
        self.assertGreaterEqual(done, 4000)

    @needs_module("flask", "gunicorn")
    def test_flask(self):
        """WSGI with threads."""
        self.check("flask")

    @needs_module("django", "gunicorn")
    def test_django(self):
        """The same, forked."""
        self.check("django")

    @needs_module("starlette", "uvicorn")
    def test_starlette(self):
        """ASGI."""
        self.check("starlette")


if __name__ == "__main__":
    harness.main()
