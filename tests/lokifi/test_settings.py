from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lokifi.development import development_key, read_env_file, running_notes, settle
from tests.processes import ROOT, environment

READERS = r'\b(?:read\.\w+|_source_url)\(\s*"([A-Z_]+)"'
CHAINS = {
    f"CHAIN_{kind}_{what}"
    for kind in ("COIN", "STOCK")
    for what in ("QUOTES", "HISTORY", "CANDLES", "SEARCH")
}
KNOWN = (
    set(re.findall(READERS, (ROOT / "lokifi/settings.py").read_text()))
    | CHAINS
    | {"VAR_DIR", "ENV_FILE"}
)


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    page = (ROOT / "docs/settings.md").read_text()
    rows = "\n".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`([A-Z_]+)`", rows)) == KNOWN


def test_every_setting_is_in_the_example_file_and_nothing_else_is() -> None:
    example = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"^#([A-Z_]+)=", example, re.MULTILINE)) == KNOWN


def read(
    told: str = "s.UPSTREAM_MODE, s.REDIS_URL", /, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Load the settings as a server started by hand does, and print the mode, or what is `told`."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            f"from lokifi import settings as s; print({told})",
        ],
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_without_debug_a_secret_key_is_demanded(tmp_path: Path) -> None:
    done = read(VAR_DIR=str(tmp_path))
    assert done.returncode != 0
    assert "SECRET_KEY must be set" in done.stderr


def test_the_sandbox_has_a_redis_database_of_its_own(tmp_path: Path) -> None:
    common = {"VAR_DIR": str(tmp_path), "SECRET_KEY": "k", "REDIS_URL": "redis://example:1"}
    assert read(**common, UPSTREAM="live").stdout.split() == ["live", "redis://example:1/0"]
    assert read(**common, UPSTREAM="sandbox").stdout.split() == ["sandbox", "redis://example:1/1"]


def test_settings_may_stand_in_a_file_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("# a remark\nPORT=8111\nHOST='10.0.0.1'\nSERVER=uvicorn\n")
    settings = {"ENV_FILE": str(tmp_path / "env"), "SERVER": "daphne"}
    read_env_file(settings)
    assert settings["PORT"] == "8111"
    assert settings["HOST"] == "10.0.0.1"
    assert settings["SERVER"] == "daphne"


def test_the_development_key_is_kept_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    key = development_key(tmp_path / "var")
    assert len(key) >= 50
    assert development_key(tmp_path / "var") == key
    assert stat.S_IMODE((tmp_path / "var" / "secret-key").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        ({"COINGECKO_KEY": "k"}, "live"),
        ({"FINNHUB_KEY": "k"}, "live"),
        ({"DEBUG": "0", "SECRET_KEY": "k"}, "live"),
        ({"UPSTREAM": "sandbox", "COINGECKO_KEY": "k"}, "sandbox"),
        ({}, "sandbox"),
    ],
    ids=["coingecko key", "finnhub key", "no development", "asked for", "nobody answers"],
)
def test_the_sandbox_is_chosen_by_itself_only_in_development_and_without_keys(
    tmp_path: Path, given: dict[str, str], mode: str
) -> None:
    nobody = "http://127.0.0.1:9/api/v3"
    settings = {"ENV_FILE": "/dev/null", "VAR_DIR": str(tmp_path), "COINGECKO_URL": nobody, **given}
    settle("up", settings)
    assert settings["UPSTREAM"] == mode


def test_debug_is_on_under_up_and_runserver_only(tmp_path: Path) -> None:
    for command, debug in [("up", "1"), ("runserver", "1"), ("migrate", None), ("shell", None)]:
        settings = {"ENV_FILE": "/dev/null", "VAR_DIR": str(tmp_path), "UPSTREAM": "sandbox"}
        settle(command, settings)
        assert settings.get("DEBUG") == debug


def test_notes_of_a_supervisor_that_is_gone_are_not_believed(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"pid": 1, "redis_url": "redis://127.0.0.1:1/0"}')
    (tmp_path / "up.lock").touch()
    assert running_notes(tmp_path) == {}


WRONG = [
    ("TRACKED_SYMBOLS", "BTC,B$C"),
    ("TRUSTED_PROXIES", "10.0.0.1,proxy.example.com"),
    ("TRUSTED_PROXIES", "10.0.0.0/33"),
    ("WS_ALLOWED_ORIGINS", "foo.com"),
    ("WS_ALLOWED_ORIGINS", "https://foo.com/page"),
    ("CORS_ALLOWED_ORIGINS", "foo"),
    ("CORS_ALLOWED_ORIGINS", "*"),
    ("ALLOWED_HOSTS", "http://x"),
    ("ALLOWED_HOSTS", "x:8000"),
    ("COINGECKO_URL", "ftp://x"),
    ("KRAKEN_URL", "https://"),
    ("FINNHUB_URL", "http://x:port"),
    ("FINNHUB_PLAN", "z"),
    ("CELERY_BROKER_URL", "amqp://x"),
    ("CELERY_BROKER_URL", "redis://x/16"),
    ("ENV_FILE", "/nope"),
    ("ENV_FILE", "/"),
    ("WS_HEARTBEAT_S", "45"),
    ("WS_MAX_MESSAGE_BYTES", "2000000"),
    ("REDIS_URL", "redis://x/16"),
    ("REDIS_URL", "redis://x/zero"),
    ("DATABASE_URL", "foo"),
    ("DATABASE_URL", "foo://x/y"),
    ("DATABASE_URL", "sqlite:////nope/x.sqlite3"),
    ("DATABASE_URL", "sqlite:////tmp"),
]


def manage(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env=environment(**{"SECRET_KEY": "k", **settings}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("mode", ["live", "sandbox"])
@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_value_that_cannot_be_right_is_told_in_one_sentence_that_names_the_setting(
    tmp_path: Path, name: str, value: str, mode: str
) -> None:
    done = manage("prepare", **{"VAR_DIR": str(tmp_path), "UPSTREAM": mode, name: value})
    assert done.returncode == 2
    assert name in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRACKED_SYMBOLS", "btc, BRK.B, crypto:SOL, stock:BRK/B, coingecko:bitcoin"),
        ("TRUSTED_PROXIES", "10.0.0.1,192.168.0.0/16,10.0.0.1/8,2001:db8::/32"),
        ("WS_ALLOWED_ORIGINS", "https://foo.com,http://localhost:3000/"),
        ("WS_ALLOWED_ORIGINS", "*"),
        ("CORS_ALLOWED_ORIGINS", "https://foo.com"),
        ("ALLOWED_HOSTS", "*,.foo.com,10.0.0.1,[::1],a_b-c.example."),
        ("CELERY_BROKER_URL", "redis://:secret@x:1/15"),
        ("CELERY_BROKER_URL", "redis+socket:///run/redis.sock?virtual_host=3"),
        ("REDIS_URL", "unix:///run/redis.sock"),
        ("DATABASE_URL", "sqlite://:memory:"),
        ("DATABASE_URL", "postgres://user:password@host/name"),
        ("WS_MAX_MESSAGE_BYTES", "1048576"),
    ],
)
def test_a_value_that_can_be_right_is_taken(tmp_path: Path, name: str, value: str) -> None:
    done = read(**{"SECRET_KEY": "k", "VAR_DIR": str(tmp_path), name: value})
    assert done.returncode == 0, done.stderr


def test_coingeckos_pro_plan_needs_a_key(tmp_path: Path) -> None:
    done = manage("prepare", VAR_DIR=str(tmp_path), UPSTREAM="live", COINGECKO_PLAN="pro")
    assert done.stderr.startswith("COINGECKO_PLAN=pro needs COINGECKO_KEY.")


@pytest.mark.parametrize(
    "words",
    [
        "daphne -p 0 lokifi.asgi:application",
        "uvicorn --port 0 lokifi.asgi:application",
        "celery -A lokifi worker",
        "celery -A lokifi beat",
    ],
)
def test_a_part_started_by_hand_tells_a_wrong_setting_in_one_sentence_too(words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *words.split()],
        cwd=ROOT,
        env=environment(SECRET_KEY="k", PUBLISH_INTERVAL_S="often"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr.startswith("PUBLISH_INTERVAL_S must be a whole number")
    assert len(done.stderr.splitlines()) == 1


def test_an_empty_value_is_none(tmp_path: Path) -> None:
    given = {"SECRET_KEY": "k", "VAR_DIR": str(tmp_path), "REDIS_URL": "redis://example:1"}
    empty = dict.fromkeys(KNOWN - set(given) - {"ENV_FILE"}, "")
    assert read(**given, **empty).stdout == read(**given).stdout

    (tmp_path / "env").write_text("CELERY_BROKER_URL=\nPORT=8111\n")
    settings = {"ENV_FILE": str(tmp_path / "env"), "PORT": ""}
    read_env_file(settings)
    assert settings["PORT"] == "8111"


def test_the_folder_of_what_is_kept_is_made_at_the_first_use(tmp_path: Path) -> None:
    var = tmp_path / "deep" / "var"
    done = manage("migrate", VAR_DIR=str(var), UPSTREAM="sandbox", REDIS_URL="redis://127.0.0.1:1")
    assert done.returncode == 0, done.stderr
    assert (var / "sandbox.sqlite3").is_file()


def test_a_folder_that_cannot_be_made_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = manage("migrate", VAR_DIR=str(tmp_path / "file" / "var"))
    assert done.returncode == 2
    assert done.stderr.startswith("VAR_DIR: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("what", ["quotes", "history", "candles"])
def test_yahoo_which_gives_no_licence_comes_last(tmp_path: Path, what: str) -> None:
    done = read(
        f"*s.PRICE_CHAINS['stock_{what}']",
        VAR_DIR=str(tmp_path),
        SECRET_KEY="k",
        UPSTREAM="live",
        YAHOO="on",
        ALPHAVANTAGE_KEY="a",
    )

    assert done.stdout.split()[-1] == "yahoo", done.stderr
    assert ("alphavantage" in done.stdout) == (what != "quotes")


def test_a_search_begins_with_our_own_catalogue(tmp_path: Path) -> None:
    common = {"VAR_DIR": str(tmp_path), "SECRET_KEY": "k"}
    assert read(**common, CHAIN_COIN_SEARCH="catalogue").returncode == 0
    for chain in ("coingecko,catalogue", "coingecko", "catalogue,nowhere"):
        refused = read(**common, CHAIN_STOCK_SEARCH=chain)
        assert refused.returncode != 0
        assert "CHAIN_STOCK_SEARCH" in refused.stderr
