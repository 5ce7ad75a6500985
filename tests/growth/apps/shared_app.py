# SPDX-License-Identifier: MIT
"""An application whose data are made by its import, in the mold."""

import patterns

patterns.make_shared()
app = patterns.unsharing
