"""Asks a running product 2,000 made-up requests: `make generated CASES=2000 SEED=6`.

A server of its own with the cache in front, a sandbox and Redis; it ends with 1 where an
answer is outside the OpenAPI document or is a 500.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.chaos.__main__ import load_settings
from tests.generated import asking
from tests.generated.judging import Given, Judge
from tests.generated.requests import Asked
from tests.product import Product, Web


class Line:
    """One connection that is kept, and what came over it."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.statuses: Counter[int] = Counter()

    def ask(self, asked: Asked) -> Given:
        self._connection.request(asked.method, asked.url, asked.body, asked.headers)
        response = self._connection.getresponse()
        self.statuses[response.status] += 1
        headers = {name.lower(): value for name, value in response.getheaders()}
        body = response.read()
        is_packed = bool(body) and headers.get("content-encoding") == "gzip"
        return Given(response.status, headers, gzip.decompress(body) if is_packed else body)


def document(web: Web) -> Judge:
    """Return the judge of the document that the server itself gives."""
    answer = web.get("/api/schema", {"Accept": "application/json"})
    return Judge(json.loads(answer.body))


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.generated", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=asking.SEED)
    options = parser.parse_args()
    load_settings()
    with tempfile.TemporaryDirectory() as folder, Product(Path(folder)) as product:
        web = product.web()
        line = Line(web.port)
        found = asking.faults(document(web), line.ask, options.cases, options.seed)
    for fault in found:
        print(fault)
    told = ", ".join(f"{status}: {count}" for status, count in sorted(line.statuses.items()))
    print(f"{line.statuses.total()} requests, {len(found)} outside the document ({told})")
    return 1 if found or line.statuses.total() < options.cases else 0


if __name__ == "__main__":
    sys.exit(main())
