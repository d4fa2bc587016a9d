"""All addresses of the product."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path, re_path

from lokifi import views
from lokifi.dashboard import views as dashboard
from prices.views import NotFoundView, SchemaView
from streaming.views import AsyncApiView, PriceStreamView

urlpatterns = [
    path("", dashboard.dashboard, name="dashboard"),
    path("chart", dashboard.dashboard, name="chart"),
    path("chart/<path:symbol>", dashboard.dashboard),
    path("discover", dashboard.dashboard, name="discover"),
    path("admin/", admin.site.urls),
    path("favicon.ico", views.favicon),
    path("livez", views.livez, name="livez"),
    path("readyz", views.readyz, name="readyz"),
    path("api/v1/prices/stream", PriceStreamView.as_view(), name="stream"),
    path("api/v1/", include("prices.urls")),
    path("api/udf/", include("prices.udf.urls")),
    path("api/schema", SchemaView.as_view(), name="schema"),
    path("api/docs", dashboard.docs, name="docs"),
    path("api/docs/websocket", dashboard.websocket, name="websocket-docs"),
    path("api/asyncapi.yaml", AsyncApiView.as_view(), name="asyncapi"),
    re_path(r"^api(?:/.*)?$", NotFoundView.as_view()),
]
