"""The list of splits in the admin."""

from __future__ import annotations

from datetime import date

import pytest
from django.test import Client

from prices.models import StockSplit
from prices.services import splits
from prices.types import Split
from tests.prices.admin_pages import page, plain, stock

pytestmark = pytest.mark.django_db

LIST = "/admin/prices/stocksplit/"


def test_splits_are_listed_with_who_told_of_them(admin_client: Client) -> None:
    splits.learn(stock("XYZ"), [Split(date(2026, 3, 11), 25.0)], "tiingo")

    assert "XYZ (Xyz) March 11, 2026 25.0 tiingo" in plain(page(admin_client, LIST))


def test_an_operator_s_split_stands_against_what_sources_tell(admin_client: Client) -> None:
    asset = stock("XYZ")
    form = {"asset": asset.pk, "day": "2026-03-11", "ratio": "20"}

    assert admin_client.post(f"{LIST}add/", form).status_code == 302
    splits.learn(asset, [Split(date(2026, 3, 11), 25.0)], "tiingo")

    assert list(StockSplit.objects.values_list("ratio", "source")) == [(20.0, "by hand")]


@pytest.mark.parametrize("ratio", ["0", "-2", "1"])
def test_a_split_that_is_none_is_refused(admin_client: Client, ratio: str) -> None:
    form = {"asset": stock("XYZ").pk, "day": "2026-03-11", "ratio": ratio}

    assert admin_client.post(f"{LIST}add/", form).status_code == 200
    assert not StockSplit.objects.exists()


def test_a_wrong_split_can_be_corrected(admin_client: Client) -> None:
    asset = stock("XYZ")
    splits.learn(asset, [Split(date(2026, 3, 11), 250.0)], "tiingo")
    form = {"asset": asset.pk, "day": "2026-03-11", "ratio": "25"}

    pk = StockSplit.objects.get().pk
    assert admin_client.post(f"{LIST}{pk}/change/", form).status_code == 302

    assert list(StockSplit.objects.values_list("ratio", "source")) == [(25.0, "by hand")]
