"""Celery's door into the services of prices. No logic here."""

from __future__ import annotations

from celery import shared_task

from prices.services import catalogue
from prices.types import AssetKind


@shared_task(ignore_result=True, expires=3600)
def fill_catalogues() -> None:
    """Bring the catalogues in step with the sources; once a day."""
    catalogue.fill_all()


@shared_task(ignore_result=True, expires=60)
def fill_catalogue(kind: str) -> None:
    """Bring one catalogue in step with its source."""
    catalogue.fill(AssetKind(kind))
