"""The processes the product is made of: what starts each and when it counts as up."""

from __future__ import annotations

import errno
import signal
import socket
import sys
import time
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urlsplit

from celery import Celery
from django.conf import settings
from kombu.exceptions import OperationalError

from lokifi import embedded
from lokifi.answering import responds
from lokifi.development import CannotStartError
from lokifi.supervisor import Lines, Part
from prices import mode
from prices.mode import OtherModeError
from prices.redis_clients import RedisAwayError

MANAGE = str(Path(__file__).resolve().parent.parent / "manage.py")
STOP_ORDER: tuple[Collection[str], ...] = ({"web"}, {"beat", "worker"}, {"sandbox", "valkey"})
_WORKER = "worker"
_REDIS_WITHIN_S = 3.0


def manage(*words: str) -> list[str]:
    """Return the command line of a management command of ours."""
    return [sys.executable, MANAGE, *words]


def valkey(port: int, folder: Path) -> Part:
    return Part(
        name="valkey",
        command=embedded.command(port, folder),
        answers=lambda _: embedded.answers(port, folder),
        ready_within_s=15,
        stop_within_s=0.8,
        when_orphaned=signal.SIGTERM,  # so that it writes its dump
        # Of no concern for a cache of this size, and said at every start.
        hides=("Memory overcommit must be enabled",),
    )


def prepare() -> Part:
    # Its last line is a report for us.
    return Part("prepare", manage("prepare"), answers=lambda _: True, hides=('{"made_superuser"',))


def sandbox(port: int) -> Part:
    return Part(
        name="sandbox",
        command=manage("sandbox", "--port", str(port)),
        # By its own word: on that port another's may answer.
        answers=lambda lines: any(
            f"sandbox market on http://127.0.0.1:{port}," in line for line in list(lines)
        ),
        stop_within_s=0.5,
    )


def web(host: str, port: int) -> Part:
    serve = uvicorn(host, port) if settings.SERVER == "uvicorn" else daphne(host, port)
    return Part(
        name="web",
        command=serve,
        answers=lambda _: responds(f"http://{reachable(host)}:{port}/livez"),
        stop_within_s=2.2,
    )


def daphne(host: str, port: int) -> list[str]:
    """Return daphne's command line; its size limits are a net behind our own, lower ones."""
    most = str(4 * settings.WS_MAX_MESSAGE_BYTES)
    return [
        *(sys.executable, "-m", "daphne", "-v", "0", "-b", host, "-p", str(port)),
        *("--websocket-max-message-size", most, "--websocket-max-frame-size", most),
        *("--websocket_timeout", str(settings.WS_MAX_AGE_S + 60)),
        *("--ping-interval", "20", "--ping-timeout", "40"),
        *("--application-close-timeout", "3", "--no-server-name"),
        "lokifi.asgi:application",
    ]


def uvicorn(host: str, port: int) -> list[str]:
    """Return uvicorn's command line: the fast parser and loop, and the limits it leaves wide."""
    proxies = ",".join(settings.TRUSTED_PROXIES)
    return [
        *(sys.executable, "-m", "uvicorn", "--host", host, "--port", str(port)),
        # uvicorn's own classes (httptools, websockets-sansio) with a shorter way to a WebSocket.
        *("--http", "streaming.upgrade:Http", "--loop", "uvloop"),
        *("--ws", "streaming.uvicorn:Protocol"),
        *("--ws-max-size", str(4 * settings.WS_MAX_MESSAGE_BYTES)),
        *("--ws-per-message-deflate", "false", "--timeout-graceful-shutdown", "2"),
        # Left alone it believes whatever connects from 127.0.0.1.
        *(["--forwarded-allow-ips", proxies] if proxies else ["--no-proxy-headers"]),
        *("--log-level", "warning", "--no-access-log", "--no-server-header"),
        "lokifi.asgi:application",
    ]


def worker(broker_url: str) -> Part:
    return Part(
        name="worker",
        command=[
            *(sys.executable, "-m", "celery", "--quiet", "-A", "lokifi", "worker"),
            *("--hostname", f"{_WORKER}@%h"),
            *("--without-gossip", "--without-mingle", "--loglevel", "INFO"),
        ],
        answers=lambda lines: _has_said(lines, " ready.") and worker_answers(broker_url),
    )


def beat() -> Part:
    return Part(
        name="beat",
        command=[
            *(sys.executable, "-m", "celery", "--quiet", "-A", "lokifi", "beat"),
            *("--pidfile", "", "--loglevel", "INFO"),
        ],
        answers=lambda lines: _has_said(lines, "beat: Starting"),
    )


def reachable(host: str) -> str:
    """Return where to reach a server that listens on `host`."""
    return "127.0.0.1" if host in {"0.0.0.0", ""} else host  # noqa: S104


def is_taken(host: str, port: int) -> str:
    """Return why nothing can listen there, or an empty string where something can.

    Raises CannotStartError where `host` is nothing of this machine's.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            if isinstance(exc, socket.gaierror) or exc.errno == errno.EADDRNOTAVAIL:
                raise CannotStartError(
                    f"HOST must be an IPv4 address or a name of this machine, not {host!r}."
                ) from exc
            return exc.strerror or "refused"
    return ""


def demand_free(host: str, port: int) -> None:
    """Raise CannotStartError where nothing can listen on that port."""
    reason = is_taken(host, port)
    if reason:
        raise CannotStartError(
            f"Port {port} of {host} cannot be had ({reason}); free it, or start with "
            f"another: PORT={port + 1} make run"
        )


def demand_redis(url: str) -> None:
    """Raise CannotStartError where no Redis answers, or one that the other mode uses."""
    deadline = time.monotonic() + _REDIS_WITHIN_S
    while True:
        try:
            mode.claim()
        except OtherModeError as exc:
            raise CannotStartError(str(exc)) from exc
        except RedisAwayError as exc:
            if time.monotonic() > deadline:
                place = urlsplit(url).netloc.rpartition("@")[2] or urlsplit(url).path
                raise CannotStartError(
                    f"REDIS_URL: no Redis answers at {place}; start it, or leave REDIS_URL unset "
                    "for one of our own."
                ) from exc
            time.sleep(0.3)
        else:
            return


def _has_said(lines: Lines, words: str) -> bool:
    # A copy, since more may come meanwhile.
    return any(words in line for line in list(lines))


def worker_answers(broker_url: str) -> bool:
    """Return whether a worker on this broker answers a ping."""
    asking = Celery(broker=broker_url, set_as_current=False)
    try:
        return bool(asking.control.ping(timeout=1, limit=1))
    except (OperationalError, OSError):
        return False
    finally:
        asking.close()
