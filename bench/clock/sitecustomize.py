"""Put this folder on PYTHONPATH, and every Python goes by a clock CLOCK_SHIFT_S ahead of ours."""

from __future__ import annotations

import os
import time

import time_machine

_SHIFT_S = float(os.environ["CLOCK_SHIFT_S"])
_traveller = time_machine.travel(time.time() + _SHIFT_S, tick=True).start()
_real = time_machine.escape_hatch.time.time
# Starting may take a while on a busy machine; then the clock lags until it is set again.
while abs(_real() + _SHIFT_S - time.time()) > 0.05:
    _traveller.move_to(_real() + _SHIFT_S, tick=True)
