# SPDX-License-Identifier: MIT
"""Entry point of a worker: makes the package importable, then hands over to the launcher.

The folder of this package must not stay on sys.path: the application's interpreter may be any
virtualenv, and a PYTHONPATH would reach the application's own children too.
"""

import os
import sys


def refuse_old_python():
    """Tells the master, without any of our modules, that this interpreter is too old."""
    text = "Python %s is too old: preforkd needs 3.8 or newer (setting python or virtualenv)" % (
        sys.version.split()[0])
    try:
        os.write(int(os.environ.get("PREFORKD_CHANNEL", "-1")), ("ERROR=" + text).encode())
    except (OSError, ValueError):
        pass
    sys.stderr.write("preforkd: %s\n" % text)
    sys.exit(1)


def main():
    """Imports the launcher by way of a sys.path entry that is gone again before it runs."""
    if sys.version_info < (3, 8):
        refuse_old_python()
    here = os.path.dirname(os.path.abspath(__file__))
    parent = os.path.dirname(here)
    if sys.path and os.path.abspath(sys.path[0]) == here:
        del sys.path[0]
    sys.path.insert(0, parent)
    try:
        from preforkd import launcher
    finally:
        sys.path.remove(parent)
    launcher.main()


if __name__ == "__main__":
    main()
