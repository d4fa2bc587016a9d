"""Errors as RFC 9457 problems: one shape for everything that goes wrong under /api.

But for UDF, whose clients look at no status and know one shape of error, their own.
"""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any

import msgspec
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions
from rest_framework.views import set_rollback

from prices.errors import ClientLimitError, InvalidParameterError, PricesError, UpstreamError

logger = logging.getLogger(__name__)

# No longer than any Retry-After.
FOR_ALL_S = 1

CONTENT_TYPE = "application/problem+json"
UDF = "/api/udf"

# The codes of failures that are not ours but HTTP's, by status.
_CODES = {
    400: "invalid_parameter",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
    500: "internal_error",
    504: "not_stored",
}


def problem(
    request: HttpRequest, status: int, code: str, detail: str, **extra: Any
) -> HttpResponse:
    """Return a problem. `extra` holds the members that its code has beside the usual ones."""
    if f"{request.path_info}/".startswith(f"{UDF}/"):
        return _for_a_chart(request, status, code, detail)
    body = {
        "type": f"urn:lokifi:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request.path,
        "code": code,
        "request_id": getattr(request, "request_id", None),
        "errors": [],
        **extra,
    }
    response = HttpResponse(msgspec.json.encode(body), status=status, content_type=CONTENT_TYPE)
    # A cache that kept an error would hide the answer that comes after it.
    response["Cache-Control"] = "no-store"
    return response


def _for_a_chart(request: HttpRequest, status: int, code: str, detail: str) -> HttpResponse:
    is_unknown = code in {"unknown_symbol", "invalid_symbol"}
    body = {
        "s": "error",
        "errmsg": "unknown_symbol" if is_unknown else detail,
        "code": code,
        "request_id": getattr(request, "request_id", None),
    }
    response = HttpResponse(
        msgspec.json.encode(body), status=status, content_type="application/json"
    )
    response["Cache-Control"] = "no-store"
    return response


def plain_problem(request: HttpRequest, status: int, detail: str = "") -> HttpResponse:
    """Return the problem of a status that came without any of ours."""
    code = _CODES.get(status, "internal_error" if status >= 500 else "invalid_parameter")
    return problem(request, status, code, detail or HTTPStatus(status).description or code)


def handle(exc: Exception, context: dict[str, Any]) -> HttpResponse:
    """Answer any exception of a REST view; the settings name it as DRF's handler."""
    request: HttpRequest = context["request"]._request
    set_rollback()
    if isinstance(exc, PricesError):
        return _priced(request, exc)
    if isinstance(exc, exceptions.ValidationError):
        errors = _field_errors(exc.detail)
        return problem(
            request, 400, "invalid_parameter", _sentence(errors) or "Bad input.", errors=errors
        )
    if isinstance(exc, Http404):
        return plain_problem(request, 404)
    if isinstance(exc, exceptions.APIException):
        return _of_rest_framework(request, exc)
    logger.error("%s %s failed", request.method, request.path, exc_info=exc)
    return problem(request, 500, "internal_error", "Something broke on our side.")


def _priced(request: HttpRequest, exc: PricesError) -> HttpResponse:
    response = problem(request, exc.http_status, exc.code, str(exc), **exc.extra)
    if isinstance(exc, UpstreamError | ClientLimitError):
        response["Retry-After"] = str(max(1, math.ceil(exc.retry_after_s)))
    if "Surrogate-Capability" in request.headers and _is_for_all(exc):
        # Nobody stores it; the cache in front gives it to all who ask the same just now.
        response["Surrogate-Control"] = f"max-age={FOR_ALL_S}"
    return response


def _is_for_all(exc: PricesError) -> bool:
    """Return whether an error tells of what is asked, not of who asks: what it may, or how much."""
    is_of_the_client = isinstance(exc, ClientLimitError | InvalidParameterError)
    return not is_of_the_client and "explain" not in exc.extra


def _of_rest_framework(request: HttpRequest, exc: exceptions.APIException) -> HttpResponse:
    code = _CODES.get(exc.status_code, "internal_error")
    return problem(request, exc.status_code, code, str(exc.detail))


def _field_errors(detail: Any, field: str = "") -> list[dict[str, str]]:
    """Return DRF's nested messages as a flat list of {field, message}."""
    if isinstance(detail, dict):
        return [e for name, d in detail.items() for e in _field_errors(d, _joined(field, name))]
    if isinstance(detail, list):
        return [e for d in detail for e in _field_errors(d, field)]
    return [{"field": "" if field == "non_field_errors" else field, "message": str(detail)}]


def _joined(field: str, name: object) -> str:
    return f"{field}.{name}" if field else str(name)


def _sentence(errors: list[dict[str, str]]) -> str:
    return " ".join(f"{e['field']}: {e['message']}" if e["field"] else e["message"] for e in errors)
