"""Short messages that belong together travel in one packet."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from streaming.frames import Together

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "TCP_CORK"), reason="this system cannot hold packets back"
)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    far.settimeout(5)
    with near, far:
        yield near, far


def test_what_is_written_in_a_block_arrives_in_one_piece_at_its_end(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    near, far = ends

    with Together(near):
        near.sendall(b"the handshake's answer, ")
        near.sendall(b"the welcome")
    assert far.recv(100) == b"the handshake's answer, the welcome"


def test_what_is_written_behind_the_block_leaves_at_once_again(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    near, far = ends
    with Together(near):
        pass

    near.sendall(b"a tick")

    assert far.recv(100) == b"a tick"
    assert not near.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK)


def test_a_socket_that_was_closed_inside_the_block_harms_nobody(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    near, _ = ends

    with Together(near):
        near.close()

    assert near.fileno() == -1


def test_a_connection_without_a_socket_of_its_own_sends_as_it_does(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    near, far = ends

    with Together(None):
        near.sendall(b"said")

    assert far.recv(100) == b"said"
