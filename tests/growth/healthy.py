# SPDX-License-Identifier: MIT
"""Healthy applications under load, of which nobody may say that they leak.

Flask, Django and Starlette with a worker class of theirs; pages with templates, JSON, a database,
uploads. run() is the short form of make check and the long one of tests/soak/healthy.py.
"""

import contextlib
import json
import time

import growthlib  # noqa: F401  (finds the harness)
import harness

LEAKS = {"grows-with-requests", "grows-while-idle", "grows-with-time", "descriptors-grow"}

# Application, worker class, paths, modules that are needed.
CASES = {
    "flask": ({"wsgi": "flask_app:app"}, "gthread", ["/", "/sum/1/2", "/pid"],
              ("flask", "gunicorn")),
    "django": ({"wsgi": "django_app:application"}, "gthread", ["/", "/sum/1/2", "/pid"],
               ("django", "gunicorn")),
    "starlette": ({"asgi": "starlette_app:app"}, "uvicorn", ["/", "/sum/1/2", "/pid"],
                  ("starlette", "uvicorn")),
}


def leaks(p):
    """Verdicts about leaks, of workers and pool, with their evidence."""
    code, out, err = p.ctl("memory", "--json", timeout=60)
    assert code == 0, err
    told = json.loads(out)
    found = [v for w in told["workers"] for v in w["verdicts"]] + told["pool"]["verdicts"]
    return ["%s: %s" % (v["verdict"], v["evidence"]) for v in found if v["verdict"] in LEAKS]


def run(name, requests, seconds, **settings):
    """Serves so many requests, or for so long, whichever is later; asks again and again.

    Returns the verdicts about leaks, and how many requests there were.
    """
    application, worker_class, paths, _ = CASES[name]
    p = harness.Preforkd(**dict(application, worker_class=worker_class, workers=2,
                                preload="yes" if name == "django" else "no", **settings))
    found = []
    with p, contextlib.ExitStack() as stack:
        p.wait_ready()
        loads = [stack.enter_context(p.load(clients=2, path=path, pause=0.001, keepalive=True))
                 for path in paths]
        end = time.monotonic() + seconds
        while not found:
            done = p.status()["requests_total"]
            found = leaks(p)
            if done >= requests and time.monotonic() >= end:
                break
            # Looks, not waits: one a second or so.
            time.sleep(min(5.0, max(seconds / 20.0, 0.2)))
        found += leaks(p)
        stack.close()
        failed = [load.result for load in loads if load.failed]
        assert not failed, failed
        return found, done
