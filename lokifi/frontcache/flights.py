"""Requests that are with the application, and who waits for which of them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from time import monotonic

from lokifi.frontcache.copies import Copy
from lokifi.frontcache.shelf import Key

# For so long, requests for what turned out not to be public do not wait for each other.
_ALONE_S = 1.0
_MOST_ALONE = 1024


class LeaderFailedError(Exception):
    """The application failed at a request, and with it at all who waited for that one."""


class Flight:
    """One request that is with the application, and what those who wait for it get."""

    __slots__ = ("is_void", "landed", "place", "purged")

    def __init__(self, place: Key) -> None:
        self.place = place
        # The copy; None where this answer is nobody else's.
        loop = asyncio.get_running_loop()
        self.landed: asyncio.Future[Copy | Exception | None] = loop.create_future()
        # What was dropped from the shelf since it began; void: all of it.
        self.purged: set[str] = set()
        self.is_void = False

    @property
    def is_undisturbed(self) -> bool:
        """Whether nothing was dropped since it began."""
        return not self.is_void and not self.purged

    def may_be_kept(self, copy: Copy) -> bool:
        return not self.is_void and self.purged.isdisjoint(copy.tags)


class Flights:
    """All of them. A place is what is asked, with all that tells who may be given one answer."""

    def __init__(self) -> None:
        # Those who may be waited for, none of them landed; and all that the application has.
        self._waited: dict[Key, Flight] = {}
        self._in_air: set[Flight] = set()
        # By a place's hash: what clients make up is not held.
        self._alone_until: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._in_air)

    def get(self, place: Key) -> Flight | None:
        """Return the one to wait for, if any."""
        return self._waited.get(place)

    def begin(self, place: Key) -> Flight:
        flight = Flight(place)
        self._in_air.add(flight)
        self._waited.setdefault(place, flight)
        return flight

    async def wait_for(self, flight: Flight) -> Copy | None:
        """Return what is for all who wait. Raises LeaderFailedError where the application did."""
        landed = await asyncio.shield(flight.landed)
        if isinstance(landed, Exception):
            raise LeaderFailedError from landed
        return landed

    def land(self, flight: Flight, copy: Copy | Exception | None) -> None:
        """Give those who wait what is for all of them; from now on nobody waits for this one."""
        self._in_air.discard(flight)
        if self._waited.get(flight.place) is flight:
            del self._waited[flight.place]
        if not flight.landed.done():
            flight.landed.set_result(copy)

    def purge(self, tags: Collection[str]) -> None:
        """Note what was dropped; who comes from now on is not given what was read before."""
        for flight in self._in_air:
            flight.purged.update(tags)
        self._waited.clear()

    def clear(self) -> None:
        for flight in self._in_air:
            flight.is_void = True
        self._waited.clear()

    def note_alone(self, place: Key) -> None:
        """Note that an answer was for one request alone; the next ones do not wait."""
        if len(self._alone_until) >= _MOST_ALONE:
            self._alone_until.clear()
        self._alone_until[hash(place)] = monotonic() + _ALONE_S

    def is_alone(self, place: Key) -> bool:
        return self._alone_until.get(hash(place), 0.0) > monotonic()
