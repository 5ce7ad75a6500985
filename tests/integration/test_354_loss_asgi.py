# SPDX-License-Identifier: MIT
"""ASGI servers lose no request through recycles, reloads, rescales and slow boots."""

import harness
import loss_life

loss_life.make_cases(globals(), ("uvicorn", "hypercorn"))


if __name__ == "__main__":
    harness.main()
