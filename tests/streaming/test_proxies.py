from __future__ import annotations

from typing import Any

import pytest

from streaming.proxies import client_address, counted_as

PROXIES = ["10.0.0.1", "192.168.0.0/16", "2001:db8:1::/48"]


def scope(peer: str | None, *forwarded: str) -> dict[str, Any]:
    headers = [(b"host", b"example.com")]
    headers += [(b"x-forwarded-for", line.encode()) for line in forwarded]
    return {"client": peer and (peer, 50_000), "headers": headers}


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        pytest.param("198.51.100.7", [], "198.51.100.7", id="no proxy"),
        pytest.param("198.51.100.7", ["203.0.113.9"], "198.51.100.7", id="a client that lies"),
        pytest.param("10.0.0.1", ["203.0.113.9"], "203.0.113.9", id="one proxy"),
        pytest.param("10.0.0.1", [], "10.0.0.1", id="a proxy that tells nothing"),
        pytest.param("10.0.0.1", ["unknown"], "10.0.0.1", id="a proxy that does not know"),
        pytest.param("10.0.0.2", ["203.0.113.9"], "10.0.0.2", id="the proxy's neighbour"),
        pytest.param(
            "10.0.0.1", ["1.2.3.4, 203.0.113.9"], "203.0.113.9", id="a lie in front of the truth"
        ),
        pytest.param(
            "10.0.0.1", ["10.0.0.1, 203.0.113.9"], "203.0.113.9", id="a lie that names the proxy"
        ),
        pytest.param("10.0.0.1", ["1.2.3.4", "203.0.113.9"], "203.0.113.9", id="two headers"),
        pytest.param(
            "10.0.0.1", ["1.2.3.4, 203.0.113.9, 192.168.3.4"], "203.0.113.9", id="two proxies"
        ),
        pytest.param("10.0.0.1", ["192.168.3.4"], "192.168.3.4", id="proxies alone"),
        pytest.param("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9", id="with a port"),
        pytest.param("10.0.0.1", ["[2001:db8::5]:4711"], "2001:db8::5", id="IPv6 with a port"),
        pytest.param("10.0.0.1", ["2001:db8::5"], "2001:db8::5", id="IPv6"),
        pytest.param("2001:db8:1::9", ["203.0.113.9"], "203.0.113.9", id="an IPv6 proxy"),
        pytest.param("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9", id="IPv4 within IPv6"),
        pytest.param("10.0.0.1", [" , ,203.0.113.9, "], "203.0.113.9", id="commas"),
        pytest.param("10.0.0.1", ["\xff\xfe"], "10.0.0.1", id="bytes"),
        pytest.param("testclient", ["203.0.113.9"], "testclient", id="a peer without an address"),
        pytest.param(None, ["203.0.113.9"], None, id="a Unix socket"),
    ],
)
def test_the_client_is_the_last_whom_a_listed_proxy_has_seen(
    peer: str | None, forwarded: list[str], address: str | None
) -> None:
    assert client_address(scope(peer, *forwarded), PROXIES) == address


def test_without_listed_proxies_nobody_is_believed() -> None:
    assert client_address(scope("127.0.0.1", "203.0.113.9"), []) == "127.0.0.1"


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8::5", "2001:db8::/64"),
        ("2001:db8::ffff:0:0:1", "2001:db8::/64"),
        ("::ffff:203.0.113.9", "::ffff:203.0.113.9"),
        ("testclient", "testclient"),
    ],
)
def test_all_addresses_of_one_ipv6_network_count_as_one(address: str, counted: str) -> None:
    assert counted_as(address) == counted
