"""What is committed of the TypeScript client is the compilation of its source."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.processes import ROOT

TYPESCRIPT = ROOT / "clients/typescript"
DASHBOARD = ROOT / "lokifi/dashboard/static/dashboard/client"
TSC = TYPESCRIPT / "node_modules/.bin/tsc"


def digests() -> dict[str, str]:
    lines = (TYPESCRIPT / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def test_neither_source_nor_compilation_was_changed_without_the_other() -> None:
    files = [path for folder in ("src", "dist") for path in (TYPESCRIPT / folder).iterdir()]
    found = {
        str(path.relative_to(TYPESCRIPT)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
    assert found == digests(), "make clients compiles anew"


def test_the_dashboard_has_the_compiled_modules() -> None:
    compiled = {path.name: path.read_bytes() for path in (TYPESCRIPT / "dist").glob("*.js")}
    assert {path.name: path.read_bytes() for path in DASHBOARD.iterdir()} == compiled
    assert "./client/stream.js" in (DASHBOARD.parent / "prices.js").read_text()


def test_the_compiler_makes_of_the_source_what_is_committed(tmp_path: Path) -> None:
    if not TSC.exists() or shutil.which("node") is None:
        pytest.skip("no compiler here; make clients installs it")
    done = subprocess.run(
        [str(TSC), "--outDir", str(tmp_path)], cwd=TYPESCRIPT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in (TYPESCRIPT / "dist").iterdir()}
