"""Every setting, read from the environment here and nowhere else.

docs/settings.md lists them with their meaning; a value that cannot be right
stops the start with the name of the setting (ImproperlyConfigured).
"""

from __future__ import annotations

import os
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from lokifi import reading as read
from lokifi.celery import AlignedSchedule
from lokifi.development import development_key, read_env_file, running_notes, var_dir

# Servers that are started by hand read .env too, not manage.py alone.
read_env_file(os.environ)

# Where things are kept while running: databases, the supervisor's notes, the
# embedded server's dumps.
VAR_DIR = read.folder("VAR_DIR", var_dir())


def _running() -> dict[str, Any]:
    """Return the notes of the supervisor that runs in this checkout, or {}.

    They let `manage.py shell` and the like find the Redis that `up` started.
    """
    if os.environ.get("REDIS_URL"):
        return {}
    notes = running_notes(VAR_DIR)
    asked = os.environ.get("UPSTREAM", "").strip().lower()
    # Who asks for the other mode must not be given the keys of this one.
    return notes if asked in {"", "auto", notes.get("upstream")} else {}


RUNNING = _running()

# --- The process -----------------------------------------------------------

DEBUG = read.flag("DEBUG", default=False)
SECRET_KEY = read.text("SECRET_KEY")
if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured("SECRET_KEY must be set where DEBUG is off.")
    SECRET_KEY = development_key(VAR_DIR)
# The password of the first superuser, `admin`, where there is none yet.
ADMIN_PASSWORD = read.text("ADMIN_PASSWORD")
ALLOWED_HOSTS = read.hosts("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
HOST = read.text("HOST", "127.0.0.1")
PORT = read.whole("PORT", 8000, least=1, most=65535)
SERVER = read.choice("SERVER", "daphne", "daphne", "uvicorn")

# --- Which upstream ----------------------------------------------------------

UPSTREAM = read.choice("UPSTREAM", "auto", "auto", "live", "sandbox")
COINGECKO_KEY = read.text("COINGECKO_KEY")
COINGECKO_PLAN = read.choice(
    "COINGECKO_PLAN", "demo" if COINGECKO_KEY else "keyless", "keyless", "demo", "pro"
)
FINNHUB_KEY = read.text("FINNHUB_KEY")
SANDBOX_PLAN = read.choice("SANDBOX_PLAN", "all", "all", "free")
SANDBOX_URL = read.url(
    "SANDBOX_URL", str(RUNNING.get("sandbox_url") or "http://127.0.0.1:8090"), "http", "https"
)

# `up` and `runserver` settle "auto" before any process reads this file; where
# nobody did, the running supervisor's choice counts, else live.
UPSTREAM_MODE = UPSTREAM if UPSTREAM != "auto" else str(RUNNING.get("upstream") or "live")

if COINGECKO_PLAN != "keyless" and not COINGECKO_KEY and UPSTREAM_MODE == "live":
    raise ImproperlyConfigured(f"COINGECKO_PLAN={COINGECKO_PLAN} needs COINGECKO_KEY.")

FINNHUB_PLAN = read.choice("FINNHUB_PLAN", "free", "free", "paid")
TWELVEDATA_KEY = read.text("TWELVEDATA_KEY")
TIINGO_KEY = read.text("TIINGO_KEY")
ALPHAVANTAGE_KEY = read.text("ALPHAVANTAGE_KEY")
# Yahoo asks for no key and gives no licence: only who wants it has it, and last.
YAHOO = read.flag("YAHOO", default=False)

_IS_SANDBOX = UPSTREAM_MODE == "sandbox"
if _IS_SANDBOX:
    COINGECKO_PLAN = "demo" if SANDBOX_PLAN == "free" else "sandbox"
    FINNHUB_PLAN = "free" if SANDBOX_PLAN == "free" else "sandbox"


def _source_url(name: str, live: str, in_sandbox: str) -> str:
    """Return where a source is: the setting counts in live mode alone, and is checked in both."""
    url = read.url(name, live, "http", "https")
    return f"{SANDBOX_URL}/{in_sandbox}" if _IS_SANDBOX else url


def _key(key: str) -> str:
    # The sandbox takes any key, and shall not see a real one.
    return "sandbox" if _IS_SANDBOX else key


COINGECKO_URL = _source_url(
    "COINGECKO_URL",
    "https://pro-api.coingecko.com/api/v3"
    if COINGECKO_PLAN == "pro"
    else "https://api.coingecko.com/api/v3",
    "coingecko/api/v3",
)
FINNHUB_URL = _source_url("FINNHUB_URL", "https://finnhub.io/api/v1", "finnhub/api/v1")
COINBASE_URL = _source_url("COINBASE_URL", "https://api.exchange.coinbase.com", "coinbase")
KRAKEN_URL = _source_url("KRAKEN_URL", "https://api.kraken.com/0/public", "kraken/0/public")
BINANCE_URL = _source_url("BINANCE_URL", "https://api.binance.com/api/v3", "binance/api/v3")
TWELVEDATA_URL = _source_url("TWELVEDATA_URL", "https://api.twelvedata.com", "twelvedata")
TIINGO_URL = _source_url("TIINGO_URL", "https://api.tiingo.com", "tiingo")
ALPHAVANTAGE_URL = _source_url("ALPHAVANTAGE_URL", "https://www.alphavantage.co", "alphavantage")
YAHOO_URL = _source_url(
    "YAHOO_URL", "https://query1.finance.yahoo.com/v8/finance", "yahoo/v8/finance"
)

# Calls that a plan allows; what is not named has no limit. Sources: docs/providers.md.
_PLAN_CALLS: dict[tuple[str, str], dict[str, int]] = {
    ("coingecko", "keyless"): {"per_minute": 5},
    ("coingecko", "demo"): {"per_minute": 30, "per_month": 10_000},
    ("coingecko", "pro"): {"per_minute": 250, "per_month": 100_000},
    ("finnhub", "free"): {"per_second": 30, "per_minute": 60},
    ("finnhub", "paid"): {"per_second": 30, "per_minute": 300},
    ("coinbase", "free"): {"per_second": 10},
    ("kraken", "free"): {"per_second": 1},
    ("binance", "free"): {"per_second": 20, "per_minute": 600},
    ("twelvedata", "free"): {"per_minute": 8, "per_day": 800},
    ("tiingo", "free"): {"per_hour": 50, "per_day": 1000},
    ("yahoo", "free"): {"per_second": 1, "per_minute": 20},
    ("alphavantage", "free"): {"per_second": 1, "per_day": 25},
}


def _limits(source: str, plan: str) -> dict[str, int | None]:
    calls = _PLAN_CALLS.get((source, plan), {})
    return {
        name: read.whole(f"{source}_{name}".upper(), calls.get(name, 0), least=0) or None
        for name in ("per_second", "per_minute", "per_hour", "per_day", "per_month")
    }


def _provider(
    name: str,
    backend: str,
    url: str,
    plan: str,
    *,
    refresh_s: int,
    changes_s: int = 60,
    delay_s: int = 0,
    key: str = "",
    needs: str = "",
    symbols_a_call: int = 1,
) -> dict[str, Any]:
    """Return one entry of PRICE_PROVIDERS.

    A quote is not asked for again sooner than `refresh_s`: the source's own data
    changes no faster, or its plan allows no more (docs/providers.md). While there is
    trade its own time moves every `changes_s`, `delay_s` behind the market.
    """
    if _IS_SANDBOX and SANDBOX_PLAN == "all":
        plan, refresh_s = "sandbox", 0
    return {
        "BACKEND": f"prices.providers.{backend}",
        "OPTIONS": {"base_url": url, "api_key": _key(key), "plan": plan},
        "LIMITS": _limits(name, plan),
        "REFRESH_S": refresh_s,
        "CHANGES_S": changes_s,
        "DELAY_S": delay_s,
        "KEY_SETTING": needs,
        "SYMBOLS_A_CALL": symbols_a_call,
    }


PRICE_PROVIDERS: dict[str, dict[str, Any]] = {
    "coingecko": _provider(
        "coingecko",
        "coingecko.CoinGecko",
        COINGECKO_URL,
        COINGECKO_PLAN,
        key=COINGECKO_KEY,
        symbols_a_call=250,
        refresh_s=20 if COINGECKO_PLAN == "pro" else 60,
    ),
    "finnhub": _provider(
        "finnhub",
        "finnhub.Finnhub",
        FINNHUB_URL,
        FINNHUB_PLAN,
        key=FINNHUB_KEY,
        needs="FINNHUB_KEY",
        refresh_s=60,
    ),
    "coinbase": _provider("coinbase", "coinbase.Coinbase", COINBASE_URL, "free", refresh_s=30),
    "kraken": _provider(
        "kraken", "kraken.Kraken", KRAKEN_URL, "free", refresh_s=30, symbols_a_call=50
    ),
    "binance": _provider(
        "binance", "binance.Binance", BINANCE_URL, "free", refresh_s=30, symbols_a_call=100
    ),
    "twelvedata": _provider(
        "twelvedata",
        "twelvedata.TwelveData",
        TWELVEDATA_URL,
        "free",
        key=TWELVEDATA_KEY,
        needs="TWELVEDATA_KEY",
        refresh_s=300,
    ),
    "tiingo": _provider(
        "tiingo",
        "tiingo.Tiingo",
        TIINGO_URL,
        "free",
        key=TIINGO_KEY,
        needs="TIINGO_KEY",
        refresh_s=300,
        symbols_a_call=100,
    ),
    "yahoo": _provider("yahoo", "yahoo.Yahoo", YAHOO_URL, "free", refresh_s=60, delay_s=900),
    "alphavantage": _provider(
        "alphavantage",
        "alphavantage.AlphaVantage",
        ALPHAVANTAGE_URL,
        "free",
        key=ALPHAVANTAGE_KEY,
        needs="ALPHAVANTAGE_KEY",
        refresh_s=300,
    ),
}


def _chain(name: str, default: str) -> list[str]:
    sources = read.words(f"CHAIN_{name}".upper(), default)
    unknown = [source for source in sources if source not in PRICE_PROVIDERS]
    if unknown:
        raise ImproperlyConfigured(f"CHAIN_{name.upper()} names no source: {', '.join(unknown)}.")
    return sources


def _search_chain(name: str, default: str) -> list[str]:
    """Return what a search looks in: our own catalogue, then the searches of sources."""
    setting = f"CHAIN_{name}".upper()
    first, *sources = read.words(setting, default)
    if first != "catalogue":
        raise ImproperlyConfigured(f"{setting} must begin with catalogue.")
    unknown = [source for source in sources if source not in PRICE_PROVIDERS]
    if unknown:
        raise ImproperlyConfigured(f"{setting} names no source: {', '.join(unknown)}.")
    return [first, *sources]


# Whose catalogue says which assets there are.
PRICE_SOURCES = {"crypto": "coingecko", "stock": "finnhub"}
_LICENSED, _LAST = "finnhub,twelvedata,tiingo", ",yahoo" if YAHOO else ""
_STOCK_SOURCES = _LICENSED + _LAST
# The sandbox does not speak for this one.
_HAS_ALPHAVANTAGE = bool(ALPHAVANTAGE_KEY) and not _IS_SANDBOX
_STOCK_SERIES = _LICENSED + (",alphavantage" if _HAS_ALPHAVANTAGE else "") + _LAST
# Which sources are tried for what, in order. Exchanges come first where volume
# and narrow bars count, and last where one call for 250 coins does.
PRICE_CHAINS = {
    "coin_quotes": _chain("coin_quotes", "coingecko,binance,coinbase,kraken"),
    "coin_history": _chain("coin_history", "coingecko,coinbase,binance,kraken"),
    "coin_candles": _chain("coin_candles", "coinbase,binance,kraken,coingecko"),
    "stock_quotes": _chain("stock_quotes", _STOCK_SOURCES),
    "stock_history": _chain("stock_history", _STOCK_SERIES),
    "stock_candles": _chain("stock_candles", _STOCK_SERIES),
    "coin_search": _search_chain("coin_search", "catalogue,coingecko"),
    "stock_search": _search_chain("stock_search", "catalogue,finnhub"),
}

LOOKUPS_PER_MINUTE = read.whole("LOOKUPS_PER_MINUTE", 5, least=1)
# Beyond these a number is not taken at its word; 0: it always is.
DISPUTE_PERCENT = read.whole("DISPUTE_PERCENT", 3, least=0, most=100)
DISPUTE_CHECK_S = read.whole("DISPUTE_CHECK_S", 300, least=0, most=86_400)
JUMP_PERCENT = read.whole("JUMP_PERCENT", 25, least=0, most=10_000)
TRACKED_SYMBOLS = read.symbols("TRACKED_SYMBOLS", "BTC,ETH,SOL,AAPL,MSFT,TSLA")

# How long the store keeps bars narrower than an hour, and those of hours; days for ever.
KEEP_MINUTES_DAYS = read.whole("KEEP_MINUTES_DAYS", 90, least=1, most=36_500)
KEEP_HOURS_DAYS = read.whole("KEEP_HOURS_DAYS", 1830, least=1, most=36_500)

# --- Redis: the cache and the channel layer, and the Celery broker -------------

# A Redis of one's own that names no database: the sandbox keeps to its own.
REDIS_URL = str(RUNNING.get("redis_url") or "") or read.redis_url(
    "REDIS_URL", "redis://127.0.0.1:6379", 1 if UPSTREAM_MODE == "sandbox" else 0
)
CELERY_BROKER_URL = str(RUNNING.get("broker_url") or "") or read.broker_url(
    "CELERY_BROKER_URL", beside=REDIS_URL
)

CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "django",
        "OPTIONS": {
            "CONNECTION_FACTORY": "prices.redis_clients.ConnectionFactory",
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
        },
    }
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "streaming.layer.PatientLayer",
        "CONFIG": {
            # redis-py 8's own time-outs, written out: for subscribing and announcing. Who listens
            # waits by a time of its own (streaming/layer.py).
            "hosts": [{"address": REDIS_URL, "socket_connect_timeout": 2, "socket_timeout": 5}],
            "prefix": f"lokifi:{UPSTREAM_MODE}",
        },
    }
}

# --- The contract's limits -------------------------------------------------------

PUBLISH_INTERVAL_S = read.whole("PUBLISH_INTERVAL_S", 30, least=1, most=3600)
WS_HEARTBEAT_S = read.whole("WS_HEARTBEAT_S", 15, least=1, most=300)
WS_DEAD_AFTER_S = read.whole("WS_DEAD_AFTER_S", 45, least=2, most=900)
if WS_HEARTBEAT_S >= WS_DEAD_AFTER_S:
    raise ImproperlyConfigured("WS_DEAD_AFTER_S must be longer than WS_HEARTBEAT_S.")
# At most what daphne takes by itself, where nobody tells it more.
WS_MAX_MESSAGE_BYTES = read.whole("WS_MAX_MESSAGE_BYTES", 16 * 1024, least=256, most=1024 * 1024)
WS_MAX_SYMBOLS = read.whole("WS_MAX_SYMBOLS", 500, least=1)
WS_MAX_MESSAGES = read.whole("WS_MAX_MESSAGES", 20, least=1)
WS_MESSAGE_BURST = read.whole("WS_MESSAGE_BURST", 100, least=1)
WS_MAX_MISTAKES = read.whole("WS_MAX_MISTAKES", 50, least=1)
WS_MAX_CONNECTIONS_PER_ADDRESS = read.whole("WS_MAX_CONNECTIONS_PER_ADDRESS", 200, least=1)
WS_MAX_CONNECTIONS = read.whole("WS_MAX_CONNECTIONS", 20_000, least=1)
WS_MAX_AGE_S = read.whole("WS_MAX_AGE_S", 86_400, least=60)
WS_MAX_BUFFERED_BYTES = read.whole("WS_MAX_BUFFERED_BYTES", 2**20, least=65_536)
WS_SLOW_AFTER_S = read.whole("WS_SLOW_AFTER_S", 30, least=1, most=600)
TRUSTED_PROXIES = read.networks("TRUSTED_PROXIES")
WS_ALLOWED_ORIGINS = read.origins("WS_ALLOWED_ORIGINS", may_be_any=True)
CORS_ALLOWED_ORIGINS = read.origins("CORS_ALLOWED_ORIGINS", may_be_any=False)

# --- Answers kept in each server process, in front of Django -----------------------

FRONT_CACHE_BYTES = read.whole("FRONT_CACHE_BYTES", 64 * 2**20, least=0)

# --- Django ----------------------------------------------------------------------

INSTALLED_APPS = [
    # First, so that its runserver is the one that runs. It is daphne's, which need not be an
    # app for that: as one it would load Twisted into every process, half a second and 23 MB.
    "lokifi",
    "lokifi.dashboard",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "prices",
    "streaming",
]
MIDDLEWARE = [
    "lokifi.middleware.NoBodyForHead",
    "lokifi.middleware.RequestId",
    "lokifi.middleware.ProblemErrors",
    "lokifi.middleware.Packed",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "lokifi.middleware.AdminPolicy",
    "lokifi.middleware.Cors",
    "lokifi.middleware.Probes",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "lokifi.middleware.Csrf",
    "lokifi.middleware.Users",
    "lokifi.middleware.Messages",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "lokifi.middleware.OnlyIfCached",
]
ROOT_URLCONF = "lokifi.urls"
ASGI_APPLICATION = "lokifi.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    "default": read.database("DATABASE_URL", f"sqlite:///{VAR_DIR / f'{UPSTREAM_MODE}.sqlite3'}")
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"].setdefault("OPTIONS", {}).update(
        # Readers and the one writer do not wait for each other; a writer that
        # must wait waits instead of failing at once.
        transaction_mode="IMMEDIATE",
        timeout=10,
        init_command="PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    )
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True
# A vendored file has its version in its name.
WHITENOISE_IMMUTABLE_FILE_TEST = r"^/static/dashboard/vendor/.+-\d+\.\d+\.\d+\.mjs$"
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024

CORS_ALLOW_ALL_ORIGINS = not CORS_ALLOWED_ORIGINS
CORS_URLS_REGEX = r"^/api/"
CORS_ALLOW_METHODS = ["GET", "HEAD", "POST", "OPTIONS"]
CORS_ALLOW_HEADERS = ["Accept", "Content-Type", "If-None-Match", "Last-Event-ID", "X-Request-ID"]
CORS_EXPOSE_HEADERS = [
    *("ETag", "Age", "X-Cache", "Retry-After", "X-Request-ID"),
    *("X-Source", "X-As-Of", "X-Stale"),
]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "prices.problems.handle",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Lokifi prices",
    "DESCRIPTION": (
        "Crypto and stock prices behind one door. Every answer names its source and when it held; "
        "what a source does not give is `null`. Every error is a problem (RFC 9457) with a stable "
        "`code`. GET addresses take HEAD too; other methods get 405 `method_not_allowed`. Live "
        "prices come over the WebSocket at `/api/ws/prices`."
    ),
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "prices.schema.add_answers",
        "prices.udf.schema.add_shapes",
        "prices.document.complete",
    ],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SERVERS": [{"url": "/", "description": "The server that this document comes from."}],
    "TAGS": [
        {"name": "prices", "description": "What coins and stocks are worth, and were."},
        {"name": "udf", "description": "The same for TradingView's charting library."},
    ],
}

# --- Celery ------------------------------------------------------------------------

CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = "UTC"
# The two modes never take each other's tasks, even on one broker.
CELERY_TASK_DEFAULT_QUEUE = f"lokifi-{UPSTREAM_MODE}"
# Threads: a slow task does not hold up a tick, Django is loaded once, and there
# are no children of a child to lose.
CELERY_WORKER_POOL = "threads"
CELERY_WORKER_CONCURRENCY = 4
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# For ever: a worker that gives up is missed when the broker is back (see lokifi/broker.py).
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# Every value written out: redis-py's own defaults hide a server that hangs.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_timeout": 15,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 30,
}
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / f"beat-{UPSTREAM_MODE}")
CELERY_BEAT_SCHEDULE: dict[str, Any] = {
    "publish prices": {
        "task": "streaming.tasks.publish_prices",
        "schedule": AlignedSchedule(PUBLISH_INTERVAL_S),
        # A tick that could not be made in time is not made up for.
        "options": {"expires": 0.9 * PUBLISH_INTERVAL_S},
    },
    "fill catalogues": {
        "task": "prices.tasks.fill_catalogues",
        # Once a day: at midnight UTC, or when beat next runs after it.
        "schedule": AlignedSchedule(86_400),
    },
    "fill missing catalogues": {
        "task": "prices.tasks.fill_missing_catalogues",
        "schedule": AlignedSchedule(300),
    },
    "prune the store": {
        "task": "prices.tasks.prune_store",
        "schedule": AlignedSchedule(86_400),
    },
}
if DISPUTE_CHECK_S:
    CELERY_BEAT_SCHEDULE["compare sources"] = {
        "task": "streaming.tasks.compare_sources",
        "schedule": AlignedSchedule(DISPUTE_CHECK_S),
        "options": {"expires": 0.9 * DISPUTE_CHECK_S},
    }

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "filters": {
        "in one line": {"()": "lokifi.logs.InOneLine"},
        "one an outage": {"()": "lokifi.logs.Unavailable"},
        "once in a while": {"()": "lokifi.logs.OnceInAWhile"},
    },
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        # Without Django's own handlers, which would write every line once more.
        "django": {"handlers": [], "level": "INFO"},
        # What fails here; what a client got wrong, it is told itself.
        "django.request": {"level": "ERROR", "filters": ["one an outage"]},
        "django.security.DisallowedHost": {"filters": ["in one line"]},
        # One line a request, with the whole URL in it; and queries may hold what is private.
        "httpx": {"level": "WARNING"},
        # A line for each task taken, beside the one for each task done; and chatter.
        "celery.worker.strategy": {"level": "WARNING"},
        "daphne": {"level": "WARNING"},
        "uvicorn.error": {"filters": ["once in a while"]},
    },
}
