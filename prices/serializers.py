"""What the REST API may be asked: query strings and bodies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, ClassVar

from django.http import QueryDict
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from prices.answers import LAST_SECOND
from prices.forms import Fill, Form, Shape
from prices.types import AssetKind, Period, Resolution

MAX_BATCH = 100
# Each may cost a call of its own.
MOST_SERIES = 20
# More than any series that is given has.
MOST_ITEMS = 100_000

# Other ways to write a resolution. Case tells a minute from a month.
_RESOLUTION_NAMES = {
    "1m": "1", "5m": "5", "15m": "15", "30m": "30", "60m": "60", "240m": "240",
    "1h": "60", "1H": "60", "4h": "240", "4H": "240",
    "d": "D", "1d": "D", "1D": "D", "w": "W", "1w": "W", "1W": "W", "1M": "M",
}  # fmt: skip


_WHOLE = re.compile(r"-?[0-9]{1,9}")
_SECONDS = re.compile(r"[0-9]{1,12}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# The first share was traded in 1602; what is asked for before that is a slip of the pen.
_FIRST_DAY = date(1602, 1, 1)
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?"
    r"(?:Z|[+-][0-9]{2}:[0-9]{2})?)?"
)


class WholeField(serializers.IntegerField):
    """A number in plain digits; Python's own reading takes digits of every script."""

    default_error_messages: ClassVar = {
        "invalid": "A whole number is wanted, in plain digits.",
        "min_value": "At least {min_value}.",
        "max_value": "At most {max_value}.",
    }

    def to_internal_value(self, data: Any) -> int:
        if not _WHOLE.fullmatch(str(data).strip()):
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


@extend_schema_field({"type": "string", "examples": ["1795046400", "2026-11-19"]})
class MomentField(serializers.Field[int, Any, Any, Any]):
    """A moment as Unix seconds, a day (its midnight), or a time of ISO 8601; UTC unless it says."""

    default_error_messages = {  # noqa: RUF012 - as REST framework declares it
        "invalid": "Whole Unix seconds, YYYY-MM-DD or a time of ISO 8601, 1970 to 2099."
    }

    def to_internal_value(self, data: Any) -> int:
        # An offset's plus that was not encoded has become a space.
        text = str(data).strip().replace(" ", "+")
        try:
            at = int(text) if _SECONDS.fullmatch(text) else _seconds(text)
        except (ValueError, OverflowError):
            self.fail("invalid")
        if not 0 <= at < LAST_SECOND:
            self.fail("invalid")
        return at


def _seconds(text: str) -> int:
    if not _MOMENT.fullmatch(text):
        raise ValueError(text)
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


class ShapeQuery(serializers.Serializer[Any]):
    """What of a series is wanted, and how it is written."""

    format = serializers.ChoiceField(
        choices=[form.value for form in Form],
        default=Form.OBJECTS.value,
        help_text="How it is written; `lightweight`, `csv` and `ndjson` are rows alone",
    )
    to = MomentField(
        required=False, help_text="What comes before this moment; Unix seconds or ISO 8601"
    )
    limit = WholeField(
        required=False, min_value=1, max_value=MOST_ITEMS, help_text="The newest so many"
    )
    fill = serializers.ChoiceField(
        choices=[fill.value for fill in Fill],
        default=Fill.NONE.value,
        help_text="What stands where an item is missing: nothing, nulls, or the close before it",
    )
    gaps = serializers.BooleanField(default=False, help_text="List the stretches without items")

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        # A word of Python's own, which no class can have for a field.
        fields["from"] = MomentField(
            required=False, help_text="From this moment on; Unix seconds or ISO 8601"
        )
        return fields

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        since, until = attrs.get("from"), attrs.get("to")
        if since is not None and until is not None and since >= until:
            raise serializers.ValidationError({"to": "It must lie after `from`."})
        shape = shape_of(attrs)
        if shape.form.is_bare and shape.with_gaps:
            raise serializers.ValidationError(
                {"gaps": f"There is no place for them in {shape.form}."}
            )
        if shape != Shape() and attrs.get("explain"):
            raise serializers.ValidationError(
                {"explain": "It goes with the whole series as it is."}
            )
        return attrs


def shape_of(query: Mapping[str, Any]) -> Shape:
    """Return how a validated query wants its series."""
    return Shape(
        form=Form(query["format"]),
        since=query.get("from"),
        until=query.get("to"),
        limit=query.get("limit"),
        fill=Fill(query["fill"]),
        with_gaps=query["gaps"],
    )


class HistoryQuery(ShapeQuery, OneQuoteQuery):
    period = PeriodField(
        required=False, help_text="How far back; by default as far as `from`, or a month"
    )


class SeveralQuery(ShapeQuery):
    """History of several assets; rows alone would not say whose they are."""

    symbols = ListedField(
        max_length=MOST_SERIES * 121, help_text=f"1 to {MOST_SERIES} symbols with commas between"
    )
    period = PeriodField(
        required=False, help_text="How far back; by default as far as `from`, or a month"
    )
    format = serializers.ChoiceField(
        choices=[form.value for form in Form if not form.is_bare],
        default=Form.OBJECTS.value,
        help_text="How each series is written",
    )

    def validate_symbols(self, value: str) -> tuple[str, ...]:
        return _named(value, MOST_SERIES)


class CandlesQuery(HistoryQuery):
    resolution = ResolutionField(
        required=False,
        help_text=(
            "How wide a bar is: minutes, a day, a week, a month; also written 5m, 1h, 1D and the "
            "like. Given exactly, or refused with 409"
        ),
    )


class DayField(serializers.DateField):
    """A day as YYYY-MM-DD, none before all markets we know of."""

    default_error_messages: ClassVar = {"early": f"A day may lie as far back as {_FIRST_DAY}."}

    def to_internal_value(self, value: Any) -> date:
        if not _DAY.fullmatch(str(value).strip()):
            self.fail("invalid", format="YYYY-MM-DD")
        day: date = super().to_internal_value(str(value).strip())
        if day < _FIRST_DAY:
            self.fail("early")
        return day


class PriceAtQuery(ExplainedQuery):
    date = DayField(help_text="A day that is over or under way, YYYY-MM-DD")


class SparklineQuery(serializers.Serializer[Any]):
    sparkline = serializers.BooleanField(
        default=False,
        help_text="With each coin's last 7 days by the hour, and its change over 1 h, 7 d, 30 d",
    )


class TopQuery(SparklineQuery):
    limit = WholeField(default=100, min_value=1, max_value=300, help_text="How many on a page")
    page = WholeField(
        default=1,
        min_value=1,
        max_value=300,
        help_text="Which page; all pages together hold 300",
    )


class CoinSearchQuery(serializers.Serializer[Any]):
    q = serializers.CharField(
        min_length=1,
        max_length=100,
        trim_whitespace=False,
        help_text="Part of a ticker, a name or an id, in any case",
    )
    limit = WholeField(default=50, min_value=1, max_value=100, help_text="How many at most")

    def validate_q(self, value: str) -> str:
        if not value.strip():
            raise serializers.ValidationError("This field may not be blank.")
        return value


class SymbolSearchQuery(CoinSearchQuery):
    kind = serializers.ChoiceField(
        choices=[k.value for k in AssetKind],
        required=False,
        allow_blank=True,
        help_text="Coins alone, or stocks alone",
    )


class BatchQuery(QuoteQuery, SparklineQuery):
    symbols = ListedField(
        max_length=MAX_BATCH * 121, help_text=f"1 to {MAX_BATCH} symbols with commas between"
    )

    def validate_symbols(self, value: str) -> tuple[str, ...]:
        return _named(value, MAX_BATCH)


def _named(value: str, most: int) -> tuple[str, ...]:
    symbols = tuple(part.strip() for part in value.split(",") if part.strip())
    if not 1 <= len(set(symbols)) <= most:
        raise serializers.ValidationError(f"Name 1 to {most} symbols.")
    return symbols


class StrictText(serializers.CharField):
    """Text that was text in the JSON: a number is not turned into one."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class BatchBody(QuoteQuery, SparklineQuery):
    default_error_messages: ClassVar = {"invalid": "The body is to be a JSON object."}

    symbols = serializers.ListField(
        child=StrictText(max_length=120, allow_blank=False),
        min_length=1,
        max_length=MAX_BATCH,
        error_messages={
            "not_a_list": 'A list is wanted, like ["BTC", "AAPL"].',
            "min_length": "At least {min_length} symbol.",
            "max_length": "At most {max_length} symbols.",
        },
    )
