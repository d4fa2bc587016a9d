"""The image and its compose file name what exists. Neither is built here."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from django.core.management import get_commands, load_command_class

from tests.processes import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker/compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
OURS = [name for name in SERVICES if name != "valkey"]


@pytest.mark.parametrize("service", OURS)
def test_each_service_runs_a_command_that_exists(service: str) -> None:
    _python, manage, name, *words = SERVICES[service]["command"]
    assert manage == "manage.py"
    command = load_command_class(get_commands()[name], name)
    command.create_parser("manage.py", name).parse_args(words)


def test_every_service_of_the_card_is_there() -> None:
    assert set(SERVICES) == {"web", "worker", "beat", "valkey", "sandbox", "prepare"}
    assert SERVICES["web"]["ports"] == ["${PORT:-8000}:8000"]


def test_nothing_waits_for_a_service_that_does_not_exist() -> None:
    awaited = {name for service in SERVICES.values() for name in service.get("depends_on", {})}
    assert awaited <= set(SERVICES)


def test_what_is_passed_on_are_settings() -> None:
    page = (ROOT / "docs/settings.md").read_text()
    passed = {name for name in OURS for name in SERVICES[name]["environment"]}
    assert {name for name in passed if f"`{name}`" not in page} == set()


def test_the_image_runs_as_nobody_special() -> None:
    assert re.search(r"^USER lokifi$", DOCKERFILE, re.MULTILINE)
    assert DOCKERFILE.index("USER lokifi") < DOCKERFILE.index("CMD")


def test_the_image_holds_what_the_product_needs_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    assert set(lines[1:-1]) == {
        "!manage.py",
        "!requirements.txt",
        "!lokifi",
        "!prices",
        "!streaming",
    }


def test_every_key_and_address_of_a_source_is_passed_on() -> None:
    page = (ROOT / "docs/settings.md").read_text()
    rows = "\n".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    wanted = set(re.findall(r"`(\w+_(?:KEY|URL|PLAN)|YAHOO)`", rows))
    wanted -= {"DATABASE_URL", "CELERY_BROKER_URL"}
    for name in OURS:
        assert wanted <= set(SERVICES[name]["environment"])


def test_the_modes_are_left_to_choose_their_databases() -> None:
    for name in OURS:
        environment = SERVICES[name]["environment"]
        assert not urlsplit(environment["REDIS_URL"]).path
        assert "CELERY_BROKER_URL" not in environment
