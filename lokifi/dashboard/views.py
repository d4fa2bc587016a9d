"""The built-in pages: the board at / and the browsable API at /api/docs."""

from __future__ import annotations

from django.db import DatabaseError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from drf_spectacular.views import SpectacularSwaggerSplitView

from prices.services import quotes

# Whatever gets into these pages, the browser runs and loads nothing but our own files.
_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)

# Swagger UI from our own files, its start in a script file rather than in the page.
_swagger = SpectacularSwaggerSplitView.as_view(
    url_name="schema", template_name="dashboard/docs.html"
)


def board(request: HttpRequest) -> HttpResponseBase:
    """Show the tracked symbols; the page itself asks for prices."""
    response = render(request, "dashboard/board.html", {"symbols": ",".join(_tracked())})
    response["Content-Security-Policy"] = _POLICY
    response["Cache-Control"] = "no-cache"
    return response


def docs(request: HttpRequest) -> HttpResponseBase:
    """Show the API, to read and to try."""
    response = _swagger(request)
    # Swagger UI writes style elements of its own into the page.
    response["Content-Security-Policy"] = f"{_POLICY}; style-src 'self' 'unsafe-inline'"
    return response


def _tracked() -> list[str]:
    try:
        return quotes.tracked()
    except DatabaseError:
        # An empty board says more than an error page; /readyz names the trouble.
        return []
