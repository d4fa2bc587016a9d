"""Django without the cache in front of it, for comparing: an ASGI application of its own."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lokifi.settings")

application = get_asgi_application()
