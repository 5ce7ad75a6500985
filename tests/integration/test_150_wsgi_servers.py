# SPDX-License-Identifier: MIT
"""WSGI servers inside the workers: each through the same life."""

import harness
import server_life

server_life.make_cases(globals(), lambda kind: "wsgi" in kind.settings)


if __name__ == "__main__":
    harness.main()
