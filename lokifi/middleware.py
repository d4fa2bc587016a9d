"""What every HTTP request passes: an id, one shape of error under /api, open CORS."""

from __future__ import annotations

import re
import uuid

from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from prices.problems import plain_problem

_REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{1,64}")


class RequestId(MiddlewareMixin):
    """Takes the client's X-Request-ID, where it is a plain word, or makes one; sends it back."""

    def process_request(self, request: HttpRequest) -> None:
        given = request.headers.get("X-Request-ID", "")
        request.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex  # type: ignore[attr-defined]

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        response["X-Request-ID"] = request.request_id  # type: ignore[attr-defined]
        return response


class ProblemErrors(MiddlewareMixin):
    """Turns every error page below /api into a problem, Django's debug pages too."""

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        if response.status_code < 400 or not request.path.startswith("/api/"):
            return response
        if response.headers.get("Content-Type", "").startswith("text/"):
            return plain_problem(request, response.status_code)
        return response


class Cors(CorsMiddleware):
    """django-cors-headers, without `Vary: Origin` where every origin gets the same answer.

    That header would make caches keep a copy of each answer for each origin.
    """

    def add_response_headers(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        if not (settings.CORS_ALLOW_ALL_ORIGINS and self.is_enabled(request)):
            return super().add_response_headers(request, response)
        before = response.headers.get("Vary")
        super().add_response_headers(request, response)
        # Also where no Origin was sent: a cache may give the same copy to a page.
        response["Access-Control-Allow-Origin"] = "*"
        response["Access-Control-Expose-Headers"] = ", ".join(settings.CORS_EXPOSE_HEADERS)
        if before is None:
            response.headers.pop("Vary", None)
        else:
            response["Vary"] = before
        return response
