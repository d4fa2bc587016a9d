"""What was asked of the sandbox: counts for tests, and the calls themselves for people."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

_KEPT_CALLS = 2000


@dataclass(slots=True)
class Record:
    """One call. `status` is 0 where the connection was reset instead of an answer."""

    time: float
    source: str
    method: str
    path: str
    query: dict[str, str]
    key: str
    status: int = 0
    faults: list[str] = field(default_factory=list)


class Recorder:
    """Counts every call to a source; calls of the controls are not counted."""

    def __init__(self, sources: Iterable[str]) -> None:
        self._sources = tuple(sources)
        self._records: deque[Record] = deque(maxlen=_KEPT_CALLS)
        self._total: Counter[str] = Counter()
        self._paths: Counter[str] = Counter()
        self._keys: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()
        self._leaks = 0

    def add(self, record: Record) -> None:
        """Count a call at its arrival, so that one that hangs is counted too."""
        self._records.append(record)
        self._total[record.source] += 1
        self._paths[record.path] += 1
        self._keys[f"{record.source}:{record.key}"] += 1
        if record.source == "files" and record.key:
            self._leaks += 1

    def answered(self, record: Record, status: int) -> None:
        record.status = status
        self._statuses[f"{record.source}:{status}"] += 1

    def shown(self, prefix: str = "") -> dict[str, Any]:
        """Return all counts, and the latest calls, newest last, whose path has the prefix."""
        recent = [record for record in self._records if record.path.startswith(prefix)]
        return {
            "total": {name: self._total[name] for name in self._sources},
            "paths": {
                path: number for path, number in self._paths.items() if path.startswith(prefix)
            },
            "keys": dict(self._keys),
            "statuses": dict(self._statuses),
            "keys_sent_to_file_host": self._leaks,
            "recent": [asdict(record) for record in recent],
        }
