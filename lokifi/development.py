"""What `manage.py` settles before any setting is read.

In development a person sets nothing: DEBUG is on under `up` and `runserver`, a
secret key is made and kept, and where UPSTREAM is "auto" somebody has to look
whether CoinGecko can be reached. Only the environment is changed here, so that
every process started from here sees the same.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
_COINGECKO = "https://api.coingecko.com/api/v3"
_PROBE_WITHIN_S = 2.0
# Set for the parts that a supervisor starts: it has settled everything already.
SUPERVISED = "LOKIFI_SUPERVISED"
# Why this upstream was chosen; for the lines that `up` prints.
UPSTREAM_REASON = "LOKIFI_UPSTREAM_REASON"
_OFF = {"0", "false", "no", "off"}

Environment = MutableMapping[str, str]


class CannotStartError(Exception):
    """Something outside this program is in the way; the message is one clear sentence."""


class AlreadyRunningError(CannotStartError):
    """Another supervisor runs in this checkout."""


def var_dir(environment: Environment = os.environ) -> Path:
    return Path(environment.get("VAR_DIR", "").strip() or BASE_DIR / "var")


def settle(command: str, environment: Environment = os.environ) -> None:
    """Fill in what `command` needs and nobody has set."""
    read_env_file(environment)
    if environment.get(SUPERVISED):
        return
    serves = command in {"up", "runserver"}
    if serves and not environment.get("DEBUG", "").strip():
        environment["DEBUG"] = "1"
    if not environment.get("SECRET_KEY", "").strip() and not (serves and _is_off(environment)):
        environment["SECRET_KEY"] = development_key(var_dir(environment))
    if serves:
        _settle_upstream(environment)


def read_env_file(environment: Environment) -> None:
    """Add the settings of ENV_FILE (default: .env beside manage.py); the environment wins.

    Raises ImproperlyConfigured where ENV_FILE names no file.
    """
    named = environment.get("ENV_FILE", "").strip()
    path = Path(named or BASE_DIR / ".env")
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        if not named and not path.exists():
            return
        raise ImproperlyConfigured(f"ENV_FILE: {path} cannot be read.") from exc
    for line in lines:
        name, is_setting, value = line.strip().partition("=")
        # What is empty is not set, here and there.
        if is_setting and not name.startswith("#") and not environment.get(name.strip()):
            environment[name.strip()] = value.strip().strip("\"'")


def development_key(folder: Path) -> str:
    """Return this checkout's key, made at first use; one of the moment if none can be kept."""
    path = folder / "secret-key"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_urlsafe(50))
        kept = path.read_text().strip()
        if kept:
            return kept
    return secrets.token_urlsafe(50)


def _is_off(environment: Environment) -> bool:
    return environment.get("DEBUG", "").strip().lower() in _OFF


def _settle_upstream(environment: Environment) -> None:
    if environment.get("UPSTREAM", "").strip().lower() not in {"", "auto"}:
        environment[UPSTREAM_REASON] = "UPSTREAM says so"
        return
    notes = running_notes(var_dir(environment))
    if notes:
        mode, reason = str(notes["upstream"]), "what runs here already uses it"
    elif environment.get("COINGECKO_KEY", "").strip() or environment.get("FINNHUB_KEY", "").strip():
        mode, reason = "live", "a key is set"
    elif _is_off(environment):
        mode, reason = (
            "live",
            "DEBUG is off, and the sandbox is chosen by itself in development only",
        )
    elif _is_reachable((environment.get("COINGECKO_URL", "").strip() or _COINGECKO) + "/ping"):
        mode, reason = "live", "CoinGecko can be reached"
    else:
        mode, reason = "sandbox", f"CoinGecko did not answer within {_PROBE_WITHIN_S:g} s"
    environment["UPSTREAM"] = mode
    environment[UPSTREAM_REASON] = reason


def _is_reachable(url: str) -> bool:
    """Return whether anything answers HTTP there in time; a refusal is an answer."""
    answered = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(url, headers={"User-Agent": "lokifi"})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=_PROBE_WITHIN_S):  # noqa: S310
                answered.set()
        except urllib.error.HTTPError:
            answered.set()
        except (OSError, ValueError):
            return

    # A thread, since nothing else bounds how long a name may take to resolve.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PROBE_WITHIN_S)
    return answered.is_set()


# --- Who runs in this checkout -------------------------------------------------


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold this checkout's lock. Raises CannotStartError, AlreadyRunningError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "up.lock").open("a")
    except OSError as exc:
        raise CannotStartError(
            f"{folder} cannot be written to ({exc.strerror}); databases and notes are kept "
            "there. Make it writable, or name another folder by VAR_DIR."
        ) from exc
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise AlreadyRunningError(_already_running(folder)) from exc
        try:
            yield
        finally:
            (folder / "run.json").unlink(missing_ok=True)


def _already_running(folder: Path) -> str:
    notes = running_notes(folder)
    where = f" (process {notes['pid']}, port {notes['port']})" if notes else ""
    return f"It runs in this checkout already{where}; stop that one first, or set another VAR_DIR."


def running_notes(folder: Path) -> dict[str, Any]:
    """Return what the supervisor of this checkout wrote down, or {} if none runs."""
    try:
        with (folder / "up.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with suppress(OSError, ValueError):
            notes: dict[str, Any] = json.loads((folder / "run.json").read_text())
            return notes
    except OSError:
        return {}
    return {}


def write_notes(folder: Path, notes: dict[str, Any]) -> None:
    """Write down what runs, in one piece."""
    draft = folder / "run.json.new"
    draft.write_text(json.dumps(notes))
    draft.replace(folder / "run.json")
