"""Addresses below /api/udf. None ends in a slash, and none is redirected to one."""

from __future__ import annotations

from django.urls import path

from prices.udf import views

urlpatterns = [
    path("config", views.ConfigView.as_view(), name="udf-config"),
    path("symbols", views.SymbolsView.as_view(), name="udf-symbols"),
    path("search", views.SearchView.as_view(), name="udf-search"),
    path("history", views.HistoryView.as_view(), name="udf-history"),
    path("quotes", views.QuotesView.as_view(), name="udf-quotes"),
    path("time", views.TimeView.as_view(), name="udf-time"),
]
