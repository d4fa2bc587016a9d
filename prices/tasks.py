"""Celery's door into the services of prices. No logic here."""

from __future__ import annotations

from datetime import UTC, datetime

from celery import shared_task

from prices.services import recordings, store, symbols
from prices.types import AssetKind


@shared_task(ignore_result=True, expires=3600)
def fill_catalogues() -> None:
    """Bring the catalogues in step with the sources; once a day."""
    symbols.fill(AssetKind)


@shared_task(ignore_result=True, expires=240)
def fill_missing_catalogues() -> None:
    """Fill what could not be filled so far: the first start may fall into an outage."""
    symbols.fill_missing()


@shared_task(ignore_result=True, expires=3600)
def prune_store() -> None:
    """Delete bars that are past their keeping; once a day."""
    now = datetime.now(UTC)
    store.prune(now)
    recordings.prune(now)
