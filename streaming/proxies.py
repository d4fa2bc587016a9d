"""Whose connection it is, where trusted proxies stand between.

Each proxy appends to X-Forwarded-For the address that connected to it. Whatever a
client wrote there itself stands further left, so the list is read from the right
and only as long as those who wrote are listed in TRUSTED_PROXIES. Works on any
ASGI scope, of a WebSocket or of a request.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any

Address = IPv4Address | IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# One customer of a provider has at least so much of IPv6, and could use each address of it.
_ONE_CLIENT_V6 = 64


def client_address(scope: Any, trusted: Sequence[str]) -> str | None:
    """Return the address of the client behind an ASGI scope; None where there is none.

    `trusted` are the addresses and networks of proxies whose X-Forwarded-For counts.
    """
    client = scope.get("client")
    if not client:
        return None  # Behind a Unix socket nobody has an address.
    peer = _address(str(client[0]))
    if peer is None:
        return str(client[0])
    networks = _networks(tuple(trusted))
    if not networks or not _is_in(peer, networks):
        return _written(str(client[0]))
    for hop in _hops(scope.get("headers", ())):
        if not _is_in(peer, networks):
            break
        further = _address(hop)
        if further is None:
            break  # A proxy that does not tell is the last we know of.
        peer = further
    return str(peer)


@functools.lru_cache(maxsize=1024)
def counted_as(address: str) -> str:
    """Return what an address is counted by: itself, or the /64 network of an IPv6 one."""
    parsed = _address(address)
    if isinstance(parsed, IPv6Address):
        return str(ipaddress.ip_network((parsed, _ONE_CLIENT_V6), strict=False))
    return address


def _hops(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """Return what X-Forwarded-For lists, the last first."""
    lines = [value.decode("latin1") for name, value in headers if name == b"x-forwarded-for"]
    return [hop.strip() for hop in ",".join(lines).split(",") if hop.strip()][::-1]


@functools.lru_cache(maxsize=1024)  # a crowd that comes at once has come through few proxies
def _address(text: str) -> Address | None:
    """Return an address, also where a port follows it."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


@functools.lru_cache(maxsize=1024)
def _written(text: str) -> str:
    """Return the address in a text as addresses are written: a port is left out."""
    return str(_address(text))


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


@functools.lru_cache(maxsize=8)
def _networks(trusted: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(entry, strict=False) for entry in trusted)
