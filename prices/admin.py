"""The operator's pages: which assets there are, how each stands, how the system stands.

Pages look and never load: a source is asked by an action alone. What upstream
wrote (names above all) reaches the page through templates and format_html,
which escape it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.views.decorators.http import require_POST

from prices import admin_splits, operations  # noqa: F401 - a page is registered there
from prices.admin_series import SeriesOfAnAsset
from prices.models import Asset, Dispute, ExchangePair
from prices.redis_clients import RedisAwayError
from prices.services import holdings, inspection, symbols
from prices.services.inspection import Glimpse, Portrait
from prices.services.sketch import Sketch, sketch
from prices.templatetags.asset_pages import NOTHING, age, dollars, utc
from prices.types import AssetKind, Period

# Which history is drawn where the address names none: the first of these that is held.
CHARTS = [Period.WEEK, Period.MONTH, Period.DAY, *Period]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the status page that another application tells: rows of a label and a text."""

    title: str
    rows: list[tuple[str, str]]
    trouble: str = ""


@dataclass(slots=True)
class Hooks:
    """What applications above this one know and this one cannot ask: they put it here.

    followers  how many sockets follow each symbol now; raises RedisAwayError
    sections   more parts of the status page
    """

    followers: Callable[[Collection[str]], Mapping[str, int]] | None = None
    sections: list[Callable[[], Section]] = field(default_factory=list)


hooks = Hooks()

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[Asset]
    _Inline = admin.TabularInline[ExchangePair, Asset]
    _Disputes = admin.ModelAdmin[Dispute]
else:
    # Generic for the type checker only.
    _Admin = _Disputes = admin.ModelAdmin
    _Inline = admin.TabularInline


class AssetList(ChangeList):
    """The rows of one page with what the cache and the sockets tell of them, asked once."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        assets: list[Asset] = list(self.result_list)
        page = inspection.glimpses(assets)
        counts: Mapping[str, int] = {}
        is_away = page.is_redis_away
        if hooks.followers is not None and not is_away:
            try:
                counts = hooks.followers([one.symbol for one in page.glimpses.values()])
            except RedisAwayError:
                is_away = True
        for asset in assets:
            one = page.glimpses[asset.ref]
            vars(asset)["glimpse"] = replace(one, followers=counts.get(one.symbol))
        if is_away:
            messages.warning(request, "Redis is away: prices may be missing, followers are.")
        self.result_list = assets


def _glimpse(asset: Asset) -> Glimpse:
    glimpse: Glimpse = vars(asset)["glimpse"]
    return glimpse


def _many(action: str, title: str) -> Any:
    """Return an admin action that does what the operation of that name does."""

    @admin.action(description=title, permissions=["change"])
    def act(model_admin: AssetAdmin, request: HttpRequest, chosen: QuerySet[Asset]) -> None:
        model_admin.act(request, action, chosen)

    act.__name__ = action
    return act


class PairsOfACoin(_Inline):
    """Which pair of each exchange stands for a coin, to be looked at; prices settled it."""

    model = ExchangePair
    verbose_name_plural = "pairs at the exchanges"
    fields = readonly_fields = ("source", "symbol", "quote", "is_settled", "apart", "checked")
    extra = 0
    can_delete = False

    @admin.display(description="apart from CoinGecko's price")
    def apart(self, pair: ExchangePair) -> str:
        return NOTHING if pair.apart_percent is None else f"{pair.apart_percent:.2f} %"

    @admin.display(description="checked")
    def checked(self, pair: ExchangePair) -> str:
        return f"{utc(pair.checked_at)}"

    def has_view_permission(self, request: HttpRequest, obj: Asset | None = None) -> bool:
        return True  # Whoever may see the asset's page.

    def has_add_permission(self, request: HttpRequest, obj: Asset | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Asset | None = None) -> bool:
        return False


@admin.register(Asset)
class AssetAdmin(_Admin):
    list_display = (
        "ticker",
        "full_name",
        "kind",
        "rank",
        "is_tracked",
        "is_pinned",
        "price",
        "price_age",
        "price_source",
        "followers",
    )
    list_display_links = ("ticker", "full_name")
    list_filter = (
        "kind",
        "tracked",
        "pinned",
        "settled",
        "is_active",
        "is_derivative",
        ("exchange", admin.AllValuesFieldListFilter),
    )
    list_per_page = 50
    empty_value_display = NOTHING
    # A second count of all rows for the sake of "of 20,000" is not worth its query.
    show_full_result_count = False
    search_fields = ("ticker", "name", "coingecko_id", "finnhub_symbol", "ref")
    search_help_text = "Ticker, name, id at a source, or ref"
    actions = tuple(_many(name, one.title) for name, one in operations.OPERATIONS.items())

    change_form_template = "admin/prices/asset/detail.html"
    change_list_template = "admin/prices/asset/list.html"
    fieldsets = (
        ("Ours to set", {"fields": ("tracked", "pinned", "is_active")}),
        (
            "From the catalogue",
            {
                "fields": (
                    ("ref", "ticker"),
                    ("name", "kind"),
                    ("coingecko_id", "finnhub_symbol"),
                    ("exchange", "is_derivative"),
                    ("market_cap_rank", "market_cap_dollars", "volume_dollars"),
                    ("settled", "leading"),
                    ("listed_at", "seen_at"),
                )
            },
        ),
    )
    readonly_fields = (
        "ref",
        "ticker",
        "name",
        "kind",
        "coingecko_id",
        "finnhub_symbol",
        "exchange",
        "is_derivative",
        "market_cap_rank",
        "market_cap_dollars",
        "volume_dollars",
        "settled",
        "leading",
        "listed_at",
        "seen_at",
    )

    class Media:
        css: ClassVar = {"all": ["prices/admin/pages.css"]}

    # --- The list -------------------------------------------------------------------

    @admin.display(description="name", ordering="name")
    def full_name(self, asset: Asset) -> str:
        return asset.name if len(asset.name) <= 48 else f"{asset.name[:47]}…"

    @admin.display(description="rank", ordering="market_cap_rank")
    def rank(self, asset: Asset) -> str:
        return str(asset.market_cap_rank or NOTHING)

    # In words, and only where it is so: a page of red crosses would say that all is wrong.

    @admin.display(description="tracked", ordering="tracked", empty_value="")
    def is_tracked(self, asset: Asset) -> str:
        return "tracked" if asset.tracked else ""

    @admin.display(description="pinned", ordering="pinned", empty_value="")
    def is_pinned(self, asset: Asset) -> str:
        return "pinned" if asset.pinned else ""

    @admin.display(description="last price")
    def price(self, asset: Asset) -> str:
        one = _glimpse(asset)
        if one.quote is None:
            return NOTHING
        return format_html('<span class="figure">{}</span>', dollars(one.quote.price))

    @admin.display(description="age")
    def price_age(self, asset: Asset) -> str:
        quote = _glimpse(asset).quote
        if quote is None:
            return NOTHING
        return format_html(
            '<span title="as of {}, fetched {}">{}{}</span>',
            utc(quote.as_of),
            utc(quote.fetched_at),
            age(quote.as_of),
            format_html(' <span class="badge">{}</span>', "stale") if quote.stale else "",
        )

    @admin.display(description="source")
    def price_source(self, asset: Asset) -> str:
        quote = _glimpse(asset).quote
        return quote.source if quote else NOTHING

    @admin.display(description="followers")
    def followers(self, asset: Asset) -> str:
        count = _glimpse(asset).followers
        return NOTHING if count is None else str(count)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns = super().get_list_display(request)
        return [c for c in columns if c != "followers" or hooks.followers is not None]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return AssetList

    # --- One asset ------------------------------------------------------------------

    def get_inlines(self, request: HttpRequest, obj: Asset | None) -> list[type[Any]]:
        # To be looked at alone: what is posted has nothing of it.
        if request.method != "GET" or obj is None:
            return []
        pairs = [PairsOfACoin] if obj.kind == AssetKind.CRYPTO else []
        return [*pairs, SeriesOfAnAsset]

    @admin.display(description="market cap")
    def market_cap_dollars(self, asset: Asset) -> str:
        return dollars(asset.market_cap)

    @admin.display(description="volume in 24 hours")
    def volume_dollars(self, asset: Asset) -> str:
        return dollars(asset.volume)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        asset = self.get_object(request, object_id)
        context = dict(extra_context or {})
        if asset is not None and request.method == "GET":
            portrait = inspection.portrait(asset)
            context |= {
                "title": str(asset),
                "subtitle": None,
                "portrait": portrait,
                "followers": _followers(portrait),
                "operations": operations.sensible(asset),
                **_chart(portrait, request.GET.get("chart", "")),
            }
        return super().change_view(request, object_id, form_url, context)

    def save_model(self, request: HttpRequest, obj: Asset, form: Any, change: bool) -> None:
        if "pinned" in form.changed_data:
            # Moves the pin where another asset of the ticker has it.
            symbols.pin(obj) if obj.pinned else symbols.unpin(obj)
        if "is_active" in form.changed_data:
            names = [obj.ticker, f"crypto:{obj.ticker}"]
            transaction.on_commit(lambda: holdings.forget(names))
        # Only what was changed: a catalogue may have been filled since the form was opened.
        changed = set(form.changed_data) & {"tracked", "is_active"}
        if changed:
            obj.save(update_fields=changed)

    # --- Doing something ------------------------------------------------------------

    def act(self, request: HttpRequest, name: str, chosen: QuerySet[Asset]) -> None:
        """Carry out an operation on assets and tell how it went."""
        operation = operations.OPERATIONS[name]
        assets = list(chosen[: operations.MOST + 1])
        if len(assets) > operations.MOST:
            messages.error(request, f"At most {operations.MOST} assets at once; nothing was done.")
            return
        outcome = operation.run(assets)
        for asset in outcome.changed:
            self.log_change(request, asset, operation.done)
        for level, text in outcome.said:
            messages.add_message(request, level, text)

    def act_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Carry out the operation that a button of an asset's page names."""
        asset = get_object_or_404(Asset, pk=object_id)
        name = request.POST.get("operation", "")
        if name not in operations.OPERATIONS or not self.has_change_permission(request, asset):
            raise PermissionDenied
        self.act(request, name, Asset.objects.filter(pk=asset.pk))
        return HttpResponseRedirect(reverse("admin:prices_asset_change", args=[asset.pk]))

    # --- The system -----------------------------------------------------------------

    def status_view(self, request: HttpRequest) -> HttpResponse:
        """Show hits and misses, budgets, catalogues and Redis."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": "Status",
            "opts": self.opts,
            "media": self.media,
            "system": inspection.system(),
            "sections": [tell() for tell in hooks.sections],
        }
        return TemplateResponse(request, "admin/prices/status.html", context)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("status/", wrap(self.status_view), name="prices_status"),
            path(
                "<int:object_id>/act/", wrap(require_POST(self.act_view)), name="prices_asset_act"
            ),
            *super().get_urls(),
        ]

    # The catalogues say which assets there are; what is not wanted is made inactive.

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Asset | None = None) -> bool:
        return False


class Lasting(admin.SimpleListFilter):
    """Disputes that last, or that are over."""

    title = "whether it lasts"
    parameter_name = "lasts"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "it lasts"), ("no", "it is over")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return queryset
        return queryset.filter(ended_at__isnull=self.value() == "yes")


@admin.register(Dispute)
class DisputeAdmin(_Disputes):
    """Prices that are not to be taken at their word, to be looked at; nothing is set here."""

    list_display = ("asset", "kind", "said", "against_what", "apart", "began", "seen", "ended")
    list_display_links = None
    list_filter = (Lasting, "kind", "source")
    list_select_related = ("asset",)
    list_per_page = 50
    search_fields = ("asset__ticker", "asset__name", "asset__ref")
    empty_value_display = NOTHING
    show_full_result_count = False

    @admin.display(description="price", ordering="price")
    def said(self, dispute: Dispute) -> str:
        return f"{dollars(dispute.price)} by {dispute.source}"

    @admin.display(description="against")
    def against_what(self, dispute: Dispute) -> str:
        return f"{dollars(dispute.other_price)} by {dispute.against}"

    @admin.display(description="apart", ordering="apart_percent")
    def apart(self, dispute: Dispute) -> str:
        return f"{dispute.apart_percent:.1f} %"

    @admin.display(description="began", ordering="began_at")
    def began(self, dispute: Dispute) -> str:
        return utc(dispute.began_at)

    @admin.display(description="seen", ordering="seen_at")
    def seen(self, dispute: Dispute) -> str:
        return utc(dispute.seen_at)

    @admin.display(description="ended", ordering="ended_at")
    def ended(self, dispute: Dispute) -> str:
        return utc(dispute.ended_at)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Dispute | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Dispute | None = None) -> bool:
        return False


def _followers(portrait: Portrait) -> int | None:
    if hooks.followers is None:
        return None
    try:
        return hooks.followers([portrait.symbol]).get(portrait.symbol)
    except RedisAwayError:
        return None


def _chart(portrait: Portrait, asked: str) -> dict[str, Any]:
    """Return the chart of the period asked for, or of the likeliest, from what is held."""
    drawn = {p: drawing for p in CHARTS if (drawing := _drawing(portrait, p))}
    period = next((p for p in drawn if p == asked), next(iter(drawn), None))
    return {
        "chart": drawn[period] if period else None,
        "chart_period": period,
        "chart_periods": [p for p in Period if p in drawn],
        "periods": list(Period),
    }


def _drawing(portrait: Portrait, period: Period) -> Sketch | None:
    series = portrait.histories.get(period)
    return sketch(series.data) if series else None


admin.site.site_header = admin.site.site_title = "Lokifi prices"
# A few models need no list beside every page, and the tables need the width.
admin.site.enable_nav_sidebar = False
admin.site.index_template = "admin/prices/index.html"
