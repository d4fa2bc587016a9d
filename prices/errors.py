"""Everything that can go wrong on purpose.

    PricesError
    ├── InvalidParameterError           400  invalid_parameter
    ├── InvalidSymbolError              400  invalid_symbol
    ├── PlanRestrictedError             403  plan_restricted
    ├── ProviderNotConfiguredError      403  provider_not_configured
    ├── UnknownSymbolError              404  unknown_symbol
    ├── InactiveSymbolError             410  inactive_symbol  (delisted or renamed)
    ├── NoPriceError                    404  not_found
    ├── NoCloseError                    404  not_found  (no close so early)
    ├── NotListedError                  404  not_found  (one source does not have the asset)
    ├── ResolutionUnavailableError      409  resolution_unavailable
    ├── ClientLimitError                429  rate_limited             (carries retry_after_s)
    └── UpstreamError                   503  upstream_unavailable     (carries retry_after_s)
        ├── UpstreamTimeoutError        503  upstream_unavailable
        ├── UpstreamRefusedError        503  upstream_unavailable     (our key)
        ├── UpstreamMalformedError      503  upstream_unavailable     (their bug, or a new format)
        ├── UpstreamNotFoundError       503  upstream_unavailable     (they do not know that id)
        ├── UpstreamJumpError           503  upstream_unavailable     (far from the price we have)
        └── UpstreamRateLimitedError    503  upstream_rate_limited
            └── BudgetSpentError        503  upstream_rate_limited    (our own budget)
                └── LookupsSpentError   never leaves the services

`code` is the public contract: the REST problem body, a batch's `failed` and the
WebSocket's `rejected` carry the same word. The message is for a person and may
change freely; it never holds a URL, because a URL may hold a key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, ClassVar, Self


class PricesError(Exception):
    """Base of all. `extra` holds the members a problem body has beside the usual ones."""

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500
    # What `fallback_from` says of a source that was passed over for it, if not `code`.
    passed_over_as: ClassVar[str | None] = None

    def __init__(self, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.extra = extra

    def noted(self) -> dict[str, Any]:
        """Return what `recalled` needs to raise the same error again, as plain data."""
        told = {name: value for name, value in vars(self).items() if name != "got"}
        return {"error": type(self).__name__, "message": str(self), **told}

    @classmethod
    def again(cls, message: str, attributes: Mapping[str, Any]) -> Self:
        """Return an error of this class as it was, without its constructor."""
        error = cls.__new__(cls)
        Exception.__init__(error, message)
        vars(error).update(attributes)
        return error


class InvalidParameterError(PricesError):
    """A parameter has a value it cannot have."""

    code = "invalid_parameter"
    http_status = 400

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}", errors=[{"field": field, "message": message}])
        self.field = field


class InvalidSymbolError(PricesError):
    """A symbol is not of any form that a symbol can have."""

    code = "invalid_symbol"
    http_status = 400

    def __init__(self, asked: str) -> None:
        super().__init__(f"{asked[:120]!r} is not a symbol.")


class UnknownSymbolError(PricesError):
    """A symbol has the right form, and no asset is listed under it."""

    code = "unknown_symbol"
    http_status = 404

    def __init__(self, asked: str) -> None:
        super().__init__(f"No asset is listed under {asked[:120]!r}.")


class InactiveSymbolError(PricesError):
    """The asset that bore a symbol is listed no more, or trades under another ticker."""

    code = "inactive_symbol"
    http_status = 410

    def __init__(
        self, asked: str, successor: Mapping[str, str] | None = None, last_day: date | None = None
    ) -> None:
        self.asked = asked
        text = f"{asked[:120]!r} is not traded any more"
        if successor:
            text = f"{asked[:120]!r} trades as {successor['symbol']!r} now"
        super().__init__(
            f"{text}.",
            successor=dict(successor) if successor else None,
            last_day=last_day.isoformat() if last_day else None,
        )


class NoPriceError(PricesError):
    """The asset is listed, and its source gives no price for it."""

    code = "not_found"
    http_status = 404

    def __init__(self, symbol: str) -> None:
        super().__init__(f"No source gives a price for {symbol!r} now.")


class NoCloseError(PricesError):
    """No source has a close of the asset on a day or before it."""

    code = "not_found"
    http_status = 404

    def __init__(self, symbol: str, day: date, first: date | None = None) -> None:
        since = f" The first is of {first}." if first else ""
        super().__init__(
            f"There is no close of {symbol!r} on {day} or before it.{since}",
            available_from=first.isoformat() if first else None,
        )


class PlanRestrictedError(PricesError):
    """The source would answer on another plan than ours.

    of_capability: it refuses all questions of that kind, not this asset or period alone.
    of_source_s: for how long it is believed to refuse us whatever we ask; 0 where it does not.
    """

    code = "plan_restricted"
    http_status = 403
    of_capability = False
    of_source_s = 0.0

    def __init__(
        self,
        provider: str,
        detail: str,
        *,
        allowed_by: str,
        of_capability: bool = False,
        of_source_s: float = 0.0,
    ) -> None:
        super().__init__(f"{provider}: {detail}", provider=provider, allowed_by=allowed_by)
        self.of_capability = of_capability
        self.of_source_s = of_source_s


class ProviderNotConfiguredError(PricesError):
    """The source that would answer has no key."""

    code = "provider_not_configured"
    http_status = 403

    def __init__(self, provider: str, setting: str) -> None:
        super().__init__(
            f"{provider} needs {setting} to be set.", provider=provider, setting=setting
        )


class NotListedError(PricesError):
    """One source of a chain does not have the asset; the next one may."""

    code = "not_found"
    http_status = 404

    def __init__(self, source: str, ref: str) -> None:
        super().__init__(f"{source} does not list {ref}.")


class ResolutionUnavailableError(PricesError):
    """No source gives bars of the named width over the period."""

    code = "resolution_unavailable"
    http_status = 409

    def __init__(self, resolution: str, available: Sequence[str]) -> None:
        self.resolution = resolution
        super().__init__(
            f"Bars of {resolution} cannot be had over this period.", available=list(available)
        )


class ClientLimitError(PricesError):
    """A client has as much of us as it may have, or nobody gets more."""

    code = "rate_limited"
    http_status = 429

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UpstreamError(PricesError):
    """A source could not be asked or did not answer properly."""

    code = "upstream_unavailable"
    http_status = 503

    def __init__(self, provider: str, detail: str, *, retry_after_s: float = 10) -> None:
        super().__init__(f"{provider}: {detail}")
        self.provider = provider
        self.detail = detail
        self.retry_after_s = retry_after_s
        # What of a series had come before it broke off; see providers/days.py.
        self.got: Sequence[Any] = ()


class UpstreamTimeoutError(UpstreamError):
    """The source did not answer in time."""


class UpstreamRefusedError(UpstreamError):
    """The source refuses our key."""


class UpstreamMalformedError(UpstreamError):
    """The source's answer cannot be read."""


class UpstreamNotFoundError(UpstreamError):
    """The source knows nothing under that id; a service turns it into UnknownSymbolError."""

    passed_over_as = "not_found"


class UpstreamJumpError(UpstreamError):
    """The source's newest price lies beyond reason from the one we have; another may confirm it."""

    passed_over_as = "jump"


class UpstreamRateLimitedError(UpstreamError):
    """The source's limit, or our budget for it, is used up for now."""

    code = "upstream_rate_limited"


class BudgetSpentError(UpstreamRateLimitedError):
    """Not the source but our own budget for it has no call left."""


class LookupsSpentError(BudgetSpentError):
    """The small budget for symbols that no catalogue knows is used up."""


_BY_NAME: dict[str, type[PricesError]] = {
    cls.__name__: cls
    for cls in (
        NoPriceError,
        NotListedError,
        PlanRestrictedError,
        BudgetSpentError,
        UpstreamError,
        *UpstreamError.__subclasses__(),
    )
}


def recalled(note: Mapping[str, Any]) -> PricesError:
    """Return the error that `noted` wrote down. Raises KeyError for a note of another kind."""
    attributes = {name: value for name, value in note.items() if name not in {"error", "message"}}
    return _BY_NAME[note["error"]].again(str(note["message"]), attributes)
