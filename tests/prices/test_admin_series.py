"""What the page of an asset shows of the store."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from django.test import Client

from prices.models import Series
from prices.services import store
from prices.types import Candle
from tests.prices.admin_pages import detail, page, plain, stock

pytestmark = pytest.mark.django_db


def test_an_asset_s_page_shows_from_when_to_when_there_are_bars_and_lets_none_be_changed(
    admin_client: Client,
) -> None:
    apple = stock("AAPL")
    at = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)
    series = Series.objects.create(asset=apple, source="tiingo", resolution="5", renewed_at=at)
    opens = int(at.timestamp())
    store.write(
        series.pk, [Candle(opens + 300 * n, 1.0, 1.0, 1.0, 1.0, None, True) for n in range(3)]
    )

    html = page(admin_client, detail(apple))

    assert "tiingo 5 USD none 02 Mar 2026 14:30 02 Mar 2026 14:40 2026-03-02 14:30:00" in plain(
        html
    )
    assert not re.search(r'name="series-\d+-(source|resolution|currency)"', html)
