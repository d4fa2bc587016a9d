"""The clients of bench.load as followers of server-sent events, measured in the same way.

python -m bench.event_load http://127.0.0.1:8000/api/v1/prices/stream --clients 1000 --pid 4711

A stream is asked for by one GET, and what it holds ends with an empty line: the head of the
answer and the sizes of its chunks are never taken for one.
"""

from __future__ import annotations

import gc
import json
import sys

from bench.load import ASKED, Connection, Load, measure, options_from

_END = b"\n\n"
_DATA = b"data: "
_GOOD = b"HTTP/1.1 200 "


class EventLoad(Load):
    def _ask(self, connection: Connection) -> None:
        path = self.path + "?symbols=" + ",".join(self.sets[connection.number])
        host = f"{self.target[0]}:{self.target[1]}"
        connection.socket.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        connection.state = ASKED

    _greeted = _ask

    def _frames(self, fd: int, connection: Connection, data: bytes, now: float) -> None:
        if not connection.is_ready and data[:5] == _GOOD[:5] and not data.startswith(_GOOD):
            self._drop(fd, connection)
            return
        at = 0
        while (end := data.find(_END, at)) >= 0:
            begin = data.find(_DATA, at, end)
            if begin >= 0:
                self._hear(connection, data, begin + len(_DATA), end, now)
            at = end + len(_END)
        connection.rest = data[at:]


if __name__ == "__main__":
    # As in bench.load: a load that waits for its turn measures itself.
    gc.disable()
    json.dump(measure(EventLoad(options_from(sys.argv[1:]))), sys.stdout)
    print()
