"""Python's garbage collector, for a process that holds thousands of connections."""

from __future__ import annotations

import gc

# By default the youngest are looked through every 700 objects, a few connections' worth,
# and every connection that is open is looked through again and again. Not much higher:
# what closed connections leave in cycles waits for it. And what outlived one look is
# looked at once more with every second look, not every twelfth: that stood still for 90 ms.
_THRESHOLDS = (10_000, 0, 75)


def tune() -> None:
    """Look no more through what was loaded at the start, and less often through the rest."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
