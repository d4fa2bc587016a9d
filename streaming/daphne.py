"""What daphne cannot do through ASGI, done on its connection.

daphne hands a close code to autobahn, which takes 1000 and 3000 to 4999 from an
application and raises for all others. The contract's 1009, 1012 and 1013 are
the server's to send, and here we are the server.
"""

from __future__ import annotations

import functools
from typing import Any


def connection_of(send: object) -> Any | None:
    """Return daphne's protocol object behind an ASGI `send`, or None under another server."""
    if not isinstance(send, functools.partial) or not send.args:
        return None
    connection = send.args[0]
    # By name: only a process that daphne serves has it loaded.
    is_daphnes = type(connection).__module__ == "daphne.ws_protocol"
    return connection if is_daphnes and hasattr(connection, "sendCloseFrame") else None


def close(send: object, code: int) -> bool:
    """Close with any code; return False where it is not daphne's connection."""
    connection = connection_of(send)
    if connection is None:
        return False
    connection.sendCloseFrame(code=code)
    return True
