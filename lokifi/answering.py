"""Whether a URL answers: for the supervisor, and for containers.

python -m lokifi.answering http://127.0.0.1:8000/livez
"""

from __future__ import annotations

import http.client
import sys
from urllib.parse import urlsplit


def responds(url: str) -> bool:
    """Return whether `url` answers and is not in trouble (below 400, or a refused Host)."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=2)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status <= http.HTTPStatus.BAD_REQUEST
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not responds(sys.argv[1]))
