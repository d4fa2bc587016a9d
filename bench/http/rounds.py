"""wrk over several servers, in turn, so that what else the machine does falls on all alike."""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.proc import cpu_s
from tests.lokifi.raw import Line, Reply

_REPORT = """
share = function() return 0 end
done = function(summary, latency, requests)
  io.write(string.format('\\n{"share":%f,"requests":%d,"us":%d,"bytes":%d,"bad":%d,"p50":%f,"p99":%f}\\n',
    share(), summary.requests, summary.duration, summary.bytes, summary.errors.status
    + summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.timeout, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
"""
_JSON = {"Content-Type": "application/json"}
# How much longer than the sample's the head of an answer may be, on average: ages grow.
_SLACK_BYTES = 24


class DoesNotCountError(Exception):
    """A round in which an answer was wrong; its figures say nothing."""


@dataclass(frozen=True)
class Target:
    """One address of one server, and what is asked of it."""

    name: str
    port: int
    path: str
    pid: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    # Lua that makes requests, where they are not all alike.
    script: str = ""
    is_compared: bool = True
    # What is posted, and the part of the JSON answer that is compared; all of it if empty.
    body: bytes = b""
    part: str = ""

    def sample(self) -> Reply:
        line = Line(self.port)
        try:
            method = "POST" if self.body else "GET"
            headers = {**self.headers, **(_JSON if self.body else {})}
            return line.ask(self.path, method, headers, self.body or None)
        finally:
            line.close()


@dataclass(frozen=True)
class Figures:
    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    share: float = 0.0  # of answers that a script counts
    tool_us: float = 0.0  # what wrk itself takes for an answer


def rounds(
    targets: Sequence[Target], connections: int = 16, seconds: int = 2, times: int = 3
) -> dict[str, Figures]:
    """Return medians by name. Raises DoesNotCountError where an answer was not as it should be."""
    with _scripts(targets) as scripts:
        for target in targets:
            _once(target, scripts[target.name], connections, 1)
        found: dict[str, list[Figures]] = {target.name: [] for target in targets}
        for _ in range(times):
            _check_same(targets)
            for target in targets:
                one = _once(target, scripts[target.name], connections, seconds)
                found[target.name].append(one)
        _check_same(targets)
    return {name: _median(several) for name, several in found.items()}


def _median(several: Sequence[Figures]) -> Figures:
    values = [(f.per_s, f.p50_ms, f.p99_ms, f.cpu_us, f.share, f.tool_us) for f in several]
    return Figures(*(statistics.median(column) for column in zip(*values, strict=True)))


def _check_same(targets: Sequence[Target]) -> None:
    """Raise where a server answers otherwise than it should, or than the first does."""
    bodies: set[str | bytes] = set()
    for target in targets:
        reply = target.sample()
        if reply.status != target.status:
            raise DoesNotCountError(f"{target.name} answers {reply.status}")
        if target.is_compared:
            bodies.add(
                json.dumps(json.loads(reply.content)[target.part]) if target.part else reply.content
            )
    if len(bodies) > 1:
        raise DoesNotCountError(f"{[t.name for t in targets]} answer differently")


def _once(target: Target, script: Path, connections: int, seconds: int) -> Figures:
    reply = target.sample()
    size = len(reply.body) + sum(len(n) + len(v) + 4 for n, v in reply.headers)
    headers = [
        word for name, value in target.headers.items() for word in ("-H", f"{name}: {value}")
    ]
    command = [
        *("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", *headers),
        *("-s", str(script), f"http://127.0.0.1:{target.port}{target.path}"),
    ]
    before = cpu_s([target.pid]) if target.pid else 0.0
    tool_before = _children_s()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    tool_s = _children_s() - tool_before
    used_s = cpu_s([target.pid]) - before if target.pid else 0.0
    said = json.loads(done.stdout.strip().splitlines()[-1])
    if said["bad"] or not said["requests"]:
        raise DoesNotCountError(f"{target.name}: {said['bad']} answers were not right")
    each = said["bytes"] / said["requests"]
    # At the end each connection may have had a part of one more answer.
    part = size * connections / said["requests"]
    if target.is_compared and abs(each - size) > _SLACK_BYTES + 40 + part:
        raise DoesNotCountError(f"{target.name}: {each:.0f} bytes an answer, not {size}")
    per_s = said["requests"] / said["us"] * 1e6
    cpu_us, tool_us = (spent_s / said["requests"] * 1e6 for spent_s in (used_s, tool_s))
    return Figures(per_s, said["p50"], said["p99"], cpu_us, said["share"], tool_us)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _posting(body: bytes) -> str:
    if not body:
        return ""
    text = body.decode().replace("'", "")
    return (
        f"wrk.method, wrk.body = 'POST', '{text}'\n"
        "wrk.headers['Content-Type'] = 'application/json'\n"
    )


@contextmanager
def _scripts(targets: Sequence[Target]) -> Iterator[dict[str, Path]]:
    if not shutil.which("wrk"):
        raise DoesNotCountError("wrk is not here; on Debian and Ubuntu: apt install wrk")
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for number, target in enumerate(targets):
            path = Path(folder) / f"{number}.lua"
            path.write_text(_REPORT + target.script + _posting(target.body))
            found[target.name] = path
        yield found
