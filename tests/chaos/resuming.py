"""A client as the contract wants it: it comes back, says what it had, and doubles nothing."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.clients import Client, Heard


@dataclass
class History:
    """What one user was shown, over all connections, in the order it was shown."""

    ticks: list[Heard] = field(default_factory=list)
    connections: int = 0
    recovered: int = 0
    started_over: int = 0  # told that the missed ticks cannot be had
    reasons: list[int] = field(default_factory=list)  # close codes
    waits_ms: list[int] = field(default_factory=list)  # of notices to come back
    breaks: set[int] = field(default_factory=set)  # before which tick it started over


class Resuming:
    """Keeps one subscription alive, whatever happens to its connections."""

    def __init__(
        self,
        port: Callable[[], int],
        symbols: Sequence[str],
        seed: int,
        *,
        dead_after_s: float = 45,
        most_wait_s: float = 2.0,
    ) -> None:
        self.history = History()
        self.client: Client | None = None
        self._port = port
        self._symbols = symbols
        self._random = random.Random(seed)
        self._dead_after_s = dead_after_s
        self._most_wait_s = most_wait_s
        self._place: tuple[str, int] | None = None
        self._tries = 0
        self._told_ms: int | None = None
        self._task = asyncio.create_task(self._live())

    async def stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    @property
    def is_up(self) -> bool:
        """Whether it is connected and has had a live tick on this connection."""
        return bool(self.client and self.client.is_open and self.client.count)

    @property
    def state(self) -> str:
        """Say how it stands with this client, for who looks for the reason."""
        client = self.client
        if client is None:
            return "not connected yet"
        silent_s = time.time() - client.last_at
        return (
            f"status {client.status}, open: {client.is_open}, "
            f"subscribed: {client.subscribed.done()}, live ticks: {client.count}, "
            f"all: {len(client.heard)}, silent for {silent_s:.1f} s, tries: {self._tries}"
        )

    async def _live(self) -> None:
        try:
            while True:
                await self._connect_once()
                await asyncio.sleep(self._wait_s())
        finally:
            if self.client is not None:
                self.client.close()

    async def _connect_once(self) -> None:
        self._tries += 1
        self.client = client = Client(self._symbols, keeps_prices=True, since=self._place)
        client.on_tick = self._shown
        with suppress(OSError, TimeoutError):
            await client.open(self._port(), within_s=10)
        if client.subscribed.done():
            self._tries = 0
            self._note_answer(client)
            self.history.connections += 1
            await self._until_dead(client)
        client.close()
        self._note_end(client)

    def _note_answer(self, client: Client) -> None:
        recovered = client.subscribed.result().get("recovered")
        if self._place is not None and recovered:
            self.history.recovered += 1
        elif self.history.connections:
            self.history.started_over += 1

    async def _until_dead(self, client: Client) -> None:
        while not client.gone.done():
            silent_s = time.time() - client.last_at
            if silent_s > self._dead_after_s:
                return
            left = self._dead_after_s - silent_s
            await asyncio.wait({client.gone}, timeout=min(left + 0.01, 0.5))

    def _note_end(self, client: Client) -> None:
        if client.gone.done():
            self.history.reasons.append(client.gone.result())
        notice = client.last_said("notice")
        self._told_ms = None
        if notice and notice["code"] == "stopping":
            self._told_ms = int(notice["retry_after_ms"])
            self.history.waits_ms.append(self._told_ms)

    def _wait_s(self) -> float:
        if self._told_ms is not None:
            return self._told_ms / 1000
        return self._random.uniform(0.05, min(self._most_wait_s, 0.25 * 2**self._tries))

    def _shown(self, heard: Heard) -> None:
        """Note a tick; a snapshot is shown too, and counts where it begins anew."""
        if heard.kind == "heartbeat":
            return
        place = (heard.epoch, heard.seq)
        if heard.is_live or heard.is_replay:
            self.history.ticks.append(heard)
            self._place = place
        elif self._place is None or self._place[0] != heard.epoch or self._place[1] < heard.seq:
            # A snapshot of a later tick: what lies between is not made up for.
            self.history.breaks.add(len(self.history.ticks))
            self._place = place


def gaps(history: History) -> int:
    """Return how many published ticks are missing where nothing said that they would be."""
    missing = 0
    ticks = history.ticks
    for number, (a, b) in enumerate(pairwise(ticks), start=1):
        is_told = number in history.breaks or (b.is_live and b.prev_seq == a.seq)
        if a.epoch == b.epoch and not is_told:
            missing += max(0, b.seq - a.seq - 1)
    return missing
