"""What every HTTP request passes: an id, one shape of error under /api, open CORS."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable
from http import HTTPStatus

from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.gzip import GZipMiddleware
from django.urls import resolve
from django.utils.deprecation import MiddlewareMixin

from prices.problems import plain_problem, problem

_ADMIN_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_PACKABLE = re.compile(r"text/(html|css|javascript)|application/javascript|image/svg")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{1,64}")


def is_request_id(given: str) -> bool:
    """Return whether a client's X-Request-ID is a word that may be repeated."""
    return _REQUEST_ID.fullmatch(given) is not None


class RequestId(MiddlewareMixin):
    """Takes the client's X-Request-ID, where it is a plain word, or makes one; sends it back."""

    def process_request(self, request: HttpRequest) -> None:
        given = request.headers.get("X-Request-ID", "")
        request.request_id = given if is_request_id(given) else uuid.uuid4().hex  # type: ignore[attr-defined]

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
            return plain_problem(request, response.status_code, _host_trouble(request))
        return response


def _host_trouble(request: HttpRequest) -> str:
    try:
        request.get_host()
    except DisallowedHost:
        return "This host is not served here; ALLOWED_HOSTS names those that are."
    return ""


class NoBodyForHead(MiddlewareMixin):
    """Sends the headers of an answer to HEAD and keeps the body: not every server does.

    A 304 says nothing of a body it does not have.
    """

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        if response.status_code == HTTPStatus.NOT_MODIFIED:
            # Both would speak of the body that is not sent.
            response.headers.pop("Content-Type", None)
            response.headers.pop("Content-Length", None)
        elif isinstance(response, HttpResponse):
            response.headers.setdefault("Content-Length", str(len(response.content)))
            if request.method == "HEAD":
                response.content = b""
        return response


class Probes(MiddlewareMixin):
    """Answers /livez and /readyz by whatever name: who watches us may only know an address."""

    _PATHS = frozenset({"/livez", "/readyz"})

    def process_request(self, request: HttpRequest) -> HttpResponseBase | None:
        if request.path_info not in self._PATHS:
            return None
        view, args, kwargs = resolve(request.path_info)
        answer: HttpResponseBase = view(request, *args, **kwargs)
        return answer


class Packed(GZipMiddleware):
    """Sends the page and its files as gzip, where the client takes it.

    Not the admin's pages: these hold a secret beside what others wrote, and the size
    of a packed page would tell of it.
    """

    def process_request(self, request: HttpRequest) -> None:
        # Packing makes a strong tag weak, and WhiteNoise knows the strong one alone.
        given = request.META.get("HTTP_IF_NONE_MATCH", "")
        if request.path.startswith(settings.STATIC_URL) and given.startswith("W/"):
            request.META["HTTP_IF_NONE_MATCH"] = given.removeprefix("W/")

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        is_file = request.path.startswith(settings.STATIC_URL)
        is_page = not request.path.startswith(("/api/v1", "/admin"))
        kind = response.headers.get("Content-Type", "")
        if (is_file or is_page) and _PACKABLE.match(kind) and response.status_code == HTTPStatus.OK:
            packed: HttpResponseBase = super().process_response(request, response)
            return packed
        return response


class AdminPolicy(MiddlewareMixin):
    """Lets the admin's pages run and load what comes from here, and nothing that is inline.

    They show names that upstream wrote.
    """

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        if request.path.startswith("/admin"):
            response.headers.setdefault("Content-Security-Policy", _ADMIN_POLICY)
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


class OnlyIfCached(MiddlewareMixin):
    """Refuses what asks for a stored answer alone: the cache in front had none."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        asked = request.headers.get("Cache-Control", "").lower()
        if "only-if-cached" not in asked or not request.path.startswith("/api/"):
            return None
        return problem(request, 504, "not_stored", "No stored answer is at hand for this.")


class _NotForApi(MiddlewareMixin):
    """Leaves out what is below /api: no forms are there, and `explain` alone asks for a user."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if request.path.startswith("/api/"):
            return self.get_response(request)
        return super().__call__(request)


class Csrf(_NotForApi, CsrfViewMiddleware):
    pass


class Users(_NotForApi, AuthenticationMiddleware):
    pass


class Messages(_NotForApi, MessageMiddleware):
    pass
