# SPDX-License-Identifier: MIT
"""WSGI servers lose no request through recycles, reloads, rescales and slow boots."""

import harness
import loss_life

loss_life.make_cases(globals(), ("sync", "gthread", "gevent", "waitress", "stdlib"))


if __name__ == "__main__":
    harness.main()
