from __future__ import annotations

from pathlib import Path

import pytest
from kombu.exceptions import OperationalError

from lokifi.celery import app
from lokifi.embedded import EmbeddedServer, free_port


def test_a_broker_that_is_away_is_tried_every_second_and_told_of_once(tmp_path: Path) -> None:
    port = free_port()
    told: list[float] = []
    rounds = iter(range(100))
    started: list[EmbeddedServer] = []

    def come_back_later() -> None:
        if next(rounds) == 2:
            started.append(EmbeddedServer(tmp_path, port))

    with app.connection_for_write(url=f"redis://127.0.0.1:{port}/0") as connection:
        connection.ensure_connection(
            lambda _, wait_s: told.append(wait_s), callback=come_back_later
        )
        is_connected = connection.connected
    started[0].kill()

    assert is_connected
    assert told == [1]


def test_a_message_is_not_held_up_for_long_by_a_broker_that_is_away() -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with app.connection_for_write(url=url) as connection, pytest.raises(OperationalError):
        app.send_task("nothing", connection=connection, retry=False)
