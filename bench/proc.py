"""What /proc knows of a server: its CPU time and its memory, children included (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def family(pids: Iterable[int]) -> list[int]:
    """Return these processes and all below them."""
    found: list[int] = []
    left = list(pids)
    while left:
        pid = left.pop()
        found.append(pid)
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                left += map(int, children.read_text().split())
            except OSError:
                continue
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Return the seconds of CPU that they have used; to the nanosecond, unlike `stat`."""
    total = 0
    for pid in family(pids):
        for schedstat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(schedstat.read_text().split()[0])
            except OSError:
                continue
    return total / 1e9


def whole_cpu_s(pid: int) -> float:
    """Return the seconds of CPU a process has used, its ended threads too; to 0.01 s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_kib(pids: Iterable[int]) -> int:
    total = 0
    for pid in family(pids):
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)
    return total
