"""The built-in pages: the dashboard's three views and the browsable API at /api/docs."""

from __future__ import annotations

from django.db import DatabaseError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from drf_spectacular.views import SpectacularSwaggerSplitView

from prices.services import quotes
from streaming import asyncapi

# Whatever gets into these pages, the browser runs and loads nothing but our own files.
_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)

# Swagger UI from our own files, its start in a script file rather than in the page.
_swagger = SpectacularSwaggerSplitView.as_view(
    url_name="schema", template_name="dashboard/docs.html"
)


# Coins' pictures lie on hosts of their source. No markup is ever made from text.
_DASHBOARD_POLICY = (
    "default-src 'self'; img-src 'self' https:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
# What the views need, so that the browser asks for all of it at once.
_SHELL = (
    *("dom", "api", "figures", "kept", "client/stream", "prices", "following", "searching"),
    "pictures",
)
_BOARD = ("board", "sparkline")
_DISCOVER = ("discover", *_BOARD)
_CHART = ("chart", "bars", "plot", "vendor/lightweight-charts/lightweight-charts-5.2.1")


def dashboard(request: HttpRequest, symbol: str = "") -> HttpResponseBase:
    """Show the one page that is all three views: it reads its address and asks for prices."""
    view = {"chart": _CHART, "discover": _DISCOVER}.get(request.path.split("/")[1], _BOARD)
    names = _SHELL + view
    endings = {name: "mjs" if name.startswith("vendor") else "js" for name in names}
    modules = [f"dashboard/{name}.{ending}" for name, ending in endings.items()]
    shown = {"symbols": ",".join(_tracked()), "modules": modules}
    response = render(request, "dashboard/app.html", shown)
    response["Content-Security-Policy"] = _DASHBOARD_POLICY
    response["Cache-Control"] = "no-cache"
    return response


def docs(request: HttpRequest) -> HttpResponseBase:
    """Show the API, to read and to try."""
    response = _swagger(request)
    # Swagger UI writes style elements of its own into the page.
    response["Content-Security-Policy"] = f"{_POLICY}; style-src 'self' 'unsafe-inline'"
    return response


def websocket(request: HttpRequest) -> HttpResponseBase:
    """Show the WebSocket's messages, to read."""
    response = render(request, "dashboard/websocket.html", {"page": asyncapi.page()})
    response["Content-Security-Policy"] = _POLICY
    return response


def _tracked() -> list[str]:
    try:
        return quotes.tracked()
    except DatabaseError:
        # An empty board says more than an error page; /readyz names the trouble.
        return []
