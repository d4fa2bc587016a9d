"""The page of figures names what was measured so that anybody can measure it again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench.http.page import UncommittedError, commit


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with one file committed."""
    (tmp_path / "code.py").write_text("1\n")
    who = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "one"]):
        command = ["git", *words]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=30)
    return tmp_path


def test_figures_of_a_committed_tree_name_its_commit(tree: Path) -> None:
    assert 7 <= len(commit(tree)) <= 40
    assert not commit(tree).endswith("+")


@pytest.mark.parametrize("changed", ["code.py", "more.py"])
def test_figures_of_a_tree_with_changes_are_refused_by_name(tree: Path, changed: str) -> None:
    (tree / changed).write_text("2\n")
    with pytest.raises(UncommittedError, match=changed):
        commit(tree)


def test_rows_that_were_written_before_do_not_keep_the_next_from_being_written(tree: Path) -> None:
    for written in ("docs/performance-http.md", "docs/figures/http-p99.svg"):
        (tree / written).parent.mkdir(parents=True, exist_ok=True)
        (tree / written).write_text("a row\n")
    assert commit(tree)


def test_figures_of_what_is_no_repository_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UncommittedError, match="git"):
        commit(tmp_path)
