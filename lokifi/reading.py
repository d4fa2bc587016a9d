"""How a setting is read: from the environment, checked, or a sentence that names it.

Everything here raises ImproperlyConfigured. An empty value is the same as none.
"""

from __future__ import annotations

import ipaddress
import os
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit, urlunsplit

import environ
from django.core.exceptions import ImproperlyConfigured

_MOST_DATABASES = 16
_HOST = re.compile(r"\*|\.?[A-Za-z0-9_]([A-Za-z0-9_.\-]*[A-Za-z0-9_])?\.?|\[[0-9A-Fa-f:.]+\]")
_SYMBOL = re.compile(
    r"coingecko:[a-z0-9._ \-]{1,100}|((crypto|stock):)?[a-z0-9][a-z0-9.\-/]{0,19}", re.IGNORECASE
)


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def flag(name: str, *, default: bool) -> bool:
    value = text(name).lower()
    if not value:
        return default
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} must be one of 1, 0, true, false, yes, no, on, off.")


def whole(name: str, default: int, *, least: int = 0, most: int = 2**31) -> int:
    value = text(name)
    try:
        number = int(value) if value else default
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}.") from None
    if not least <= number <= most:
        raise ImproperlyConfigured(f"{name} must lie between {least} and {most}, not {number}.")
    return number


def choice(name: str, default: str, *allowed: str) -> str:
    value = text(name, default).lower()
    if value not in allowed:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")
    return value


def words(name: str, default: str = "") -> list[str]:
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def _matching(name: str, found: Iterable[str], pattern: re.Pattern[str], what: str) -> list[str]:
    kept = list(found)
    for word in kept:
        if not pattern.fullmatch(word):
            raise ImproperlyConfigured(f"{name} must name {what}, not {word!r}.")
    return kept


def hosts(name: str, default: str) -> list[str]:
    """Return names of hosts as Django's ALLOWED_HOSTS takes them."""
    what = "hosts without scheme and port, such as example.com"
    return _matching(name, words(name, default), _HOST, what)


def symbols(name: str, default: str) -> list[str]:
    return _matching(name, words(name, default), _SYMBOL, "symbols such as BTC or crypto:BTC")


def networks(name: str) -> list[str]:
    """Return addresses and networks, such as 10.0.0.1 and 10.0.0.0/8."""
    found = words(name)
    for word in found:
        try:
            ipaddress.ip_network(word, strict=False)
        except ValueError:
            raise ImproperlyConfigured(
                f"{name} must name addresses or networks such as 10.0.0.0/8, not {word!r}."
            ) from None
    return found


def origins(name: str, *, may_be_any: bool) -> list[str]:
    """Return origins, `scheme://host[:port]`, of pages."""
    found = words(name)
    for word in found:
        if not (_is_origin(word) or (may_be_any and word == "*")):
            also = " or *" if may_be_any else "; unset, any page may"
            raise ImproperlyConfigured(
                f"{name} must name origins such as https://example.com{also}, not {word!r}."
            )
    return [word.rstrip("/") for word in found]


def _is_origin(word: str) -> bool:
    parts = _parts(word)
    return (
        parts is not None
        and parts.scheme in {"http", "https"}
        and parts.path in {"", "/"}
        and not (parts.query or parts.fragment or "@" in parts.netloc)
    )


def _parts(value: str) -> SplitResult | None:
    """Return a URL's parts, or None where it has no host or no port that can be."""
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 (raises ValueError where it is no port)
    except ValueError:
        return None
    return parts if parts.hostname or parts.scheme in {"unix", "redis+socket"} else None


def url(name: str, default: str, *schemes: str) -> str:
    value = text(name, default).rstrip("/")
    parts = _parts(value)
    if parts is None or parts.scheme not in schemes:
        begin = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ImproperlyConfigured(f"{name} must be a URL that begins with {begin}.")
    return value


# --- Redis -------------------------------------------------------------------------


def redis_url(name: str, default: str, database: int) -> str:
    """Return the URL of a Redis; where it names no database, `database` is meant."""
    value = url(name, default, "redis", "rediss", "unix")
    named = database_of(value, name)
    return with_database(value, database) if named is None else value


def broker_url(name: str, beside: str) -> str:
    """Return the URL of Celery's broker: of the Redis `beside`, two databases further, if unset."""
    default = with_database(beside, ((database_of(beside, "REDIS_URL") or 0) + 2) % _MOST_DATABASES)
    if default.startswith("unix:"):
        # The same socket, as Celery writes it.
        default = default.replace("unix:", "redis+socket:", 1).replace("db=", "virtual_host=")
    value = text(name, default)
    if value.split(":", 1)[0] not in {"redis", "rediss", "redis+socket"}:
        raise ImproperlyConfigured(
            f"{name} must be a Redis, redis://, rediss:// or redis+socket://; no other broker "
            "is supported."
        )
    url(name, value, "redis", "rediss", "redis+socket")
    database_of(value, name)
    return value


def database_of(value: str, name: str) -> int | None:
    """Return the number of the database that the URL of a Redis names."""
    parts = urlsplit(value)
    query = parse_qs(parts.query)
    number = (query.get("db") or query.get("virtual_host") or [""])[0]
    if not number and parts.hostname:
        number = parts.path.strip("/")
    if not number:
        return None
    if not number.isdecimal() or int(number) >= _MOST_DATABASES:
        raise ImproperlyConfigured(
            f"{name} must end in a database from 0 to {_MOST_DATABASES - 1}, not {number!r}."
        )
    return int(number)


def with_database(value: str, number: int) -> str:
    parts = urlsplit(value)
    if parts.scheme == "unix":
        others = {k: v[0] for k, v in parse_qs(parts.query).items() if k != "db"}
        query = "&".join(f"{k}={v}" for k, v in {**others, "db": str(number)}.items())
        return f"unix://{parts.netloc}{parts.path}?{query}"
    return urlunsplit(parts._replace(path=f"/{number}"))


# --- Folders and databases ------------------------------------------------------------


def folder(name: str, path: Path) -> Path:
    """Return the folder, made where it is not there yet."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ImproperlyConfigured(
            f"{name}: {path} cannot be written to ({exc.strerror}); databases and notes are "
            "kept there. Make it writable, or name another folder."
        ) from exc
    return path


def database(name: str, default: str) -> dict[str, Any]:
    """Return an entry of Django's DATABASES."""
    try:
        with warnings.catch_warnings():
            # Of a scheme that it does not know; it is told below.
            warnings.simplefilter("ignore")
            found: dict[str, Any] = environ.Env.db_url_config(text(name, default))
    except (KeyError, ValueError) as exc:
        raise ImproperlyConfigured(f"{name} must be the URL of a database.") from exc
    if "." not in found.get("ENGINE", ""):
        raise ImproperlyConfigured(f"{name} must be the URL of a database.")
    if found["ENGINE"].endswith("sqlite3"):
        _must_hold(name, Path(found["NAME"]))
    return found


def _must_hold(name: str, path: Path) -> None:
    """Raise where SQLite could not make its file, and one beside it for its log."""
    if str(path) == ":memory:":
        return
    if not path.parent.is_dir():
        raise ImproperlyConfigured(f"{name}: there is no folder {path.parent}.")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ImproperlyConfigured(f"{name}: {path} cannot be written to.")
