"""Run a command that cannot outlive the process that started it.

    python leash.py PARENT_PID SIGNAL COMMAND...

On Linux the kernel sends SIGNAL when the parent is gone, however it went, and
this process becomes the command. Elsewhere this process stays, watches its
parent, and passes on the signals it gets. Standard library only, and nothing
of ours: it starts in 15 ms.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from types import FrameType

_PR_SET_PDEATHSIG = 1
_LOOK_EVERY_S = 0.5


def die_with_parent(parent: int, with_signal: int = signal.SIGKILL) -> None:
    """Ask Linux to end this process when its parent ends; elsewhere do nothing."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(with_signal))
    if os.getppid() != parent:
        # The parent went before the kernel was asked to watch it.
        sys.exit(1)


def _watch(parent: int, with_signal: int, command: list[str]) -> int:
    child = subprocess.Popen(command)

    def forward(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, forward)
    while child.poll() is None:
        if os.getppid() != parent:
            child.send_signal(with_signal)
            return child.wait()
        time.sleep(_LOOK_EVERY_S)
    return child.returncode


def main() -> None:
    parent, with_signal, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    die_with_parent(parent, with_signal)
    if sys.platform.startswith("linux"):
        os.execvp(command[0], command)  # noqa: S606
    sys.exit(_watch(parent, with_signal, command))


if __name__ == "__main__":
    main()
