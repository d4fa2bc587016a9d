"""T12, T13 and T21: nonsense, floods, and pages of other origins."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from itertools import count, pairwise
from typing import Any

from bench import wire
from streaming.demand import WANTED
from tests.chaos.clients import Client, Swarm, until
from tests.chaos.figures import Figure, at_least, at_most, exactly, percentile, told, within
from tests.chaos.scenario import SEED, Size, scenario
from tests.chaos.scenarios.malformed import CUT, FRAMES, LARGE, MESSAGES, STAYS, Kind
from tests.chaos.stage import MARKETS, Stage, seen
from tests.product import Web

_MESSAGES_A_CONNECTION = 45  # below WS_MAX_MISTAKES
_AT_ONCE = 20
_LAST_WORDS = {"too_large", "rate_limited"}  # a close follows, the second after three of them


@scenario(
    "T12",
    "Malformed frames and messages",
    sizes={
        "short": {"messages": 300, "frames": 30, "large": 1, "sockets": 5},
        "default": {"messages": 40_000, "frames": 2_000, "large": 3, "sockets": 50},
        "full": {"messages": 470_000, "frames": 30_000, "large": 20, "sockets": 50},
    },
)
async def malformed(stage: Stage, size: Size) -> list[Figure]:
    symbols = await stage.aside(stage.follow, 50)
    swarm = Swarm(symbols, 10, SEED)
    await swarm.open(stage.webs, size.sockets)
    chance = random.Random(SEED)
    await _nonsense(stage, min(900, size.messages), min(40, size.frames), 1, chance)
    await swarm.ticks(2, within_s=20)
    rss = [seen(web).rss_mib for web in stage.webs]
    begin = time.time()
    wrong = await _nonsense(stage, size.messages, size.frames, size.large, chance)
    await swarm.ticks(1, within_s=20)  # at least one falls in between
    end = time.time()
    grown = max(seen(w).rss_mib - then for w, then in zip(stage.webs, rss, strict=True))
    sent = size.messages + size.frames + size.large * len(LARGE)
    figures = [
        told("malformed frames and messages", sent),
        exactly("wrong answers", ", ".join(wrong.elements()) or 0, 0),
        exactly("stack traces of servers", stage.traces(), 0),
        at_most("growth of the server's memory", grown, 30, "MiB"),
        exactly("other sockets closed", swarm.lost, 0),
        # One that is not sent in time makes way for the next, which a busy machine may bring about.
        at_most("ticks that others missed", sum(map(_skipped, swarm.clients)), 0, timed=True),
        within("the others' p99 meanwhile", percentile(swarm.delays(begin, end), 0.99), 0.5),
    ]
    figures += [told(f"wrong: {what}", count) for what, count in wrong.most_common(6)]
    await swarm.close()
    return figures


def _skipped(client: Client) -> int:
    live = client.live
    return sum(max(0, b.seq - a.seq - 1) for a, b in pairwise(live))


async def _nonsense(
    stage: Stage, messages: int, frames: int, large: int, chance: random.Random
) -> Counter[str]:
    """Send so many of each sort, each frame on a connection of its own; return what went wrong."""
    wrong: Counter[str] = Counter()
    turns = asyncio.Semaphore(_AT_ONCE)
    parts = [_MESSAGES_A_CONNECTION] * (messages // _MESSAGES_A_CONNECTION)
    parts.append(messages % _MESSAGES_A_CONNECTION)
    kinds = [[chance.choice(MESSAGES) for _ in range(part)] for part in parts if part]
    kinds += [[chance.choice(FRAMES)] for _ in range(frames)]
    kinds += [[kind] for kind in LARGE for _ in range(large)]
    chance.shuffle(kinds)

    async def one(number: int, several: list[Kind]) -> None:
        async with turns:
            wrong.update(await _try(stage.webs[number % len(stage.webs)], several, chance))

    await asyncio.gather(*(one(number, several) for number, several in enumerate(kinds)))
    return wrong


async def _try(web: Web, kinds: list[Kind], chance: random.Random) -> list[str]:
    """Return what was not answered as it should be."""
    client = Client()
    await client.open(web.port)
    wrong: list[str] = []
    for kind in kinds:
        errors = len(client.said)
        client.write(kind.make(chance))
        await _answered(client, errors)
        wrong += _judged(kind, client, errors)
        if client.gone.done():
            break
    client.close()
    return wrong


async def _answered(client: Client, errors: int) -> None:
    # No mark is about this time: a busy machine may take seconds.
    deadline = asyncio.get_running_loop().time() + 20
    while not client.gone.done() and len(client.said) == errors:
        if asyncio.get_running_loop().time() > deadline:
            return
        await asyncio.sleep(0.001)
    if client.said[errors:] and client.said[-1][1].get("code") in _LAST_WORDS:
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(client.gone), 20)


def _judged(kind: Kind, client: Client, errors: int) -> list[str]:
    end = client.gone.result() if client.gone.done() else STAYS
    if end not in kind.ends:
        return [f"{kind.name}: {_said(end)}"]
    if end == STAYS:
        codes = [message.get("code") for _, message in client.said[errors:]]
        if not codes or codes[0] not in kind.codes:
            return [f"{kind.name}: answered {codes[:1]}"]
    return []


def _said(end: int) -> str:
    return {STAYS: "stayed open", CUT: "cut without a close"}.get(end, f"closed with {end}")


@scenario(
    "T13",
    "Floods of subscriptions and of symbols",
    sizes={
        "short": {"sockets": 5, "flooders": 1},
        "default": {"sockets": 50, "flooders": 10},
        "full": {"sockets": 200, "flooders": 50},
    },
)
async def floods(stage: Stage, size: Size) -> list[Figure]:
    symbols = await stage.aside(stage.follow, 50)
    swarm = Swarm(symbols, 10, SEED)
    await swarm.open(stage.webs, size.sockets)
    await swarm.ticks(2, within_s=20)
    before = await stage.aside(stage.upstream_calls)
    rss = [seen(web).rss_mib for web in stage.webs]
    begin = time.time()
    newcomers = asyncio.create_task(_newcomers(stage.webs, symbols))
    ends = Counter(await asyncio.gather(*_all_floods(stage.webs, int(size.flooders), symbols[0])))
    await swarm.ticks(1, within_s=20)  # at least one falls in between
    end = time.time()
    newcomers.cancel()
    tried = await newcomers
    await swarm.ticks(3, within_s=20)
    after = await stage.aside(stage.upstream_calls)
    calls = {p: n - before.get(p, 0) for p, n in after.items() if p != MARKETS}
    with stage.client() as client:
        held = [s.decode() for s in client.zrange(WANTED, 0, -1)]
    whole = Counter([await _one_message(web, count) for web in stage.webs for count in _MESSAGES])
    figures = [
        exactly("floods that did not end with 4429", ends.total() - ends["4429"], 0),
        told("how they ended", ", ".join(f"{what} ({n})" for what, n in sorted(ends.items()))),
        *(
            exactly(f"of {len(stage.webs)} servers: {what}", whole[what], len(stage.webs))
            for what in _MESSAGES.values()
        ),
        at_least("newcomers meanwhile", len(tried), 1),
        exactly("of them without the symbols they asked for", sum(not ok for _, ok in tried), 0),
        within("a newcomer's answer, p99", percentile([s for s, _ in tried], 0.99), 1.0),
        exactly("unknown symbols kept as wanted", sum(s.startswith("ZQ") for s in held), 0),
        exactly("upstream calls but the tick's own", sum(calls.values()), 0),
        at_most(
            "growth of the server's memory",
            max(seen(w).rss_mib - then for w, then in zip(stage.webs, rss, strict=True)),
            30,
            "MiB",
        ),
        exactly("other sockets closed", swarm.lost, 0),
        within("the others' p99 meanwhile", percentile(swarm.delays(begin, end), 0.99), 0.5),
        exactly("stack traces of servers", stage.traces(), 0),
    ]
    await swarm.close()
    return figures


_NAMES_A_MESSAGE = 1000
# How one message ends that names so many.
_MESSAGES = {
    10_000: "10,000 symbols: closed with 1009, or cut",
    1_500: "1,500 symbols: 500 limit, 1,000 unknown_symbol",
}


def _all_floods(
    webs: Sequence[Web], flooders: int, symbol: str
) -> Iterator[Coroutine[Any, Any, str]]:
    """Half of the flooders come from one address, each other one from its own."""
    chance = random.Random(SEED)
    for web in webs:
        for number in range(flooders):
            address = f"127.0.1.{number if number % 2 else 0}"
            yield _flood(web, address, _subscribes(chance))
            yield _flood(web, address, _there_and_back(symbol))


def _subscribes(chance: random.Random) -> Iterator[bytes]:
    """Yield a hundred messages of other names each, as long as they may be."""
    for _ in range(100):
        names = [f"ZQ{chance.randrange(10**7):x}" for _ in range(_NAMES_A_MESSAGE)]
        yield _frame("subscribe", names)


def _there_and_back(symbol: str) -> Iterator[bytes]:
    for _ in range(500):
        yield _frame("subscribe", [symbol])
        yield _frame("unsubscribe", [symbol])


def _frame(action: str, symbols: list[str]) -> bytes:
    return wire.frame(json.dumps({"action": action, "symbols": symbols}).encode())


async def _flood(web: Web, address: str, frames: Iterator[bytes]) -> str:
    """Send all frames as fast as they go; return how it ended."""
    client = await Client().open(web.port, address=address)
    for frame in frames:
        client.write(frame)
        await asyncio.sleep(0)
    await until(client.gone.done, within_s=60)
    end = str(client.gone.result()) if client.gone.done() else "stayed open"
    client.close()
    return end


async def _newcomers(webs: Sequence[Web], symbols: Sequence[str]) -> list[tuple[float, bool]]:
    """Come again and again until cancelled; return how long each was not answered, and if well.

    Each names what is followed already, by its name and by one that nobody has used yet.
    """
    tried: list[tuple[float, bool]] = []
    with suppress(asyncio.CancelledError):
        for number in count():
            name, other = symbols[number % len(symbols)], symbols[-1 - number % len(symbols)]
            client = Client([name, _in_other_case(other, number)])
            begin = time.monotonic()
            try:
                await client.open(webs[number % len(webs)].port)
                answer = client.subscribed.result() if client.subscribed.done() else None
                is_well = answer is not None and not answer["rejected"]
                tried.append((time.monotonic() - begin, is_well))
            finally:
                client.close()
            await asyncio.sleep(0.1)
    return tried


def _in_other_case(symbol: str, number: int) -> str:
    """Return a name of a symbol of which there are hundreds, and which was hardly used before."""
    letters = [c.lower() if number >> n & 1 else c for n, c in enumerate(f"CRYPTO:{symbol}")]
    return "".join(letters)


async def _one_message(web: Web, count: int) -> str:
    # An address of its own, which has not had its fill of unknown names.
    client = await Client().open(web.port, address="127.0.2.1")
    client.send(action="subscribe", symbols=[f"ZQ{i}" for i in range(count)])
    await until(lambda: client.gone.done() or client.subscribed.done(), within_s=20)
    if client.subscribed.done():
        codes = Counter(client.subscribed.result()["rejected"].values())
        end = ", ".join(f"{codes[code]:,} {code}" for code in sorted(codes))
    elif client.gone.done():
        # What a server has not read when it closes makes the kernel cut, before 1009 is read.
        code = client.gone.result()
        end = "closed with 1009, or cut" if code in {1009, CUT} else f"closed with {code}"
    else:
        end = "no answer"
    client.close()
    return f"{count:,} symbols: {end}"


_ORIGINS = [
    (None, True),
    ("http://127.0.0.1:{port}", True),
    ("HTTP://127.0.0.1:{port}", True),
    # A proxy may end TLS, so the scheme is the page's own business.
    ("https://127.0.0.1:{port}", True),
    ("http://127.0.0.1:1", False),
    ("http://127.0.0.1", False),
    ("http://localhost:{port}", False),
    ("http://127.0.0.1:{port}.evil.example", False),
    ("http://evil.example/127.0.0.1:{port}", False),
    ("http://evil127.0.0.1:{port}", False),
    ("https://evil.example", False),
    ("null", False),
    ("", False),
    ("file://", False),
    ("http://[::1", False),
]


@scenario(
    "T21",
    "Pages of other origins",
    sizes={"short": {}, "default": {}, "full": {}},
)
async def origins(stage: Stage, size: Size) -> list[Figure]:
    wrong: list[str] = []
    for web in stage.webs:
        for origin, is_let_in in _ORIGINS:
            status = await _status(web, origin and origin.format(port=web.port))
            # What is no origin at all, autobahn under daphne refuses itself, with 400.
            if status not in ({101} if is_let_in else {400, 403}):
                wrong.append(f"{origin}: {status}")
    return [
        told("origins tried", len(_ORIGINS)),
        exactly("wrong answers", ", ".join(wrong) or 0, 0),
        exactly("stack traces of servers", stage.traces(), 0),
    ]


async def _status(web: Web, origin: str | None) -> int:
    client = Client()
    with suppress(TimeoutError):
        await client.open(web.port, within_s=10, origin=origin)
    client.close()
    return client.status
