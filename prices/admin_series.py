"""Which series of bars the store has of an asset, as a part of its page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from prices.models import Asset, Bar, Series
from prices.templatetags.asset_pages import day, utc

if TYPE_CHECKING:
    _Inline = admin.TabularInline[Series, Asset]
else:
    # Generic for the type checker only.
    _Inline = admin.TabularInline


class SeriesOfAnAsset(_Inline):
    """From when to when there are bars, of which source; how many is not worth counting."""

    model = Series
    verbose_name_plural = "series in the store"
    fields = readonly_fields = (
        "source",
        "resolution",
        "currency",
        "adjustment",
        "first_bar",
        "last_bar",
        "renewed",
    )
    extra = 0
    can_delete = False
    ordering: ClassVar = ["source", "resolution"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Series]:
        bars = Bar.objects.filter(series=OuterRef("pk")).order_by()
        return (
            super()
            .get_queryset(request)
            .annotate(
                first=Subquery(bars.order_by("opens").values("opens")[:1]),
                last=Subquery(bars.order_by("-opens").values("opens")[:1]),
            )
        )

    @admin.display(description="first bar")
    def first_bar(self, series: Any) -> str:
        return _stamp(series.first)

    @admin.display(description="last bar")
    def last_bar(self, series: Any) -> str:
        return _stamp(series.last)

    @admin.display(description="bars last added")
    def renewed(self, series: Series) -> str:
        return utc(series.renewed_at)

    def has_view_permission(self, request: HttpRequest, obj: Asset | None = None) -> bool:
        return True  # Whoever may see the asset's page.

    def has_add_permission(self, request: HttpRequest, obj: Asset | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Asset | None = None) -> bool:
        return False


def _stamp(opens: int | None) -> str:
    return day(None if opens is None else datetime.fromtimestamp(opens, UTC))
