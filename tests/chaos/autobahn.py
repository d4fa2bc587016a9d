"""Autobahn's fuzzing client against both servers, as `make autobahn`.

It tests how the servers speak RFC 6455, with the options that the product gives them, on an
application that echoes. What each answers to each case is kept in autobahn.json; a case that
comes out otherwise is named. The client needs Python 2.7 and a C compiler (it is of 2015);
without them this ends with a sentence. Large messages (9.*) and compression (12.*, 13.*) are
left out: the first are over our limits, the second is off.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lokifi import parts
from lokifi.embedded import free_port
from tests.chaos.__main__ import SERVERS, load_settings
from tests.processes import ROOT, Process, environment, until

EXPECTED = Path(__file__).with_name("autobahn.json")
_HOME = ROOT / "var" / "autobahn"
_WSTEST = _HOME / "env" / "bin" / "wstest"
_LEFT_OUT = ["9.*", "12.*", "13.*"]


class Missing(Exception):  # noqa: N818 (no error: a tool is not there)
    """What the fuzzing client needs is not on this machine."""


def python27() -> str:
    """Return a Python 2.7 that runs. Raises Missing."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for found in [shutil.which("python2.7"), *sorted(versions.glob("2.7*/bin/python2.7"))]:
        if found and _runs([str(found), "-c", "import pip"]):
            return str(found)
    raise Missing("Autobahn was not run: there is no Python 2.7 with pip here.")


def _runs(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def install() -> None:
    """Put the fuzzing client into var/autobahn. Raises Missing."""
    if _WSTEST.exists():
        return
    python = python27()
    if not (shutil.which("cc") or shutil.which("gcc")):
        raise Missing("Autobahn was not run: there is no C compiler here.")
    tools = _HOME / "tools"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    steps = [
        [*pip, "--target", str(tools), "virtualenv==20.15.1"],
        [python, "-m", "virtualenv", "--quiet", str(_HOME / "env")],
        [str(_HOME / "env/bin/pip"), "install", "--quiet", "autobahntestsuite==25.10.1"],
    ]
    for step in steps:
        settings = {**os.environ, "PYTHONPATH": str(tools)} if step is steps[1] else os.environ
        done = subprocess.run(step, env=settings, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise Missing(f"Autobahn was not run: it cannot be installed ({' '.join(last)}).")


@contextmanager
def echoing(server: str, folder: Path) -> Iterator[int]:
    """Run an echo under a server with the product's options; yield its port."""
    port = free_port()
    serve = parts.uvicorn if server == "uvicorn" else parts.daphne
    command = [
        "tests.chaos.echo:application" if word == "lokifi.asgi:application" else word
        for word in serve("127.0.0.1", port)
    ]
    process = Process(command, folder / f"{server}.log", environment(SECRET_KEY="only-for-tests"))
    try:
        until(lambda: parts.is_taken("127.0.0.1", port), server, told=lambda: process.said)
        yield port
    finally:
        process.stop()


def fuzz(server: str) -> dict[str, str]:
    """Return how each case came out."""
    folder = Path(tempfile.mkdtemp(prefix="lokifi-autobahn-"))
    with echoing(server, folder) as port:
        spec = folder / "spec.json"
        spec.write_text(
            json.dumps(
                {
                    "outdir": str(folder / "reports"),
                    "servers": [{"agent": server, "url": f"ws://127.0.0.1:{port}"}],
                    "cases": ["*"],
                    "exclude-cases": _LEFT_OUT,
                    "exclude-agent-cases": {},
                }
            )
        )
        command = [str(_WSTEST), "-m", "fuzzingclient", "-s", str(spec)]
        subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=900)
    report = json.loads((folder / "reports" / "index.json").read_text())[server]
    shutil.rmtree(folder)
    return {case: f"{row['behavior']}, {row['behaviorClose']}" for case, row in report.items()}


def _by_number(case: str) -> list[int]:
    return [int(part) for part in case.split(".")]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make autobahn", description=__doc__)
    parser.add_argument("--server", default="", help="daphne or uvicorn; both if empty")
    parser.add_argument("--keep", action="store_true", help="make these results the expected ones")
    chosen = parser.parse_args()
    load_settings()
    try:
        install()
    except Missing as exc:
        print(exc)
        return 0
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    has_differed = False
    for server in [chosen.server] if chosen.server else SERVERS:
        found = fuzz(server)
        known = expected.get(server, {})
        others = {
            case for case in known.keys() | found.keys() if known.get(case) != found.get(case)
        }
        print(f"{server}: {len(found)} cases, {len(others)} other than expected")
        for case in sorted(others, key=_by_number):
            print(
                f"  {case}: {found.get(case, 'not run')} (expected: {known.get(case, 'nothing')})"
            )
        has_differed = has_differed or bool(others)
        expected[server] = dict(sorted(found.items(), key=lambda row: _by_number(row[0])))
    if chosen.keep:
        EXPECTED.write_text(json.dumps(expected, indent=1) + "\n")
    return int(has_differed and not chosen.keep)


if __name__ == "__main__":
    sys.exit(main())
