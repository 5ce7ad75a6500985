# SPDX-License-Identifier: MIT
"""An application that is large from its import on."""

import patterns

patterns.make_large()
app = patterns.large
