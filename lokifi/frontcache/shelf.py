"""Where copies lie: bounded in bytes, found by key, dropped by tag.

What is evicted is decided by two queues (S3-FIFO): a copy comes into the small one,
a tenth of the room, and leaves the shelf from its end unless it was used meanwhile;
then it goes on to the large one, where it stays as long as it is used between two
visits of the queue's end. So a flood of keys that are asked for once passes through a
tenth of the room, and a hit costs no more than one addition.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Hashable, Mapping
from time import monotonic, time_ns

from lokifi.frontcache.copies import Copy, varied
from lokifi.frontcache.rules import Fields

Key = tuple[Hashable, ...]

_SMALL_SHARE = 0.1
_MOST_USES = 3
# How many keys are remembered after they left the small queue, and how many versions of tags.
_GHOSTS = 4096
_VERSIONS = 4096
# Versions are microseconds since 1970 by the clock of who fetched. One that is further ahead
# of ours counts for this much, or one wrong clock would keep out all that follows.
_AHEAD_US = 2_000_000
# Bytes of a key's own objects, beside those of its words; and of what it takes to find a copy
# that varies.
_KEY_OVERHEAD = 600
_FORK_OVERHEAD = 900


def placed(key: Key, vary: tuple[bytes, ...], fields: Fields) -> Key:
    """Return where the answer to a request lies that varies by these headers."""
    return (*key, vary, *varied(fields, vary)) if vary else key


class _Fork:
    """What the answers to one key vary by, for as long as one of them is kept."""

    __slots__ = ("places", "vary")

    def __init__(self, vary: tuple[bytes, ...]) -> None:
        self.vary = vary
        self.places: set[Key] = set()


class Shelf:
    """Copies by key. `copies` may be read by anyone; only the shelf changes it."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.copies: dict[Key, Copy] = {}
        self._sizes: dict[Key, int] = {}
        self._small: OrderedDict[Key, None] = OrderedDict()
        self._large: OrderedDict[Key, None] = OrderedDict()
        self._small_bytes = 0
        self._ghosts: OrderedDict[int, None] = OrderedDict()
        self._bearers: dict[str, set[Key]] = {}
        # By key, and for each place where a copy that varies lies, the key.
        self._forks: dict[Key, _Fork] = {}
        self._keys: dict[Key, Key] = {}
        self._versions: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self.copies)

    @property
    def max_copy_bytes(self) -> int:
        """How large one copy may be: no single answer empties the shelf."""
        return self.max_bytes // 8

    def place(self, key: Key, fields: Fields) -> Key:
        """Return where the answer to a request lies, as far as is known what it varies by."""
        fork = self._forks.get(key)
        return placed(key, fork.vary, fields) if fork is not None else key

    def put(self, key: Key, copy: Copy, asked: Key | None = None) -> bool:
        """Keep a copy in place of an older one; return False where it is not to be kept.

        One that varies bears in `key` what it varies by; `asked` is the key without that.
        """
        asked = key if asked is None else asked
        self._drop_unlike(asked, copy.vary)
        size = self._size(key, copy)
        was_large = key in self._large
        before = self.copies.get(key)
        self.drop(key)
        if size > self.max_copy_bytes or not self.note(copy.tags):
            return False
        queue = self._small
        if before is not None:
            copy.uses = before.uses
        if was_large or hash(key) in self._ghosts:
            self._ghosts.pop(hash(key), None)
            queue = self._large
        else:
            self._small_bytes += size
        queue[key] = None
        copy.key = key
        self.copies[key] = copy
        self._sizes[key] = size
        self.bytes += size
        for tag in copy.tags:
            self._bearers.setdefault(tag, set()).add(key)
        if copy.vary:
            self._forks.setdefault(asked, _Fork(copy.vary)).places.add(key)
            self._keys[key] = asked
        self._make_room()
        return key in self.copies

    def _drop_unlike(self, asked: Key, vary: tuple[bytes, ...]) -> None:
        """Drop what lies where it would be looked for no more, once an answer varies by these."""
        fork = self._forks.get(asked)
        if fork is not None and fork.vary != vary:
            for place in list(fork.places):
                self.drop(place)
        if vary:
            self.drop(asked)

    def grew(self, copy: Copy) -> None:
        """Count what was added to a copy, as another encoding of it."""
        key = copy.key
        if self.copies.get(key) is not copy:
            return  # It was never kept, or it is gone again.
        more = self._size(key, copy) - self._sizes[key]
        self._sizes[key] += more
        self.bytes += more
        if key in self._small:
            self._small_bytes += more
        self._make_room()

    def drop(self, key: Key) -> None:
        copy = self.copies.pop(key, None)
        if copy is None:
            return
        size = self._sizes.pop(key)
        self.bytes -= size
        if key in self._small:
            del self._small[key]
            self._small_bytes -= size
        else:
            del self._large[key]
        for tag in copy.tags:
            bearers = self._bearers[tag]
            bearers.discard(key)
            if not bearers:
                del self._bearers[tag]
        if copy.vary:
            self._drop_fork(key)

    def _drop_fork(self, place: Key) -> None:
        asked = self._keys.pop(place)
        fork = self._forks[asked]
        fork.places.discard(place)
        if not fork.places:
            del self._forks[asked]

    def purge(self, tags: Collection[str]) -> None:
        """Drop every copy that bears one of these tags."""
        for tag in tags:
            for key in list(self._bearers.get(tag, ())):
                self.drop(key)

    def clear(self) -> None:
        """Drop every copy; which versions were seen is remembered."""
        for key in list(self.copies):
            self.drop(key)

    def note(self, tags: Mapping[str, int]) -> bool:
        """Take notice of what an answer holds; return False where newer was seen of any of it.

        Copies that hold an older version of it are dropped, so that nobody who was
        given this answer is given an older one after it.
        """
        is_newest = True
        for tag, version in tags.items():
            newest = self._versions.get(tag, 0)
            if version == newest:
                continue
            most = time_ns() // 1000 + _AHEAD_US
            if version < newest <= most:
                is_newest = False
            else:
                self._raise(tag, version, most)
        return is_newest

    def _raise(self, tag: str, version: int, most: int) -> None:
        """Let this be a tag's newest version, for which none counts above `most`."""
        for key in list(self._bearers.get(tag, ())):
            if self.copies[key].tags[tag] != version:
                self.drop(key)
        self._versions[tag] = min(version, most)
        self._versions.move_to_end(tag)
        if len(self._versions) > _VERSIONS:
            self._versions.popitem(last=False)

    def _make_room(self) -> None:
        while self.bytes > self.max_bytes:
            if self._small_bytes > _SMALL_SHARE * self.max_bytes or not self._large:
                self._push_small()
            else:
                self._push_large()

    def _push_small(self) -> None:
        """Take the oldest out of the small queue: on to the large one, or away."""
        key = next(iter(self._small))
        copy = self.copies[key]
        if copy.uses and monotonic() < copy.stale_until:
            del self._small[key]
            self._small_bytes -= self._sizes[key]
            self._large[key] = None
            copy.uses = 0
            return
        self.drop(key)
        self._ghosts[hash(key)] = None
        if len(self._ghosts) > _GHOSTS:
            self._ghosts.popitem(last=False)

    def _push_large(self) -> None:
        """Take the oldest of the large queue: to its end if it was used, else away."""
        key = next(iter(self._large))
        copy = self.copies[key]
        if copy.uses and monotonic() < copy.stale_until:
            copy.uses = min(copy.uses, _MOST_USES) - 1
            self._large.move_to_end(key)
            return
        self.drop(key)

    @staticmethod
    def _size(key: Key, copy: Copy) -> int:
        words = sum(len(part) for part in key if isinstance(part, str | bytes))
        # The key that leads to what varies may be another request's, of the same words.
        fork = _FORK_OVERHEAD + words if copy.vary else 0
        return copy.size + _KEY_OVERHEAD + words + fork
