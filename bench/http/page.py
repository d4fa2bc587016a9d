"""Writes what was measured into docs/performance-http.md, row by row."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.plot import svg
from bench.row import Row
from tests.processes import ROOT

PAGE = ROOT / "docs" / "performance-http.md"
_HEAD = "# How fast answers leave\n"
# What writing the page changes.
_OWN = ("docs/performance-http.md", "docs/figures")


class UncommittedError(Exception):
    """Figures of this tree would be of a state that nobody can check out."""


def commit(root: Path = ROOT) -> str:
    """Return the commit that is measured, where it is. Raises UncommittedError."""
    changed = _git(root, "status", "--porcelain", "--", ".", *(f":!{path}" for path in _OWN))
    if changed:
        raise UncommittedError(f"not committed: {' '.join(changed.split())}")
    return _git(root, "rev-parse", "--short", "HEAD")


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UncommittedError(f"git: {done.stderr.strip()}")
    return done.stdout.strip()


def put(name: str, row: Row, facts: str) -> None:
    """Write a row in place of what stood there for it."""
    page = PAGE.read_text() if PAGE.exists() else _HEAD
    begin, end = f"<!-- row {name} -->", f"<!-- end {name} -->"
    block = "\n".join([begin, *_block(name, row, facts), end])
    if begin in page:
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        page = pattern.sub(lambda _: block, page)
    else:
        page = page.rstrip("\n") + "\n\n" + block + "\n"
    PAGE.write_text(page)


def _block(name: str, row: Row, facts: str) -> Iterator[str]:
    yield f"## {row.about}\n"
    yield f"`make bench ROWS={name}`; {facts}.\n"
    if row.marks:
        yield "| to reach | measured | |\n| --- | ---: | --- |"
        for what, value, reached in row.marks:
            yield f"| {what} | {value} | {'reached' if reached else '**missed**'} |"
        yield ""
    yield from table(row)
    yield ""
    yield from row.notes
    for title, points in row.lines.items():
        file = re.sub(r"\W+", "-", f"http {title}".lower()) + ".svg"
        picture = PAGE.parent / "figures" / file
        picture.parent.mkdir(exist_ok=True)
        y_label, _, x_label = title.partition(" by ")
        picture.write_text(svg(title, x_label, y_label, points))
        yield f"![{title}](figures/{file})"


def table(row: Row) -> Iterator[str]:
    """Yield the row's table in Markdown."""
    columns = list(dict.fromkeys(name for values in row.table.values() for name in values))
    if not columns:
        return
    yield f"| | {' | '.join(columns)} |"
    yield f"| --- | {' | '.join(['---:'] * len(columns))} |"
    for name, values in row.table.items():
        cells = (_number(values.get(column, 0.0)) for column in columns)
        yield f"| {name} | {' | '.join(cells)} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
