"""What a miss costs at least with these tools: a plain DRF view that makes one httpx call.

UPSTREAM says where; the path and query of a request are asked there as they come.
"""

from __future__ import annotations

import os
from typing import Any

import django
import httpx
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    DEBUG=False,
    INSTALLED_APPS=["rest_framework"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "UNAUTHENTICATED_USER": None,
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY="only-for-the-bench",  # noqa: S106 - it signs nothing
    USE_TZ=True,
)
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402
from django.urls import re_path  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

_client = httpx.Client(base_url=os.environ["UPSTREAM"], timeout=10)


class Bare(APIView):
    """Asks upstream once and hands on what it says."""

    def get(self, request: Request, path: str) -> Response:
        asked = _client.get(f"/{path}", params=request.query_params.dict())
        asked.raise_for_status()
        told: Any = asked.json()
        return Response(told)


urlpatterns = [re_path("^(?P<path>.*)$", Bare.as_view())]
application = get_asgi_application()
