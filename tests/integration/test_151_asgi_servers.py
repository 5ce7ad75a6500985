# SPDX-License-Identifier: MIT
"""ASGI servers inside the workers: each through the same life."""

import harness
import server_life

server_life.make_cases(globals(), lambda kind: "asgi" in kind.settings)


if __name__ == "__main__":
    harness.main()
