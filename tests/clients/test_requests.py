"""What both clients make of a server that stops in the middle of an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from lokifi_prices import PriceClient

from tests.clients.behaviours import failure
from tests.clients.test_far_ends import NODE

REQUESTS = str(Path(__file__).with_name("requests.mjs"))
HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
SAID = {
    "MUTE": "",
    "HALF": HEAD.format(99) + '{"symbol":',
    "CUT": HEAD.format(99) + '{"symbol":',
    "WRONG": HEAD.format(4) + "nope",
    "STREAM": HEAD.format(4) + "nope",
}
ENDS = {"CUT", "WRONG", "STREAM"}
pytestmark = pytest.mark.asyncio


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    asked = (await reader.readuntil(b"\r\n\r\n")).decode().split()[1].rpartition("/")[2]
    writer.write(SAID[asked].encode())
    await writer.drain()
    if asked not in ENDS:
        await reader.read()  # until the client goes
    writer.close()


def of(word: str) -> str:
    # In lower case it is a word of the API's addresses, and yet means the asset.
    return "stream" if word == "STREAM" else word


async def requested(url: str) -> dict[str, str]:
    """Ask by the Python client; the twin of requests.mjs."""
    async with PriceClient(url, timeout_s=0.5) as client:
        return {word: (await failure(client.quote(of(word)))).code for word in SAID}


async def in_node(url: str) -> dict[str, str]:
    if NODE is None:
        pytest.skip("no node here")
    done = await asyncio.create_subprocess_exec(NODE, REQUESTS, url, stdout=asyncio.subprocess.PIPE)
    printed, _ = await asyncio.wait_for(done.communicate(), 30)
    became: dict[str, str] = json.loads(printed)
    return became


CLIENTS: dict[str, Callable[[str], Awaitable[dict[str, str]]]] = {
    "python": requested,
    "node": in_node,
}
UNREACHABLE = dict.fromkeys(("MUTE", "HALF", "CUT"), "unreachable")


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_request_that_hangs_or_is_cut_off_is_one_to_a_server_that_is_away(
    client: str,
) -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        became = await CLIENTS[client](f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert {word: became[word] for word in SAID} == {
        **UNREACHABLE,
        "WRONG": "internal_error",
        "STREAM": "internal_error",
    }
    if client == "node":  # In Python a task is cancelled instead.
        assert (became["aborted"], became["timeout"]) == ("AbortError", "TimeoutError")
