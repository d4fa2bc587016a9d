"""A cache in front of an ASGI application, by the rules of RFC 9111.

It knows HTTP and nothing of prices. rules.py reads headers, copies.py is an answer
as it is kept, shelf.py where it lies, capture.py takes it from the application, and
cache.py is the application around the application.
"""

from __future__ import annotations

from lokifi.frontcache.cache import FrontCache

__all__ = ["FrontCache"]
