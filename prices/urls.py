"""Addresses below /api/v1. None ends in a slash, and none is redirected to one."""

from __future__ import annotations

from django.urls import path, re_path

from prices import series_views, views

# A share class may be written BRK/B; nothing else of a symbol holds a slash.
_SYMBOL = r"(?P<symbol>[^/]+(?:/[A-Za-z])?)"

urlpatterns = [
    path("prices", views.BatchQueryView.as_view(), name="batch-query"),
    path("prices/batch", views.BatchView.as_view(), name="batch"),
    path("prices/batch/history", series_views.SeveralView.as_view(), name="batch-history"),
    path("prices/crypto/top", views.TopView.as_view(), name="crypto-top"),
    path("prices/crypto/search", views.CoinSearchView.as_view(), name="crypto-search"),
    path("prices/crypto/mapping", views.MappingView.as_view(), name="crypto-mapping"),
    path("prices/symbols/search", views.SymbolSearchView.as_view(), name="symbols-search"),
    path("sources", views.SourcesView.as_view(), name="sources"),
    # Words of the path; coins with such tickers are reached as crypto:STREAM.
    re_path(r"^prices/(?:crypto|symbols|batch|stream)(?:/.*)?$", views.NotFoundView.as_view()),
    re_path(rf"^prices/{_SYMBOL}/history$", series_views.HistoryView.as_view(), name="history"),
    re_path(rf"^prices/{_SYMBOL}/ohlcv$", series_views.CandlesView.as_view(), name="ohlcv"),
    re_path(rf"^prices/{_SYMBOL}/at$", series_views.PriceAtView.as_view(), name="at"),
    re_path(rf"^prices/{_SYMBOL}$", views.QuoteView.as_view(), name="quote"),
]
