"""What the REST API may be asked: query strings and bodies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from django.http import QueryDict
from rest_framework import serializers

from prices.types import AssetKind, Period, Resolution

MAX_BATCH = 100

# Other ways to write a resolution. Case tells a minute from a month.
_RESOLUTION_NAMES = {
    "1m": "1", "5m": "5", "15m": "15", "30m": "30", "60m": "60", "240m": "240",
    "1h": "60", "1H": "60", "4h": "240", "4H": "240",
    "d": "D", "1d": "D", "1D": "D", "w": "W", "1w": "W", "1W": "W", "1M": "M",
}  # fmt: skip


_DIGITS = re.compile(r"[0-9]{1,9}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class WholeField(serializers.IntegerField):
    """A number in plain digits; Python's own reading takes digits of every script."""

    def to_internal_value(self, data: Any) -> int:
        if not _DIGITS.fullmatch(str(data).strip()):
            self.fail("invalid")
        return int(super().to_internal_value(data))


class ListedField(serializers.CharField):
    """Words with commas between; a parameter that is repeated adds to the list."""

    def get_value(self, dictionary: Mapping[Any, Any]) -> Any:
        name = str(self.field_name)
        if isinstance(dictionary, QueryDict) and name in dictionary:
            return ",".join(map(str, dictionary.getlist(name)))
        return super().get_value(dictionary)


class PeriodField(serializers.ChoiceField):
    """A period in any case; "1M" and "1m" both mean a month."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=[p.value for p in Period], **kwargs)

    def to_internal_value(self, data: Any) -> Period:
        return Period(super().to_internal_value(str(data).strip().lower()))


class ResolutionField(serializers.ChoiceField):
    """A resolution, also written as 1D, 1h and the like."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=[r.value for r in Resolution], **kwargs)

    def to_internal_value(self, data: Any) -> Resolution:
        text = str(data).strip()
        return Resolution(super().to_internal_value(_RESOLUTION_NAMES.get(text, text)))


class QuoteQuery(serializers.Serializer[Any]):
    force_refresh = serializers.BooleanField(
        default=False, help_text="Ask the source, at most once in 15 s"
    )


class ExplainedQuery(serializers.Serializer[Any]):
    explain = serializers.BooleanField(
        default=False, help_text="Say how the answer came about: for staff, and in development"
    )


class OneQuoteQuery(QuoteQuery, ExplainedQuery):
    pass


class HistoryQuery(OneQuoteQuery):
    period = PeriodField(default=Period.MONTH, help_text="How far back")


class CandlesQuery(HistoryQuery):
    resolution = ResolutionField(
        required=False, help_text="How wide a bar is: given exactly, or refused with 409"
    )


class DayField(serializers.DateField):
    """A day as YYYY-MM-DD."""

    def to_internal_value(self, value: Any) -> date:
        if not _DAY.fullmatch(str(value).strip()):
            self.fail("invalid", format="YYYY-MM-DD")
        return super().to_internal_value(str(value).strip())


class PriceAtQuery(ExplainedQuery):
    date = DayField(help_text="A day that is over or under way, YYYY-MM-DD")


class TopQuery(serializers.Serializer[Any]):
    limit = WholeField(default=100, min_value=1, max_value=300)
    page = WholeField(default=1, min_value=1, max_value=300)


class CoinSearchQuery(serializers.Serializer[Any]):
    q = serializers.CharField(min_length=1, max_length=100, trim_whitespace=False)
    limit = WholeField(default=50, min_value=1, max_value=100)

    def validate_q(self, value: str) -> str:
        if not value.strip():
            raise serializers.ValidationError("This field may not be blank.")
        return value


class SymbolSearchQuery(CoinSearchQuery):
    kind = serializers.ChoiceField(
        choices=[k.value for k in AssetKind], required=False, allow_blank=True
    )


class BatchQuery(QuoteQuery):
    symbols = ListedField(
        max_length=MAX_BATCH * 121, help_text=f"1 to {MAX_BATCH} symbols with commas between"
    )

    def validate_symbols(self, value: str) -> list[str]:
        symbols = [part.strip() for part in value.split(",") if part.strip()]
        if not 1 <= len(set(symbols)) <= MAX_BATCH:
            raise serializers.ValidationError(f"Name 1 to {MAX_BATCH} symbols.")
        return symbols


class StrictText(serializers.CharField):
    """Text that was text in the JSON: a number is not turned into one."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class BatchBody(QuoteQuery):
    symbols = serializers.ListField(
        child=StrictText(max_length=120, allow_blank=False), min_length=1, max_length=MAX_BATCH
    )
